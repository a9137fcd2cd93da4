"""What of the study is there, and what is missing: `python -m symjax.study list`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from symjax.evaluation.results import cell_id
from symjax.study import published
from symjax.study.measurements import Subject, of_training
from symjax.study.size import SMALL, Size
from symjax.study.trainings import Training
from symjax.study.work import Folders


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
    subject = Subject.of(training, size)
    rows = needed = whole = 0
    for seed in range(size.seeds):
        cells = [
            cell_id(cell)
            for measurement in of_training(training)
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
    kind = {"switched": "attribution", "controlled": "controlled comparison"}
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
    for column in ("run", "serves", "seeds", "rows", "small"):
        right = column in ("seeds", "rows")
        table.add_column(column, justify="right" if right else "left")
    left = 0
    for training in trainings:
        now = progress(training, size, results)
        tried = progress(training, SMALL, results)
        left += not now.complete
        table.add_row(
            training.name,
            serves(training),
            f"{now.seeds}/{size.seeds}",
            f"{now.rows:,}/{now.needed:,}",
            "run" if tried.complete else f"{tried.rows}/{tried.needed}",
        )
    console.print(table)
    console.print(
        f"{left} of {len(trainings)} runs have cells without a row; "
        f"`python -m symjax.study run --size {size.name}` does the next.",
        highlight=False,
    )
    if commands:
        for training in trainings:
            _commands(training, size, console)


def _commands(training: Training, size: Size, console: Console) -> None:
    folder = f"runs/{training.name}"
    lines = [f"{training.command(size.changes(training))} --workdir {folder}"]
    lines += [
        measurement.command(folder, size) for measurement in of_training(training)
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
