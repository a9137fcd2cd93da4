"""The sizes of the study: full, reduced for two CPU cores, smoke to see that it runs.

SMOKE.changes(training)        # of its configuration
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from symjax.data import corruptions
from symjax.evaluation.protocol import SOUND
from symjax.study.trainings import (
    ADDED,
    CONTROLLED,
    PUBLISHED,
    SWITCHED,
    TRAININGS,
    Training,
)


@dataclasses.dataclass(frozen=True)
class Size:
    """What a piece of the study is measured on.

    Attributes:
      name: folder of its rows.
      override: changes of every run's configuration.
      seeds: trained of each run.
      n: test images of FGSM and PGD.
      n_autoattack, n_audit, n_tolerance, n_corrupted: of the others.
      steps: of PGD.
      radii: how many of the epsilons, from the first; 0: all.
      autoattack, audit: settings of them.
      corruptions, severities: of Table 1.
      reduced: measure what two CPU cores can finish, see `measurements.of_training`.
      n_restarts: of the sound PGD.
      batch_autoattack: images at a time. Of few images that stand, a small batch costs
        less; the outcomes do not depend on it.
      widths: of the nets, as a fraction of the published width, by depth.
      seeds_cifar100, seeds_switched: trained of the runs on CIFAR-100, and of those
        with a switch of the training; 0: as of the others.
    """

    name: str
    override: Mapping[str, Any]
    seeds: int
    n: int
    n_autoattack: int
    n_audit: int
    n_tolerance: int
    n_corrupted: int
    steps: int
    radii: int
    autoattack: Mapping[str, Any]
    audit: Mapping[str, Any]
    corruptions: Sequence[str]
    severities: Sequence[int]
    reduced: bool = False
    n_restarts: int = SOUND.n_restarts
    batch_autoattack: int = 250
    widths: Mapping[int, float] = dataclasses.field(default_factory=dict)
    seeds_cifar100: int = 0
    seeds_switched: int = 0

    def changes(self, training: Training) -> dict[str, Any]:
        """Of a run's configuration, on top of its own.

        The step schedule decays four times, as the published one does.
        """
        changes = dict(self.override)
        if "epochs" in changes and "optimizer.schedule" in training.changes:
            changes["optimizer.decay_epochs"] = max(1, changes["epochs"] // 4)
        if self.widths:
            changes["model.width"] = self.widths[training.changes["model.depth"]]
        return changes

    def seeds_of(self, training: Training) -> int:
        """How many seeds of a run are trained."""
        if training.kind == SWITCHED and self.seeds_switched:
            return self.seeds_switched
        if training.changes["dataset.name"] == "cifar100" and self.seeds_cifar100:
            return self.seeds_cifar100
        return self.seeds

    def is_half(self, training: Training, seed: int) -> bool:
        """Whether a net's weights are kept in float16, so that all files stay small."""
        where = training.changes["dataset.name"], training.changes["model.depth"]
        return where != ("cifar10", 4) or seed != 0

    @property
    def trainings(self) -> dict[str, Training]:
        """The runs by name, in the order in which they are done."""
        if not self.reduced:
            return {name: x for name, x in TRAININGS.items() if name not in ADDED}
        chosen = [each for each in TRAININGS.values() if _stage(each) in ORDER]
        chosen.sort(key=lambda each: ORDER.index(_stage(each)))
        return {each.name: each for each in chosen}

    def trial(self) -> "Size":
        """The same runs and measurements on a few images each, to see that they run."""
        steps = {"epochs": 1, "evaluation.every_epochs": 1, "seeds": 1}
        return dataclasses.replace(
            self,
            name=f"{self.name}-trial",
            override={**self.override, **steps, "dataset.train_images": 1_280},
            seeds=1,
            n=16,
            n_autoattack=8,
            n_audit=8,
            n_tolerance=1,
            n_corrupted=4,
            steps=2,
            autoattack=FEW_STEPS,
            audit=FEW_CHECKS,
            corruptions=self.corruptions[:1],
            severities=self.severities[:1],
            seeds_cifar100=0,
            seeds_switched=0,
        )

    def some(self, radii: Sequence[float]) -> tuple[float, ...]:
        """Those of the epsilons that are measured."""
        return tuple(radii[: self.radii] if self.radii else radii)


ORDER = (
    (PUBLISHED, "cifar10", 4),
    (PUBLISHED, "cifar10", 10),
    (CONTROLLED, "cifar10", 10),
    (PUBLISHED, "cifar100", 4),
    (SWITCHED, "cifar10", 10),
)
"""The runs of the reduced size: kind, data set and depth, in the order of the work."""


def _stage(training: Training) -> tuple[str, str, int]:
    where = training.changes["dataset.name"], training.changes["model.depth"]
    return training.kind, *where


FEW_STEPS = {"steps": 5, "n_queries": 20, "n_target_classes": 1}
FEW_CHECKS = {
    "only": (
        "no_batch_dependence",
        "returned_images",
        "pgd_at_least_fgsm",
    )
}
FULL = Size(
    name="full",
    override={},
    seeds=5,
    n=10_000,
    n_autoattack=1_000,
    n_audit=200,
    n_tolerance=117,
    n_corrupted=10_000,
    steps=40,
    radii=0,
    autoattack={},
    audit={},
    corruptions=corruptions.NAMES,
    severities=corruptions.SEVERITIES,
)

EPOCHS = 4
REDUCED = Size(
    name="reduced",
    override={
        "epochs": EPOCHS,
        "evaluation.every_epochs": EPOCHS,
        "checkpoint.every_epochs": 1,
        "seeds": 3,
    },
    seeds=3,
    n=1_000,
    n_autoattack=200,
    n_audit=50,
    n_tolerance=117,
    n_corrupted=200,
    steps=40,
    radii=0,
    autoattack={},
    audit={},
    corruptions=corruptions.NAMES,
    severities=(1, 3, 5),
    reduced=True,
    n_restarts=1,
    batch_autoattack=25,
    widths={4: 0.5, 10: 0.25},
    seeds_cifar100=1,
    seeds_switched=1,
)

SMOKE = Size(
    name="smoke",
    override={
        "dataset.name": "cifar10",
        "dataset.train_images": 1_280,
        "model.width": 0.25,
        "epochs": 2,
        "batch_size": 64,
        "seeds": 1,
    },
    seeds=1,
    n=64,
    n_autoattack=8,
    n_audit=16,
    n_tolerance=2,
    n_corrupted=16,
    steps=10,
    radii=2,
    autoattack=FEW_STEPS,
    audit=FEW_CHECKS,
    corruptions=("contrast",),
    severities=(1, 5),
)
SIZES = {size.name: size for size in (FULL, REDUCED, SMOKE)}
