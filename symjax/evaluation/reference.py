"""Attacks on corrupted images as they were published (paper, Table 1).

    attack = Reference.of(run, "fgsm")
    corruption.measure(run, store, attack, "linf", [attack.in_pixels(0.01)], images)

Not a sound protocol: it is there so that published numbers can be made again. It
differs from `evaluation.Attack` in four ways. The baseline alone is fed normalised
images; the other nets are fed [0, 1] though they were trained on [-1, 1], and see half
the contrast on a grey ground. The epsilon is in units of what the net is fed. What is
fed is clipped to [0, 1] after each step, which turns every normalised value that is
darker than mid-grey to mid-grey and so leaves the ball. PGD starts at the image and
gives its last iterate. Batch norm uses its running averages, as in a sound protocol.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from symjax import attacks
from symjax.attacks import AttackResult, ThreatModel
from symjax.attacks.result import LogitsFn
from symjax.evaluation.run import Run

NORMALISED = ("baseline",)
AS_THEY_ARE = ("cascaded", "parallel_rot", "parallel_rs", "weighted")
NAMES = ("none", "fgsm", "pgd")
CLIP = (0.0, 1.0)
STEP, STEPS = 0.01, 40
MEAN, STD = 0.5, 0.5


@dataclasses.dataclass(frozen=True)
class Reference:
    """A published attack on one net; static in the program, called as `Attack` is.

    Attributes:
      name: one of `NAMES`.
      mean, std: the net is fed `(image - mean) / std`; 0 and 1: the image as it is.
    """

    name: str
    mean: float
    std: float

    driven: ClassVar[bool] = False

    def __post_init__(self):
        if self.name not in NAMES:
            raise ValueError(
                f"attack {self.name!r}: the reference protocol has {list(NAMES)}."
            )

    @classmethod
    def of(cls, run: Run, name: str) -> "Reference":
        """The attack as it was published for this run's net.

        Raises:
          ValueError: if it is none of Table 1's nets, was not trained on [-1, 1], or
            for another attack.
        """
        config = run.experiment.config.model
        if config.name not in (*NORMALISED, *AS_THEY_ARE):
            raise ValueError(
                f"net {config.name!r}: the published attacks on corruptions are of "
                f"{sorted((*NORMALISED, *AS_THEY_ARE))}; take --protocol sound."
            )
        if {*config.mean} != {MEAN} or {*config.std} != {STD}:
            raise ValueError(
                f"mean {config.mean}, std {config.std}: the published nets were "
                f"trained with {MEAN} and {STD}; take --protocol sound."
            )
        fed = (MEAN, STD) if config.name in NORMALISED else (0.0, 1.0)
        return cls(name, *fed)

    def in_pixels(self, eps: float) -> float:
        """A radius in units of what the net is fed, in pixel units."""
        return eps * self.std

    def __call__(
        self,
        logits_fn: LogitsFn,
        images: Array,
        labels: Array,
        key: Array,
        threat: ThreatModel,
    ) -> AttackResult:
        """Images `[B, H, W, C]` in [0, 1] to an `AttackResult` in the same units.

        Args:
          logits_fn: normalises [0, 1] images by `MEAN` and `STD` itself, as ours do.
          images, labels: as of every attack; those that are misclassified are attacked
            as well, and count by what is predicted in the end.
          key: not used.
          threat: linf; its eps in pixel units. Its bounds are not used.

        Raises:
          ValueError: for another norm.
        """
        del key
        if threat.norm != "linf":
            raise ValueError(f"norm {threat.norm!r}: the published attacks are linf.")

        def logits(fed):
            return logits_fn(fed * STD + MEAN)

        start = (images - self.mean) / self.std
        eps = jnp.asarray(threat.eps) / self.std
        found = self._attacked(logits, start, labels, eps)
        moved = found * self.std + self.mean
        steps = {"none": 0, "fgsm": 1, "pgd": STEPS}[self.name]
        count = jnp.full(len(images), steps, jnp.int32)
        robust = attacks.is_correct(logits(found), labels)
        distance = threat.distance(moved, images)
        return AttackResult(moved, robust, distance, count + 1, count)

    def _attacked(self, logits, start: Array, labels: Array, eps: Array) -> Array:
        """What the net is fed in the end."""

        def loss(fed):
            return jnp.sum(attacks.cross_entropy(logits(fed), labels))

        def move(_, fed):
            delta = fed + step * jnp.sign(jax.grad(loss)(fed)) - start
            return jnp.clip(start + jnp.clip(delta, -eps, eps), *CLIP)

        if self.name == "none":
            return start
        if self.name == "fgsm":
            step = eps
            return move(0, start)
        step = STEP
        return jax.lax.fori_loop(0, STEPS, move, start)

    def identity(self) -> dict[str, Any]:
        """What a results row says: the attack, and each switch of the protocol."""
        pgd, none = self.name == "pgd", self.name == "none"
        return {
            "attack": self.name,
            "steps": None if none else STEPS if pgd else 1,
            "step_size": STEP * self.std if pgd else None,
            "restarts": 1 if pgd else None,
            "start": None if none else "image",
            "loss": None if none else "cross_entropy",
            "keep": "last" if pgd else None,
            "protocol": "reference",
            "input_mean": self.mean,
            "input_std": self.std,
            "input_clip": None if none else list(CLIP),
            "batch_norm": "running",
        }
