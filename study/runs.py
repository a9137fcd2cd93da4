"""The runs of the study, how each is trained, and the sizes of the study.

    TRAININGS["cifar10-10-parallel_rs-published"].config()
    REDUCED.override_of(training)            # changes of a run's configuration

There are three kinds of runs: each published net with its published training; the same
with one difference of the training undone (attribution); and nets on one trunk, trained
in one way, that differ in one thing (the controlled comparison).
"""

import dataclasses
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from symjax.data import corruptions
from symjax.evaluation.protocol import SOUND
from symjax.models import MODELS

PUBLISHED, SWITCHED, CONTROLLED = KINDS = ("published", "switched", "controlled")
DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
DEPTHS = (10, 4)


class NetStyle(NamedTuple):
    """The name of a net for people, and how it is drawn in every figure."""

    label: str
    color: str
    marker: str


NETS = {
    "baseline": NetStyle("Baseline CNN", "#000000", "o"),
    "parallel_rot": NetStyle("Parallel GCNN", "#0072B2", "s"),
    "parallel_scale": NetStyle("Parallel GCNN (S)", "#56B4E9", "v"),
    "parallel_rs": NetStyle("Parallel GCNN (R & S)", "#D55E00", "^"),
    "cascaded": NetStyle("Cascaded GCNN", "#009E73", "D"),
    "weighted": NetStyle("Weighted GCNN (R & S)", "#CC79A7", "P"),
    "equivariant": NetStyle("Fully equivariant", "#E69F00", "X"),
}
"""Colors of Okabe and Ito (2008), which color-blind readers can tell apart."""

STEP = {"optimizer.schedule": "step"}
AUGMENTED = {
    "training.mode": "fgsm_published",
    "training.eps_pixels": 0.005,  # 0.01 of the input normalized to [-1, 1]
    "training.bounds": (0.5, 1.0),  # [0, 1] of it
}
CIFAR_NORM = {
    "model.mean": (0.4914, 0.4822, 0.4465),
    "model.std": (0.2023, 0.1994, 0.2010),
}
AS_PUBLISHED: dict[str, dict[str, Any]] = {
    "baseline": {},
    "parallel_rot": STEP | AUGMENTED,
    "parallel_scale": {},
    "parallel_rs": {},
    "weighted": STEP,
    "cascaded": STEP,
    "equivariant": CIFAR_NORM,  # its batches of 64 and 50 epochs are in its file
}
"""What differs from a net's file in `configs/`, beside the trunk."""
CONTROLLED_TRAINING = {"batch_size": 128, "epochs": 200}


@dataclasses.dataclass(frozen=True)
class Training:
    """One run.

    Attributes:
      dataset, depth, net: what is trained.
      kind: one of `KINDS`.
      changes: changes of the configuration, by flattened key.
      variant: what tells the run from the others of its kind and net.
      note: what the variant is, in words.
      file: the configuration in `configs/`; empty: that of the net.
    """

    dataset: str
    depth: int
    net: str
    kind: str
    changes: Mapping[str, Any]
    variant: str = ""
    note: str = ""
    file: str = ""

    @property
    def name(self) -> str:
        """The name of the run and of its folders."""
        trunk = "matched" if self.kind == CONTROLLED else "published"
        return run_name(self.dataset, self.depth, self.net, trunk, self.variant)

    def config(self, more: Mapping[str, Any] = {}) -> Any:  # noqa: B006
        """The configuration, with further changes on top.

        Raises:
          FileNotFoundError: if `configs/` cannot be imported.
        """
        file = self.file or self.net
        try:
            module = importlib.import_module(f"configs.{file}")
        except ModuleNotFoundError as error:
            raise FileNotFoundError(
                f"configs/{file}.py cannot be imported ({error}): run the study "
                "in the folder that holds configs/, a checkout of symjax."
            ) from None
        config = module.get_config()
        config.update_from_flattened_dict(self._all(more))
        return config

    def command(self, more: Mapping[str, Any] = {}) -> str:  # noqa: B006
        """The command that trains the run."""
        flags = [f"--config.{key}={_flag(x)}" for key, x in self._all(more).items()]
        file = f"configs/{self.file or self.net}.py"
        return " ".join(["python train.py --config", file, *flags])

    def _all(self, more: Mapping[str, Any]) -> dict[str, Any]:
        where = {"dataset.name": self.dataset, "model.depth": self.depth}
        return {"name": self.name, **where, **self.changes, **more}


def run_name(
    dataset: str, depth: int, net: str, trunk: str = "published", variant: str = ""
) -> str:
    """The name of a run."""
    parts = [dataset, str(depth), net, trunk, variant]
    return "-".join(part for part in parts if part)


