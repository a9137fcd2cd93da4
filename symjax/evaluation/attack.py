"""An attack by name, with its settings.

Attack("pgd", steps=40)(logits_fn, images, labels, key, threat)
Attack("autoattack").identity()          # its entries of a results row
"""

import dataclasses
from typing import Any

from symjax import attacks
from symjax.attacks import AttackResult
from symjax.attacks.ensemble import HOST_DRIVEN
from symjax.attacks.entry import unchecked
from symjax.formatting import format_eps
from symjax.names import matched

FGSM, PGD = unchecked(attacks.fgsm), unchecked(attacks.pgd)
NONE = unchecked(attacks.no_attack)
MINIMUM_NORM = {
    "deepfool": unchecked(attacks.deepfool),
    "cw": unchecked(attacks.carlini_wagner),
}
NAMES = ("none", "fgsm", "pgd", *MINIMUM_NORM, *HOST_DRIVEN)
STEPS = {"pgd": 40, "deepfool": 50, "cw": 10_000}
HOST_DRIVEN_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Radius:
    """An epsilon in pixel units, and as the user gave it.

    Attributes:
      pixels: the radius for images in [0, 1]; one number, or one per channel.
      given: the radius in `unit`.
      unit: "pixel" or "normalized".
    """

    pixels: float | tuple[float, ...]
    given: float | tuple[float, ...]
    unit: str = "pixel"

    @classmethod
    def of(cls, eps: "Eps") -> "Radius":
        """Makes a `Radius` of a number or tuple in pixel units."""
        return eps if isinstance(eps, Radius) else cls(eps, eps)

    def identity(self) -> dict[str, Any]:
        """The entries of a row's identity."""
        given = format_eps(self.given)
        return {"eps": self.pixels, "eps_given": given, "eps_unit": self.unit}


Eps = float | tuple[float, ...] | Radius


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack by name and its settings; hashable and static in a compiled program.

    Attributes:
      name: one of `NAMES`, or a common spelling: "PGD", "Auto-Attack", "C&W".
      steps: the number of steps; 0: 40 for PGD, and for another attack the number in
        its paper.
      step_size_pixels, n_restarts, random_start, keep: of PGD, see `attacks.pgd`.
      loss: the loss that FGSM and PGD maximize.
      n_queries, n_target_classes: of AutoAttack, see `attacks.autoattack`.
    """

    name: str
    steps: int = 0
    step_size_pixels: float | None = None
    n_restarts: int = 1
    random_start: bool = True
    keep: attacks.Keep = "best"
    loss: str = "cross_entropy"
    n_queries: int = 5000
    n_target_classes: int = 9

    def __post_init__(self):
        object.__setattr__(self, "name", matched("attack", self.name, NAMES))
        if self.steps == 0:
            steps = STEPS.get(self.name, HOST_DRIVEN_STEPS)
            object.__setattr__(self, "steps", steps)

    @property
    def host_driven(self) -> bool:
        """Whether the host drives the steps and verifies the adversarial examples."""
        return self.name in HOST_DRIVEN

    def __call__(self, logits_fn, images, labels, key, threat) -> AttackResult:
        """Attacks images `[B, H, W, C]` in [0, 1], see `symjax.attacks`."""
        call = logits_fn, images, labels, key, threat
        if self.name == "none":
            return NONE(*call)
        if self.name == "fgsm":
            return FGSM(*call, loss=self.loss)
        if self.name in MINIMUM_NORM:
            return MINIMUM_NORM[self.name](*call, steps=self.steps)
        return PGD(
            *call,
            steps=self.steps,
            step_size=self.step_size_pixels,
            n_restarts=self.n_restarts,
            random_start=self.random_start,
            loss=self.loss,
            keep=self.keep,
        )

    def identity(self) -> dict[str, Any]:
        """Entries of a row's identity; a setting that the attack lacks is None."""
        unset = ("steps", "step_size", "n_restarts", "start", "loss", "keep")
        entries: dict[str, Any] = {"attack": self.name, **dict.fromkeys(unset)}
        if self.name == "none":
            return entries
        if self.name == "fgsm":
            return entries | {"loss": self.loss, "steps": 1, "start": "image"}
        entries["steps"] = self.steps
        if self.host_driven:
            counts = ("n_queries", "n_target_classes")
            return entries | {name: getattr(self, name) for name in counts}
        if self.name != "pgd":
            return entries
        step = self.step_size_pixels
        return entries | {
            "loss": self.loss,
            "step_size": "2.5 eps / steps" if step is None else step,
            "n_restarts": self.n_restarts,
            "start": "uniform" if self.random_start else "image",
            "keep": self.keep,
        }
