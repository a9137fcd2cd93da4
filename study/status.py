"""What of the study is measured, and what is missing: `python -m study list`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from study import paper, speed
from study.results import StudyResults
from study.runs import CONTROLLED, PUBLISHED, SMOKE, SWITCHED, Size, Training


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


def purpose(training: Training) -> str:
    """The tables and figures that have cells of a run, or what else it is for."""
    cells = paper.cells()
    names = list(cells[cells["run"] == training.name]["artefact"].unique())
    if "figure 2" in names and training.dataset == "cifar10":
        names += ["figure 5"] * (training.net in paper.tolerances())
    if names:
        return ", ".join(names)
    kinds = {
        PUBLISHED: "four layers, in the reduced size only",
        SWITCHED: "attribution",
        CONTROLLED: "controlled comparison",
    }
    return ": ".join(filter(None, [kinds[training.kind], training.note]))


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
    results, smoke = StudyResults(folder, size), StudyResults(folder, SMOKE)
    known = speed.speeds(results.folder)
    table = Table(title=f"the study, {size.name}: {size.seeds} seeds, n={size.n:,}")
    last = ("train, h", "measure, h") if known else ("smoke", "purpose")
    for column in ("run", "seeds", "rows", *last):  # all do not fit 80 columns
        side = "left" if column in ("run", "purpose", "smoke") else "right"
        table.add_column(column, justify=side, no_wrap=column != "purpose")
    left, hours = 0, []
    for training in trainings:
        now, planned = progress(training, results), results.planned(training.name)
        left += not now.complete
        if known:
            call = results.measured, known.get(training.name)
            hours.append(speed.hours_left(planned, *call))
            cells = ["" if x is None else f"{x:.2f}" for x in hours[-1] or (None, None)]
        else:
            tried = progress(training, smoke)
            text = "run" if tried.complete else f"{tried.rows}/{tried.needed}"
            cells = [text, purpose(training)]
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
