"""The attacks that AutoAttack consists of.

    ensemble.stages("standard", "linf", classes=10)

The versions, their order and their settings are those of the public implementation.
"""

import dataclasses
from collections.abc import Sequence

from flax import struct
from jax import Array

from symjax.attacks._apgd import APGD
from symjax.attacks._fab import FAB
from symjax.attacks._square import Square
from symjax.attacks.iterative import AttackInputs, Best, IterativeAttack
from symjax.attacks.losses import (
    DLR_CLASSES,
    TARGETED_DLR_CLASSES,
    largest_margin,
)
from symjax.attacks.result import LogitsFn

VERSIONS = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
STAGES = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
HOST_DRIVEN: dict[str, str | tuple[str, ...]] = {
    "autoattack": "standard",
    "autoattack-plus": "plus",
    "apgd": ("apgd-ce", "apgd-dlr"),
    **{name: (name,) for name in STAGES},
}
"""By name: the version of AutoAttack that it is, or its attacks alone."""
RESTARTS = 5
L1_RADII, L1_TARGETS = (3.0, 2.0, 1.0), 5


@dataclasses.dataclass(frozen=True)
class Stage:
    """An attack and its attempts, each a rank of the target class or a restart."""

    name: str
    attack: IterativeAttack
    ranks: tuple[int, ...]


def stages(
    version: str | Sequence[str],
    norm: str,
    classes: int,
    steps: int = 100,
    n_target_classes: int = 9,
    n_queries: int = 5000,
    eot_iter: int = 20,
) -> tuple[Stage, ...]:
    """The attacks of a version, in the order in which they run.

    "standard" runs APGD on the cross entropy, APGD and FAB towards nine target classes
    each, and Square. "plus" runs five restarts of APGD on the cross entropy, of APGD on
    the DLR loss and of FAB, then Square and the targeted attacks. "rand" runs APGD on
    both losses, with gradients averaged over random draws. In l1, APGD of "standard"
    has three radii, five restarts and five target classes.

    Args:
      version: the name of a version, or a list of names of attacks, which have the
        settings of "standard".
      norm: "linf", "l2" or "l1".
      classes: K; there are at most K - 1 target classes. The targeted DLR loss needs
        four classes and is otherwise replaced by the targeted margin; the DLR loss
        needs three and is otherwise replaced by the margin.
      steps: the number of steps of APGD and FAB.
      n_target_classes: the number of target classes of the targeted attacks.
      n_queries: the number of queries of Square.
      eot_iter: the number of draws that a gradient of "rand" is averaged over.

    Raises:
      ValueError: for an unknown version or attack.
    """
    if isinstance(version, (list, tuple)):
        names = tuple(version)
    elif isinstance(version, str) and version in VERSIONS:
        names = VERSIONS[version]
    else:
        raise ValueError(
            f"version={version!r}: expected one of {list(VERSIONS)}, or a list of some "
            f"of {list(STAGES)}."
        )
    unknown = [name for name in names if name not in STAGES]
    if unknown or not names:
        raise ValueError(f"attacks {unknown}: expected some of {list(STAGES)}.")
    wide = norm == "l1" and version not in ("plus", "rand")
    radii = L1_RADII if wide else (1.0,)
    dlr, targeted_dlr = (
        "dlr" if classes >= least else "margin"
        for least in (DLR_CLASSES, TARGETED_DLR_CLASSES)
    )
    draws = eot_iter if version == "rand" else 0
    n_restarts = tuple(range(RESTARTS if version == "plus" else 1))
    last = min(n_target_classes + 1, classes)
    apgd_last = min(L1_TARGETS + 1, last) if wide else last
    attempts = tuple(range(RESTARTS)) if wide else n_restarts
    attacks: dict[str, tuple[IterativeAttack, tuple[int, ...]]] = {
        "apgd-ce": (
            APGD("cross_entropy", steps, eot_iter=draws, radii=radii),
            attempts,
        ),
        "apgd-dlr": (APGD(dlr, steps, eot_iter=draws, radii=radii), attempts),
        "apgd-t": (
            APGD(targeted_dlr, steps, targeted=True, radii=radii),
            tuple(range(2, apgd_last + 1)),
        ),
        "fab": (FAB(steps), n_restarts),
        "fab-t": (FAB(steps, targeted=True), tuple(range(2, last + 1))),
        "square": (Square(n_queries), (0,)),
    }
    return tuple(Stage(name, *attacks[name]) for name in names)


class _State(struct.PyTreeNode):
    best: Best


@dataclasses.dataclass(frozen=True)
class NoAttack:
    """The attack without steps, to count the images that are misclassified."""

    randomized: bool = False
    steps: int = 0

    def init(self, logits_fn: LogitsFn, problem: AttackInputs) -> _State:
        """The state after one query of the images themselves."""
        draw = (problem.key,) if self.randomized else ()
        logits = logits_fn(problem.images, *draw)
        best = Best.none(problem.images).spend(1)
        margin = largest_margin(logits, problem.labels)
        return _State(best.offer(problem.images, margin))

    def propose(self, logits_fn, problem, index, state) -> tuple[_State, Array]:
        """There are no steps."""
        raise NotImplementedError

    def update(self, logits_fn, problem, index, state, x) -> _State:
        """There are no steps."""
        raise NotImplementedError
