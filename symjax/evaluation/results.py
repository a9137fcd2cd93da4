"""The rows of a run: `results.jsonl`, and the outcomes of single images beside it.

    store = Results(run_folder)
    store.add(identity, 0.41, {"robust": robust}, facts, provenance)

Rows are only appended. A cell that is measured again gets a second row with the same
cell id, which supersedes the first one: readers return the newest row of a cell.
`python -m symjax.evaluation.cells RUN` lists and removes rows.
"""

import shutil
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symjax import io
from symjax.evaluation.rows import Row, cell_id
from symjax.folders import expand

if TYPE_CHECKING:
    from symjax.evaluation.run import Run

REPAIR = "correct the line, or remove it and measure its cell again"


def read(paths: Iterable[Path]) -> list[Row]:
    """The rows of `results.jsonl` files in their order, with one row per cell and file.

    A row that supersedes an older row takes the place of the older one.

    Raises:
      ValueError: if a line is not a row, see `Row.of_nested`. The error names the file
        and the line. A last line that was cut off is left out without an error.
    """
    rows = []
    for path in map(expand, paths):
        rows += {row["cell_id"]: row for row in _lines(path)}.values()
    return rows


def read_existing(paths: Iterable[Path]) -> list[Row]:
    """As `read`, for files or run folders that exist and have rows.

    Raises:
      ValueError: as `read`, or if a file does not exist or has no rows.
    """
    rows = []
    for path in paths:
        if path.suffix == ".jsonl" and not path.exists():
            raise ValueError(f"{path} does not exist: expected a file of rows.")
        path = path if path.is_file() else path / "results.jsonl"
        of_file = read([path])
        if not of_file:
            raise ValueError(
                f"{path} has no rows: measure some with `python evaluate.py --run "
                f"{path.parent} --attack pgd`."
            )
        rows += of_file
    return rows


class Results:
    """The rows of a run: `results.jsonl`, and `cells/<cell_id>.npz` with the outcomes.

    If the folder cannot be read or written, for example because the disk is full, the
    rows stay in `rows`, a warning is issued once, and `failure` holds the error.

    Args:
      folder: the run folder.
      write: whether this process writes to the folder.
      keep: names of the outcomes that are saved beside the rows; None: all. Names that
        a cell does not have are ignored. `("robust",)` is enough to compare nets image
        by image.
      anew: measure every cell again. The new row of a cell that has one already gets
        the entry `supersedes`, the time at which the older row was measured.

    Attributes:
      rows: rows by cell id; with `anew`, only those that were added since.
      failure: the first error of the file system; None if all rows are in the file.
    """

    def __init__(
        self,
        folder: Path,
        write: bool = True,
        keep: Collection[str] | None = None,
        anew: bool = False,
    ):
        folder = expand(folder)
        self._write = write
        self._keep = keep
        self.failure: OSError | None = None
        self.path = folder / "results.jsonl"
        self._cells = folder / "cells"
        self._older: dict[str, Row] = {}
        try:
            self._older = {row["cell_id"]: row for row in read([self.path])}
        except OSError as error:
            self._fail(error)
        self.rows: dict[str, Row] = {} if anew else dict(self._older)

    def holds(self, identities: Iterable[Mapping[str, Any]]) -> bool:
        """Whether every one of these cells has a row."""
        return all(cell_id(each) in self.rows for each in identities)

    def add(
        self,
        identity: Mapping[str, Any],
        value: float | None,
        outcomes: Mapping[str, np.ndarray],
        facts: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Row:
        """Writes a row, see `Row`, and the outcomes of its images.

        Args:
          identity: what is measured; its hash is the cell id.
          value, facts, provenance: as in `Row`.
          outcomes: arrays `[n]` by name, with one entry per image; those that `keep`
            names are saved beside the row.

        Raises:
          ValueError: if the cell has a row already and `anew` is False.
        """
        cell = cell_id(identity)
        if cell in self.rows:
            raise ValueError(f"cell {cell} is in {self.path} already.")
        older = self._older.get(cell)
        again = {} if older is None else {"supersedes": older.get("utc", "unknown")}
        row = Row(identity, value, facts, {**provenance, **again})
        if self._write:
            try:
                self._save(cell, row, outcomes)
            except OSError as error:
                self._fail(error)
        self.rows[cell] = row
        return row

    def drop_stale(self, run: "Run") -> None:
        """Forgets the rows of other weights or data than a run's, with one warning.

        Their cells are then measured again, and the new rows supersede them. Rows of
        another epoch, and rows from before weights were written down, stay.
        """
        data = run.experiment.dataset.sha256
        weights = dict(zip(run.seeds, run.weights, strict=True))

        def is_stale(row: Row) -> bool:
            if (row["run"], row["epoch"]) != (run.folder.name, run.epoch):
                return False
            now = weights.get(row["seed"])
            other = row["data"] != data or row.get("weights", now) != now
            return now is not None and other

        stale = [cell for cell, row in self.rows.items() if is_stale(row)]
        for cell in stale:
            del self.rows[cell]
        if stale:
            warnings.warn(
                f"{self.path}: {len(stale)} rows are of other weights or data than "
                f"those of {run.folder} at epoch {run.epoch}: they are not used, and "
                "what is asked for is measured again.",
                stacklevel=3,
            )

    def unfinished(self, identities: Sequence[Mapping[str, Any]]) -> Path | None:
        """The folder in which a long measurement of these cells saves its batches.

        It is None for a process that does not write.
        """
        if not self._write:
            return None
        return self.path.parent / "unfinished" / cell_id({"cells": list(identities)})

    def finish(self, identities: Sequence[Mapping[str, Any]]) -> None:
        """Removes the folder of `unfinished`, if the rows are in the file."""
        folder = self.unfinished(identities)
        if folder is not None and self.failure is None:
            shutil.rmtree(folder, ignore_errors=True)

    def _fail(self, error: OSError) -> None:
        if self.failure is None:
            self.failure = error
            warnings.warn(
                f"{self.path.parent} cannot be read or written ({error}): rows are "
                "returned and not saved from now on.",
                stacklevel=3,
            )

    def _save(self, cell: str, row: Row, outcomes: Mapping[str, np.ndarray]) -> None:
        names = outcomes.keys() if self._keep is None else {*self._keep} & {*outcomes}
        if names or self._keep is None:
            kept = {name: outcomes[name] for name in outcomes if name in names}
            io.write_arrays(self._cells / f"{cell}.npz", kept)
        io.append_row(self.path, row.nested())


def remove(folder: Path, cells: Collection[str]) -> None:
    """Removes cells: all their rows, superseded ones included, and their outcomes.

    Raises:
      ValueError: for a cell id that no row has; nothing is removed then.
    """
    path = folder / "results.jsonl"
    with io.locked(folder):
        rows = _lines(path)
        if unknown := sorted(set(cells) - {row["cell_id"] for row in rows}):
            raise ValueError(
                f"{unknown} are no cells of {folder}: nothing was removed. `python -m "
                f"symjax.evaluation.cells {folder}` lists the cells."
            )
        kept = (row.nested() for row in rows if row["cell_id"] not in cells)
        io.write_rows(path, kept)
    for cell in cells:
        (folder / "cells" / f"{cell}.npz").unlink(missing_ok=True)


def _lines(path: Path) -> list[Row]:
    """Every row of a file, superseded ones included."""
    return io.read_rows(path, Row.of_nested, REPAIR)