def _flag(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if "(" in text else text


def _of_paper(dataset: str, depth: int, net: str) -> Training:
    last_batch = {"training.drop_last": False}  # which the published training keeps
    changes = {"model.trunk": "published"} | last_batch | AS_PUBLISHED[net]
    return Training(dataset, depth, net, PUBLISHED, changes)


def _published() -> Iterator[Training]:
    for dataset in DATASETS:
        for depth in DEPTHS:
            nets = [net for net in NETS if net != "parallel_scale"]
            if (dataset, depth) != ("cifar10", 10):
                nets.append("parallel_scale")  # of Figure 6
            yield from (_of_paper(dataset, depth, net) for net in nets)
    note = "CNN + AT of Table 4, whose settings are not published: 8/255, 7 steps"
    for depth in DEPTHS:
        yield dataclasses.replace(
            _of_paper("cifar10", depth, "baseline"),
            variant="pgd",
            file="adversarial_training",
            note=note,
        )


def _switched() -> Iterator[Training]:
    """The published training with one difference undone, or given to the baseline."""
    clean = {"training.mode": "clean"}
    for net, variant, changes, note in (
        ("parallel_rot", "clean", clean, "no FGSM augmentation"),
        ("baseline", "fgsm", AUGMENTED, "the FGSM augmentation of parallel rot"),
        ("parallel_rs", "c4", {"model.group": "C4"}, "C4, as in the text of the paper"),
        ("equivariant", "c4", {"model.group": "C4"}, "C4, as in the text of the paper"),
        ("equivariant", "invariant", {"model.readout": "invariant"}, "no flattening"),
        (
            "equivariant",
            "longer",
            CONTROLLED_TRAINING,
            "the others' batches and epochs",
        ),
        ("weighted", "constant", {"optimizer.schedule": "constant"}, "constant rate"),
        ("cascaded", "constant", {"optimizer.schedule": "constant"}, "constant rate"),
    ):
        paper = _of_paper("cifar10", 10, net)
        changes = {**paper.changes, **changes}
        yield dataclasses.replace(
            paper, kind=SWITCHED, changes=changes, variant=variant, note=note
        )


def _controlled() -> Iterator[Training]:
    turns = "quarter turns of the images in place of rotation layers"
    for net, variant, changes, note in (
        *((net, "", {}, "") for net in MODELS),
        ("baseline", "fgsm", AUGMENTED, "the FGSM augmentation of parallel rot"),
        ("baseline", "turned", {"dataset.quarter_turns": True}, turns),
        ("equivariant", "flatten", {"model.readout": "flatten"}, "flattened readout"),
    ):
        changes = {"model.trunk": "matched"} | CONTROLLED_TRAINING | changes
        yield Training("cifar10", 10, net, CONTROLLED, changes, variant, note)


TRAININGS: dict[str, Training] = {
    training.name: training
    for training in sorted(
        (*_published(), *_switched(), *_controlled()),
        key=lambda x: (
            x.dataset == "cifar100",
            x.depth == 4,
            KINDS.index(x.kind),
            x.variant == "pgd",
        ),
    )
}
"""All runs, in the order in which they are done: Figure 2 and Table 2 on CIFAR-10,
then attribution, the controlled comparison, Figure 1, CIFAR-100."""
REPRODUCTION_TARGETS = tuple(
    x for x in TRAININGS.values()
    if (x.dataset, x.depth, x.kind, x.variant) == ("cifar10", 10, PUBLISHED, "")
)  # fmt: skip
"""The runs whose published numbers have to be reproduced, and are attributed."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of the study is trained and measured.

    Attributes:
      name: the folder of its rows.
      override: changes of every run's configuration.
      seeds: how many are trained of each run.
      n: test images of clean accuracy, FGSM and PGD.
      n_autoattack, n_audit, n_tolerance, n_corrupted: test images of the others.
      steps: of PGD.
      radii: how many of the epsilons are measured, from the first; 0: all.
      autoattack, audit: settings of them.
      corruptions, severities: of Table 1.
      reduced: measure what two CPU cores can finish, see `plan.measurements`.
      n_restarts: of the sound PGD.
      batch_autoattack: images per batch of AutoAttack. If few images are robust, small
        batches cost less; the outcomes do not depend on it.
      widths: of the nets, as a fraction of the published width, by depth.
      seeds_cifar100, seeds_switched: how many are trained of the runs on CIFAR-100, and
        of those with a switch of the training; 0: `seeds`.
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

    def override_of(self, training: Training) -> dict[str, Any]:
        """Changes of a run's configuration, on top of its own.

        The step schedule decays four times, as the published one does.
        """
        changes = dict(self.override)
        if "epochs" in changes and "optimizer.schedule" in training.changes:
            changes["optimizer.decay_epochs"] = max(1, changes["epochs"] // 4)
        if self.widths:
            changes["model.width"] = self.widths[training.depth]
        return changes

    def seeds_of(self, training: Training) -> int:
        """How many seeds of a run are trained."""
        if training.kind == SWITCHED and self.seeds_switched:
            return self.seeds_switched
        if training.dataset == "cifar100" and self.seeds_cifar100:
            return self.seeds_cifar100
        return self.seeds

    @property
    def trainings(self) -> dict[str, Training]:
        """The runs by name, in the order in which they are done."""
        if not self.reduced:
            return {x.name: x for x in TRAININGS.values() if not _only_reduced(x)}
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
        """The epsilons that are measured, of those of a measurement."""
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
    return training.kind, training.dataset, training.depth


def _only_reduced(training: Training) -> bool:
    """Whether the paper shows no such net: it has these with only ten layers."""
    added = training.net == "parallel_scale" or training.variant == "pgd"
    return training.depth == 4 and added


FEW_STEPS = {"steps": 5, "n_queries": 20, "n_target_classes": 1}
FEW_CHECKS = {
    "only": ("no_batch_dependence", "returned_images", "pgd_at_least_fgsm"),
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
REDUCED = dataclasses.replace(
    FULL,
    name="reduced",
    override={
        "epochs": 4,
        "evaluation.every_epochs": 4,
        "checkpoint.every_epochs": 1,
        "seeds": 3,
    },
    seeds=3,
    n=1_000,
    n_autoattack=200,
    n_audit=50,
    n_corrupted=200,
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
