"""An attack and its settings, as an evaluation names them.

Attack("pgd", steps=40)(logits_fn, images, labels, key, threat)
Attack("autoattack").identity()          # what a results row says
"""

import dataclasses
from typing import Any

from symjax import attacks
from symjax.attacks import AttackResult
from symjax.attacks.ensemble import HOST_DRIVEN
from symjax.attacks.entry import unchecked
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
class Attack:
    """An attack by name and what it is set to; static in the program.

    Attributes:
      name: one of `NAMES`, or as peers spell it: "PGD", "Auto-Attack", "C&W".
      steps: 0: as the attack's paper has it; 40 of PGD.
      step_size_pixels, n_restarts, random_start, keep: of PGD, see `attacks.pgd`.
      loss: that FGSM and PGD ascend.
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
        """Whether the host drives it, and verifies what it finds."""
        return self.name in HOST_DRIVEN

    def __call__(self, logits_fn, images, labels, key, threat) -> AttackResult:
        """As every attack: `[B, H, W, C]` in [0, 1] to an `AttackResult`."""
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
        """What a results row says of it; what an attack does not have is None."""
        says: dict[str, Any] = {
            field: None for field in ("steps", "step_size", "n_restarts", "start")
        }
        says |= {"attack": self.name, "loss": None, "keep": None}
        if self.name == "none":
            return says
        if self.name == "fgsm":
            return says | {"loss": self.loss, "steps": 1, "start": "image"}
        says["steps"] = self.steps
        if self.host_driven:
            return says | {
                "n_queries": self.n_queries,
                "n_target_classes": self.n_target_classes,
            }
        if self.name != "pgd":
            return says
        step = self.step_size_pixels
        return says | {
            "loss": self.loss,
            "step_size": "2.5 eps / steps" if step is None else step,
            "n_restarts": self.n_restarts,
            "start": "uniform" if self.random_start else "image",
            "keep": self.keep,
        }
