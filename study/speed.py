"""How long the study takes on this machine: measured speeds, and the hours left.

measure(trainings, REDUCED, folder, more)          # a few steps of each run
hours_left(planned, measured, speeds(folder).get(training.name))
"""

import dataclasses
import tempfile
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from study.plan import PlannedRun
from study.runs import Size, Training
from symjax import io
from symjax.attacks import ThreatModel
from symjax.evaluation import provenance
from symjax.evaluation.attack import Attack
from symjax.evaluation.measurement import one_batch
from symjax.evaluation.run import Run
from symjax.training import train

FILE = "speeds.jsonl"
BATCHES = 16  # of one epoch; the second epoch is measured
IMAGES, STEPS = 250, 4  # of the PGD that is timed


@dataclasses.dataclass(frozen=True)
class Speed:
    """Of one run, for one seed.

    Attributes:
      training: images per second of training.
      gradients: gradients of the loss by an image, per second, as PGD computes them.
    """

    training: float
    gradients: float


def speeds(folder: Path) -> dict[str, Speed]:
    """The newest measured speed of each run, by name; empty if none was measured.

    Args:
      folder: of the size's rows.
    """
    rows = io.read_rows(folder / FILE)
    return {row["run"]: Speed(row["training"], row["gradients"]) for row in rows}


def measure(
    trainings: Sequence[Training],
    size: Size,
    folder: Path,
    more: Mapping[str, Any],
    console: Console | None = None,
) -> None:
    """Trains each run for two short epochs, attacks its net, and writes its speeds.

    Args:
      trainings: the runs.
      size: of the study.
      folder: of the size's rows; a line per run is appended to `speeds.jsonl`. Runs
        that have a line are left out.
      more: changes of every configuration, such as the folder of the data.
      console: where progress goes.
    """
    console = console or Console()
    known = speeds(folder)
    for training in trainings:
        if training.name in known:
            continue
        jax.clear_caches()
        console.rule(training.name)
        with tempfile.TemporaryDirectory() as runs:
            speed = _measure(training, size, Path(runs) / training.name, more)
        row = {"run": training.name, **dataclasses.asdict(speed), **provenance.now()}
        io.append_row(folder / FILE, row)
        console.print(
            f"{speed.training:,.0f} images/s of training, {speed.gradients:,.0f} "
            "gradients/s of PGD",
            highlight=False,
        )


def _measure(training: Training, size: Size, folder: Path, more) -> Speed:
    changes = size.override_of(training) | dict(more)
    config = training.config(changes)
    changes |= {
        "seeds": 1,
        "epochs": 2,
        "evaluation.every_epochs": 2,
        "dataset.train_images": BATCHES * config.batch_size,
    }
    train(training.config(changes), folder, console=Console(quiet=True))
    last = io.read_rows(folder / "metrics.jsonl")[-1]
    run = Run.open(folder)
    test = run.experiment.dataset.test
    images, labels = test.images[:IMAGES], test.labels[:IMAGES]
    attack, threat = Attack("pgd", steps=STEPS), ThreatModel("linf", np.float32(0.01))
    call = run, attack, threat, images, labels, len(images)
    one_batch(*call, 0)  # compiles
    start = time.perf_counter()
    one_batch(*call, 1)
    seconds = time.perf_counter() - start
    return Speed(last["images_per_second"], IMAGES * STEPS / seconds)


def hours_left(
    planned: PlannedRun, measured: Container[str], speed: Speed | None
) -> tuple[float, float] | None:
    """Hours of training and of measuring that a run still takes; None: not known.

    Args:
      planned: the run.
      measured: the cells that have a row.
      speed: of the run.
    """
    if speed is None:
        return None
    trained = gradients = 0.0
    images = planned.config.dataset.train_images or 50_000
    for seed in planned.seeds:
        left = planned.missing(seed, measured)
        trained += bool(left) * images * planned.config.epochs
        gradients += sum(each.gradients(planned.size) for each in left)
    return trained / speed.training / 3600, gradients / speed.gradients / 3600
