"""The nets of the study, and how each is trained.

    TRAININGS["cifar10-10-parallel_rs-published"].command()

Three kinds: each published net with its published training; the same with one switch of
the training turned (attribution); and nets that differ in one thing alone, on one trunk
and trained alike (the controlled comparison).
"""

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from symjax.models import MODELS

PUBLISHED, SWITCHED, CONTROLLED = "published", "switched", "controlled"
DATASETS, DEPTHS = ("cifar10", "cifar100"), (10, 4)
FIVE = ("baseline", "parallel_rot", "parallel_rs", "cascaded", "weighted")

STEP = {"optimizer.schedule": "step"}
AUGMENTED = {
    "training.mode": "fgsm_published",
    "training.eps_pixels": 0.005,  # 0.01 of the input normalised to [-1, 1]
    "training.bounds": (0.5, 1.0),  # [0, 1] of it
}
CIFAR_NORM = {
    "model.mean": (0.4914, 0.4822, 0.4465),
    "model.std": (0.2023, 0.1994, 0.2010),
}
LAST_BATCH = {"training.drop_last": False}  # which the published training keeps
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
ADDED = (
    "cifar10-4-parallel_scale-published",
    "cifar10-4-baseline-published-pgd",
    "cifar100-4-parallel_scale-published",
)
"""Runs of the reduced size alone: with four layers the paper shows no such nets."""
ALIKE = {"batch_size": 128, "epochs": 200}  # of the controlled comparison


@dataclasses.dataclass(frozen=True)
class Training:
    """One run.

    Attributes:
      name: of the run and its folders.
      net: its file in `configs/`.
      changes: of the configuration, by flattened key.
      kind: "published", "switched" or "controlled".
      note: what it is for, in words.
    """

    name: str
    net: str
    changes: Mapping[str, Any]
    kind: str
    note: str = ""

    def config(self, more: Mapping[str, Any] = ()) -> Any:  # pyright: ignore
        """The configuration, with further changes on top.

        Raises:
          FileNotFoundError: if `configs/` cannot be imported.
        """
        try:
            module = importlib.import_module(f"configs.{self.net}")
        except ModuleNotFoundError as error:
            raise FileNotFoundError(
                f"configs/{self.net}.py cannot be imported ({error}): run the study "
                "in the folder that holds configs/, a checkout of symjax."
            ) from None
        config = module.get_config()
        config.update_from_flattened_dict(
            {"name": self.name, **self.changes, **dict(more)}
        )
        return config

    def command(self, more: Mapping[str, Any] = ()) -> str:  # pyright: ignore
        """The command that trains it."""
        flags = [
            f"--config.{key}={_as_flag(value)}"
            for key, value in {"name": self.name, **self.changes, **dict(more)}.items()
        ]
        return " ".join(["python train.py --config", f"configs/{self.net}.py", *flags])


def _as_flag(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if "(" in text else text


def _published() -> Iterator[Training]:
    for dataset in DATASETS:
        for depth in DEPTHS:
            nets = [*FIVE, "equivariant"]
            if (dataset, depth) != ("cifar10", 10):
                nets.append("parallel_scale")  # of Figure 6
            yield from (_of_paper(dataset, depth, net) for net in nets)
    for depth in DEPTHS:
        yield dataclasses.replace(
            _of_paper("cifar10", depth, "baseline"),
            name=f"cifar10-{depth}-baseline-published-pgd",
            net="adversarial_training",
            note="CNN + AT of Table 4, whose settings are not published: "
            "8/255, 7 steps",
        )


def _of_paper(dataset: str, depth: int, net: str) -> Training:
    where = {"dataset.name": dataset, "model.depth": depth}
    published = {"model.trunk": "published"} | LAST_BATCH | AS_PUBLISHED[net]
    changes = where | published
    return Training(f"{dataset}-{depth}-{net}-published", net, changes, PUBLISHED)


def _switched() -> Iterator[Training]:
    """The published training with one difference undone, or given to the baseline."""
    clean = {"training.mode": "clean"}
    for net, name, changes, note in (
        ("parallel_rot", "clean", clean, "no FGSM augmentation"),
        ("baseline", "fgsm", AUGMENTED, "the FGSM augmentation of parallel rot"),
        ("parallel_rs", "c4", {"model.group": "C4"}, "C4, as the text says"),
        ("equivariant", "c4", {"model.group": "C4"}, "C4, as the text says"),
        ("equivariant", "invariant", {"model.readout": "invariant"}, "no flattening"),
        ("equivariant", "longer", ALIKE, "the others' batches and epochs"),
        ("weighted", "constant", {"optimizer.schedule": "constant"}, "constant rate"),
        ("cascaded", "constant", {"optimizer.schedule": "constant"}, "constant rate"),
    ):
        paper = _of_paper("cifar10", 10, net)
        whole = {**paper.changes, **changes}
        yield Training(f"{paper.name}-{name}", net, whole, SWITCHED, note)


def _controlled() -> Iterator[Training]:
    where = {"dataset.name": "cifar10", "model.depth": 10, "model.trunk": "matched"}
    for net in MODELS:
        name = f"cifar10-10-{net}-matched"
        yield Training(name, net, where | ALIKE, CONTROLLED)
    for net, name, changes, note in (
        ("baseline", "fgsm", AUGMENTED, "the FGSM augmentation of parallel rot"),
        (
            "baseline",
            "turned",
            {"dataset.quarter_turns": True},
            "quarter turns of the images in place of rotation layers",
        ),
        ("equivariant", "flatten", {"model.readout": "flatten"}, "flattened readout"),
    ):
        whole = where | ALIKE | changes
        run = f"cifar10-10-{net}-matched-{name}"
        yield Training(run, net, whole, CONTROLLED, note)


TRAININGS: dict[str, Training] = {
    training.name: training
    for training in sorted(
        (*_published(), *_switched(), *_controlled()),
        key=lambda x: (
            "cifar100" in x.name,
            "-4-" in x.name,
            (PUBLISHED, SWITCHED, CONTROLLED).index(x.kind),
            "-pgd" in x.name,
        ),
    )
}
"""All, in the order in which they are run: Figure 2 and Table 2 on CIFAR-10 first, then
attribution, the controlled comparison, Figure 1, CIFAR-100."""
