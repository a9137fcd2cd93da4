"""What of the study is there, and what is missing: `python -m symjax.study list`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from symjax.evaluation.rows import cell_id
from symjax.study import published, speed
from symjax.study.measurements import PlannedRun, of_training
from symjax.study.size import SMOKE, Size
from symjax.study.trainings import Training
from symjax.study.work import Folders

HOURS = ("train, h", "measure, h")


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
      training: the run.
      rows, needed: cells that have a row, and that there are.
      seeds: that have all of theirs.
    """

    training: Training
    rows: int
    needed: int
    seeds: int

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.rows == self.needed


def progress(training: Training, size: Size, results: Path) -> Progress:
    """How far a run is, from its rows.

    Args:
      training: the run.
      size: of the study.
      results: the folder of all sizes.
    """
    store = Folders(results / size.name, Path()).store(training, write=False)
    subject = PlannedRun.of(training, size)
    rows = needed = whole = 0
    for seed in range(size.seeds_of(training)):
        cells = [
            cell_id(cell)
            for measurement in of_training(training, size)
            for cell in measurement.identities(subject, seed)
        ]
        found = sum(cell in store.rows for cell in cells)
        rows, needed = rows + found, needed + len(cells)
        whole += found == len(cells)
    return Progress(training, rows, needed, whole)


def serves(training: Training) -> str:
    """The tables and figures that a run has cells of, or what else it is for."""
    names = dict.fromkeys(
        cell.artefact for cell in published.cells() if cell.training == training.name
    )
    if training.name in published.tolerances():
        names["figure 5"] = None
    if names:
        return ", ".join(names)
    kind = {
        "published": "four layers, in the reduced size alone",
        "switched": "attribution",
        "controlled": "controlled comparison",
    }
    return kind[training.kind] + (f": {training.note}" if training.note else "")


def show(
    trainings: Sequence[Training],
    size: Size,
    results: Path,
    commands: bool = False,
    console: Console | None = None,
) -> None:
    """Prints a line a run.

    Args:
      trainings: the runs.
      size: of the study.
      results: the folder of all sizes.
      commands: also print how each is trained and measured.
      console: where to.
    """
    console = console or Console()
    table = Table(title=f"the study, {size.name}: {size.seeds} seeds, n={size.n:,}")
    known = speed.speeds(results / size.name)
    last = HOURS if known else ("smoke", "serves")  # both do not fit 80 columns
    for column in ("run", "seeds", "rows", *last):
        side = "left" if column in ("run", "serves", "smoke") else "right"
        table.add_column(column, justify=side, no_wrap=column != "serves")
    left, hours, unknown = 0, np.zeros(2), 0
    store = Folders(results / size.name, Path()).store
    for training in trainings:
        now = progress(training, size, results)
        left += not now.complete
        call = training, size, store(training, write=False), known.get(training.name)
        of_run = speed.hours_left(*call) if known else None
        unknown += of_run is None
        hours += of_run or (0.0, 0.0)
        table.add_row(
            training.name,
            f"{now.seeds}/{size.seeds_of(training)}",
            f"{now.rows:,}/{now.needed:,}",
            *(
                _hours(of_run)
                if known
                else [_tried(training, results), serves(training)]
            ),
        )
    console.print(table)
    console.print(
        f"{left} of {len(trainings)} runs have cells without a row; "
        f"`python -m symjax.study run --size {size.name}` does the next.",
        highlight=False,
    )
    if known:
        console.print(
            f"About {hours[0]:.1f} hours of training and {hours[1]:.1f} of measuring "
            f"are left on the machine of {size.name}/speeds.jsonl, without {unknown} "
            "runs whose speed is not measured.",
            highlight=False,
        )
    if commands:
        for training in trainings:
            _commands(training, size, console)


def _hours(of_run: tuple[float, float] | None) -> list[str]:
    return ["", ""] if of_run is None else [f"{hours:.2f}" for hours in of_run]


def _tried(training: Training, results: Path) -> str:
    """Whether the run has been done in the smoke size."""
    tried = progress(training, SMOKE, results)
    return "run" if tried.complete else f"{tried.rows}/{tried.needed}"


def _commands(training: Training, size: Size, console: Console) -> None:
    folder = f"runs/{training.name}"
    lines = [f"{training.command(size.changes(training))} --workdir {folder}"]
    lines += [
        measurement.command(folder, size) for measurement in of_training(training, size)
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
