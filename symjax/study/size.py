"""How large the study is: whole, or small enough for a CPU, to see every piece run.

SMALL.changes(training)        # of its configuration
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from symjax.data import corruptions
from symjax.study.trainings import Training


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

    def changes(self, training: Training) -> dict[str, Any]:
        """Of a run's configuration, on top of its own."""
        changes = dict(self.override)
        if "epochs" in changes and "optimizer.schedule" in training.changes:
            changes["optimizer.decay_epochs"] = 1
        return changes

    def some(self, radii: Sequence[float]) -> tuple[float, ...]:
        """Those of the epsilons that are measured."""
        return tuple(radii[: self.radii] if self.radii else radii)


WHOLE = Size(
    name="whole",
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

SMALL = Size(
    name="small",
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
    autoattack={"steps": 5, "queries": 20, "target_classes": 1},
    audit={
        "only": (
            "no dependence on the batch",
            "returned images hold",
            "PGD at least as strong as FGSM",
        )
    },
    corruptions=("contrast",),
    severities=(1, 5),
)
SIZES = {size.name: size for size in (WHOLE, SMALL)}
