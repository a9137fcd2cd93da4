"""Clean and robust accuracy of any net, in one call.

found = symjax.robust_accuracy(logits_fn, images, labels, attacks.Linf(8 / 255))
print(found)       # clean 92.1 % (90.2 to 93.6), robust 45.3 % (42.2 to 48.4) of ...
found.robust.value, found.images, found.broken_by
"""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console
from rich.progress import Progress

from symjax.attacks._autoattack import CLEAN, ROBUST, autoattack
from symjax.attacks.ensemble import HOST_DRIVEN
from symjax.attacks.entry import attack as public
from symjax.attacks.entry import whole_number
from symjax.attacks.gradient import fgsm, pgd
from symjax.attacks.inputs import prepare
from symjax.attacks.losses import is_correct
from symjax.attacks.minimum_norm import carlini_wagner, deepfool
from symjax.attacks.result import AttackResult, LogitsFn
from symjax.attacks.threat import ThreatModel
from symjax.formatting import format_eps
from symjax.io import in_batches
from symjax.names import matched
from symjax.seeds import as_key, fold_in
from symjax.statistics import Estimate, proportion


@public(optional=("key",))
def no_attack(logits_fn, images, labels, key, threat) -> AttackResult:
    """The images themselves, so that `robust` states which are classified correctly."""
    del key, threat
    count = jnp.ones(len(images), jnp.int32)
    robust = is_correct(logits_fn(images), labels)
    distance = jnp.zeros(len(images), images.dtype)
    return AttackResult(images, robust, distance, count, 0 * count)


BATCHED = {
    "none": no_attack,
    "fgsm": fgsm,
    "pgd": pgd,
    "deepfool": deepfool,
    "cw": carlini_wagner,
}
"""Attacks that are called batch by batch; `HOST_DRIVEN` has those of AutoAttack."""


@dataclasses.dataclass(frozen=True)
class RobustAccuracy:
    """What `robust_accuracy` returns, for N images; `str` makes one line of it.

    Attributes:
      clean, robust: fractions of the images, with their 95 % intervals.
      images: `[N, H, W, C]`, the adversarial images, in the ball and the bounds; an
        image itself where no adversarial image was found.
      robust_images: `[N]`, bool, which images are robust.
      broken_by: how many images each attack broke, by its name, and "clean": how many
        are misclassified without one. The counts and those that are robust sum to N.
      attack: its name.
    """

    clean: Estimate
    robust: Estimate
    images: np.ndarray
    robust_images: np.ndarray
    broken_by: dict[str, int]
    attack: str
    threat: ThreatModel

    def __str__(self) -> str:
        clean, robust = (
            f"{100 * x.value:.1f} % ({100 * x.low:.1f} to {100 * x.high:.1f})"
            for x in (self.clean, self.robust)
        )
        eps = format_eps(np.asarray(self.threat.eps, np.float64).tolist())
        return (
            f"clean {clean}, robust {robust} of {self.robust.count:,} images under "
            f"{self.attack}, {self.threat.norm} {eps}"
        )


def robust_accuracy(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    threat: ThreatModel,
    attack: str | Callable[..., AttackResult] = "autoattack",
    *,
    key: Array | None = None,
    batch_size: int = 250,
    progress: bool = True,
    **options: Any,
) -> RobustAccuracy:
    """Clean and robust accuracy on all images, with 95 % intervals.

    What the attack returns is verified. An image is robust if the net classifies it
    and the image that the attack returns correctly, whatever the attack itself
    reports. AutoAttack verifies each adversarial image in float64, at batch size 1.

    The intervals are Wilson's, of a proportion of N independent images. They state
    what other images would change, and not what a stronger attack would.

    Args:
      logits_fn, images, labels, threat: see `symjax.attacks`; there are N images.
      attack: "autoattack", "autoattack-plus", "pgd", "fgsm", "deepfool", "cw", "none",
        "apgd" (on both losses) or an attack of AutoAttack alone: "apgd-ce",
        "apgd-dlr", "apgd-t", "fab", "fab-t", "square". Or a function with the
        arguments and the result of `pgd`.
      key: for random starts; `jax.random.key(0)` if None. Every batch has its own.
      batch_size: images at a time.
      progress: show a bar on a terminal.
      **options: of the attack, as `steps=20, n_restarts=5` of `pgd`.

    Returns:
      A `RobustAccuracy`.

    Raises:
      ValueError: for another name of an attack, for images, labels or an eps that
        cannot be, or if an adversarial image is not in the ball and the bounds.

    References:
      Wilson, Probable Inference, the Law of Succession, and Statistical Inference,
      JASA 1927.
    """
    name, function = _named(attack)
    size = whole_number("robust_accuracy", "batch_size", batch_size)
    key = as_key(jax.random.key(0) if key is None else key)
    call = prepare("robust_accuracy", logits_fn, images, labels, key, threat)[:5]
    size = min(size, len(call[1]))
    console = Console(stderr=True)
    shown = progress and (console.is_terminal or console.is_jupyter)
    with Progress(console=console, disable=not shown, transient=True) as bar:
        task = bar.add_task(name, total=1)

        def report(done: float, total: float) -> None:
            bar.update(task, completed=done / total)

        if function is None:
            result = autoattack(
                *call,
                version=HOST_DRIVEN[name],
                batch_size=size,
                report=lambda now: report(now.work, now.total),
                **options,
            )
            found, broken_by = result.images, result.broken_by
        else:
            found, broken_by = _batched(call, name, function, size, report, options)
    inside = call[4].contains(jnp.asarray(found), call[1])
    if not inside.all():
        raise ValueError(
            f"{name}: the adversarial image of image {np.argmin(inside)} is not in the "
            f"ball and the bounds ({np.sum(~inside)} of {len(inside)} in all): end the "
            "attack with threat.project(images, center)."
        )
    robust = broken_by == ROBUST
    return RobustAccuracy(
        clean=proportion(int(np.sum(broken_by != CLEAN)), len(robust)),
        robust=proportion(int(np.sum(robust)), len(robust)),
        images=found,
        robust_images=robust,
        broken_by=collections.Counter(broken_by[~robust].tolist()),
        attack=name,
        threat=threat,
    )


def _named(attack: str | Callable) -> tuple[str, Callable | None]:
    """The name of an attack, and its function; None if the host drives it."""
    if callable(attack):
        function = getattr(attack, "func", attack)  # of a functools.partial
        return getattr(function, "__name__", type(function).__name__), attack
    if not isinstance(attack, str):
        raise ValueError(f"attack {attack!r}: expected a name, or a function.")
    name = matched("attack", attack, [*BATCHED, *HOST_DRIVEN])
    return name, BATCHED.get(name)


def _batched(call, name, function, size, report, options) -> list[np.ndarray]:
    """Images `[N, H, W, C]`, and which attack broke each, `[N]`, as of `autoattack`."""
    net, images, labels, key, threat = call
    count, parts = len(images), []
    for place, index in enumerate(in_batches(count, size)):
        batch = net, images[index], labels[index], fold_in(key, place), threat
        clean = no_attack(*batch).robust
        found = jnp.asarray(function(*batch, **options).images)
        inside = threat.contains(found, batch[1])
        valid = jnp.where(inside[:, None, None, None], found, batch[1])
        broken = ~no_attack(net, valid, *batch[2:]).robust
        by = np.where(clean, np.where(broken, name, ROBUST), CLEAN)
        parts.append((np.asarray(found), by))
        report(min(index[-1] + 1, count), count)
    return [np.concatenate(part)[:count] for part in zip(*parts, strict=True)]
