"""How long the study takes on this machine: measured speeds, and the hours left.

measure(trainings, REDUCED, folder, more)          # a few steps of each run
hours_left(training, REDUCED, store, speeds(folder).get(training.name))
"""

import dataclasses
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from symjax.attacks import ThreatModel
from symjax.evaluation import provenance
from symjax.evaluation.attack import Attack
from symjax.evaluation.measurement import one_batch
from symjax.evaluation.results import Results
from symjax.evaluation.run import Run
from symjax.study.measurements import PlannedRun
from symjax.study.size import Size
from symjax.study.trainings import Training
from symjax.study.work import missing
from symjax.training import train

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


def speeds(results: Path) -> dict[str, Speed]:
    """The newest measured speed of each run, by name; empty if none was measured.

    Args:
      results: the folder of the size's rows.
    """
    path = _path(results)
    rows = map(json.loads, path.read_text().splitlines()) if path.exists() else []
    return {row["run"]: Speed(row["training"], row["gradients"]) for row in rows}


def measure(
    trainings: Sequence[Training],
    size: Size,
    results: Path,
    more: Mapping[str, Any],
    console: Console | None = None,
) -> None:
    """Trains each run for two short epochs, attacks its net, and writes its speeds.

    Args:
      trainings: the runs.
      size: of the study.
      results: the folder of the size's rows; a line per run is appended to
        `speeds.jsonl`. Runs that have a line are left out.
      more: changes of every configuration, such as where the data are.
      console: where progress goes.
    """
    console = console or Console()
    known = speeds(results)
    for training in trainings:
        if training.name in known:
            continue
        jax.clear_caches()
        console.rule(training.name)
        with tempfile.TemporaryDirectory() as folder:
            found = _measure(training, size, Path(folder) / training.name, more)
        row = {"run": training.name, **dataclasses.asdict(found), **provenance.now()}
        results.mkdir(parents=True, exist_ok=True)
        with _path(results).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        console.print(
            f"{found.training:,.0f} images/s of training, {found.gradients:,.0f} "
            "gradients/s of PGD",
            highlight=False,
        )


def _measure(training: Training, size: Size, folder: Path, more) -> Speed:
    changes = size.changes(training) | dict(more)
    config = training.config(changes)
    changes |= {
        "seeds": 1,
        "epochs": 2,
        "evaluation.every_epochs": 2,
        "dataset.train_images": BATCHES * config.batch_size,
    }
    train(training.config(changes), folder, console=Console(quiet=True))
    last = (folder / "metrics.jsonl").read_text().splitlines()[-1]
    run = Run.open(folder)
    test = run.experiment.dataset.test
    images, labels = test.images[:IMAGES], test.labels[:IMAGES]
    attack, threat = Attack("pgd", steps=STEPS), ThreatModel("linf", np.float32(0.01))
    call = run, attack, threat, images, labels, len(images)
    one_batch(*call, 0)
    began = time.perf_counter()
    one_batch(*call, 1)
    seconds = time.perf_counter() - began
    return Speed(json.loads(last)["images_per_second"], IMAGES * STEPS / seconds)


def hours_left(
    training: Training, size: Size, store: Results, speed: Speed | None
) -> tuple[float, float] | None:
    """Hours of training and of measuring that a run still takes; None: not known.

    Args:
      training: the run.
      size: of the study.
      store: the run's rows.
      speed: of the run.
    """
    if speed is None:
        return None
    subject = PlannedRun.of(training, size)
    config, trained, gradients = subject.config, 0.0, 0.0
    images = config.dataset.train_images or 50_000
    for seed in range(size.seeds_of(training)):
        left = missing(subject, store, seed)
        trained += bool(left) * images * config.epochs
        gradients += sum(each.gradients(size) for each in left)
    return trained / speed.training / 3600, gradients / speed.gradients / 3600


def _path(results: Path) -> Path:
    return results / "speeds.jsonl"
