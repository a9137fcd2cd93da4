"""What of the study is measured, and what is missing: `python -m study list`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from study import speed
from study.results import StudyResults
from study.runs import Size, Training


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
    known = speed.speeds(results.folder)
    table = Table(title=f"the study, {size.name}: {size.seeds} seeds, n={size.n:,}")
    for column in ("run", "seeds", "rows", "train, h", "measure, h"):
        side = "left" if column == "run" else "right"
        table.add_column(column, justify=side, no_wrap=True)
    left, hours = 0, []
    for training in trainings:
        now, planned = progress(training, results), results.planned(training.name)
        left += not now.complete
        call = results.measured, known.get(training.name)
        hours.append(speed.hours_left(planned, *call))
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
        console.print(
            f"About {train:.1f} hours of training and {measure:.1f} of measuring "
            f"are left on the machine of {size.name}/speeds.jsonl, without "
            f"{hours.count(None)} runs whose speed is not measured.",
            highlight=False,
        )
    for training in trainings if commands else ():
        line = training.command(size.override_of(training))
        line += f" --workdir runs/{training.name}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
