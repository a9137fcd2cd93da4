"""What of the study is measured, what is missing, and how long it takes here.

show(trainings, REDUCED, folder)                   # `python -m study list`
measure(trainings, REDUCED, folder, more)          # `python -m study time`
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
from rich.table import Table

from study.plan import PlannedRun
from study.results import StudyResults
from study.runs import Size, Training
from symjax import io
from symjax.attacks import ThreatModel
from symjax.evaluation import provenance
from symjax.evaluation.attack import Attack
from symjax.evaluation.measurement import one_batch
from symjax.evaluation.run import Run
from symjax.terminal import counted
from symjax.training import train

FILE = "speeds.jsonl"
BATCHES = 16  # of one epoch; the second epoch is measured
IMAGES, STEPS = 250, 4  # of the PGD that is timed


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
      rows, needed: cells that have a row, and all cells.
      seeds: how many have all of theirs.
    """

    rows: int
    needed: int
    seeds: int

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.rows == self.needed


def progress(training: Training, results: StudyResults) -> Progress:
    """How far a run is: the cells of the plan against those of the frame."""
    planned = results.planned(training.name)
    missing, needed = [], 0
    for seed in planned.seeds:
        cells = {
            x for each in planned.measurements() for x in planned.cells(each, seed)
        }
        missing.append(len(cells - results.measured))
        needed += len(cells)
    return Progress(needed - sum(missing), needed, missing.count(0))


def show(
    trainings: Sequence[Training],
    size: Size,
    folder: Path,
    commands: bool = False,
    console: Console | None = None,
) -> None:
    """Prints a line for each run.

    Args:
      trainings: the runs.
      size: of the study.
      folder: of the rows of all sizes.
      commands: also print the command that trains each run.
      console: where to.
    """
    console = console or Console()
    results = StudyResults(folder, size)
    known = speeds(results.folder)
    title = f"the study, {size.name}: {size.seeds} seeds, n={size.n:,}"
    table = Table(title=title, padding=0)  # all columns fit into 80 characters
    for column in ("run", "seeds", "rows", "train, h", "measure, h"):
        side = "left" if column == "run" else "right"
        table.add_column(column, justify=side, no_wrap=True)
    left, hours = 0, []
    for training in trainings:
        now, planned = progress(training, results), results.planned(training.name)
        left += not now.complete
        call = results.measured, known.get(training.name)
        hours.append(hours_left(planned, *call))
        cells = ["" if x is None else f"{x:.2f}" for x in hours[-1] or (None, None)]
        seeds = f"{now.seeds}/{len(planned.seeds)}"
        table.add_row(training.name, seeds, f"{now.rows:,}/{now.needed:,}", *cells)
    console.print(table)
    console.print(
        f"{left} of {len(trainings)} runs have cells without a row; "
        f"`python -m study run --size {size.name}` does the next.",
        highlight=False,
    )
    if known:
        train, measure = np.sum([x for x in hours if x is not None] or [(0, 0)], axis=0)
        unknown = hours.count(None)
        console.print(
            f"About {train:.1f} hours of training and {measure:.1f} of measuring "
            f"are left on the machine of {size.name}/speeds.jsonl"
            + (
                f", without {counted(unknown, 'run')} of unknown speed." * bool(unknown)
                or "."
            ),
            highlight=False,
        )
    for training in trainings if commands else ():
        line = training.command(size.override_of(training))
        line += f" --workdir runs/{training.name}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)


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
