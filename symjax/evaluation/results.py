"""Results rows: one JSON object a line, one for each seed and measured cell.

    store = Results(run_folder)
    store.add(identity, value=0.41, outcomes={"robust": robust}, provenance=...)

A row's identity says what was measured, and its hash, `cell_id`, never appears twice in
a file. Values are fractions. Tables are made from rows alone.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symjax.folders import expand

Row = dict[str, Any]


class DuplicateCellError(ValueError):
    """A cell that has been measured already was to be written again."""


def cell_id(identity: Mapping[str, Any]) -> str:
    """Hash of what a row measures, 16 hexadecimal digits."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read(paths: Iterable[Path]) -> list[Row]:
    """All rows of some `results.jsonl` files, in order.

    Raises:
      ValueError: if a line is not JSON, but for a last one that was cut off.
    """
    rows = []
    for path in map(expand, paths):
        *lines, _cut_off = path.read_text().split("\n") if path.exists() else [""]
        for number, line in enumerate(lines, 1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}, line {number} is not JSON ({error}): mend or remove it."
                ) from None
    return rows


class Results:
    """The rows of a run: `results.jsonl`, and `cells/<cell_id>.npz` with the outcomes.

    Args:
      folder: the run folder.
      write: False for a process that is to leave the folder alone.
      keep: names of the outcomes that are saved beside the rows; None: all. A cell need
        not have them all. `("robust",)` is enough to compare nets image by image.

    Attributes:
      rows: by cell id.
    """

    def __init__(
        self, folder: Path, write: bool = True, keep: Collection[str] | None = None
    ):
        folder = expand(folder)
        self._write = write
        self._keep = keep
        self.path = folder / "results.jsonl"
        self._cells = folder / "cells"
        self.rows = {row["cell_id"]: row for row in read([self.path])}

    def add(
        self,
        identity: Mapping[str, Any],
        value: float | None,
        outcomes: Mapping[str, np.ndarray],
        provenance: Mapping[str, Any],
    ) -> Row:
        """Writes one row and what each image came to.

        Args:
          identity: what was measured; its hash is the cell id.
          value: the figure, a fraction; None where there is none.
          outcomes: one array `[n]` each, saved beside the rows unless `keep` leaves
            them out.
          provenance: how it was measured.

        Raises:
          DuplicateCellError: if the cell is there already.
        """
        cell = cell_id(identity)
        if cell in self.rows:
            raise DuplicateCellError(f"cell {cell} is in {self.path} already.")
        row = {**identity, "cell_id": cell, "value": value, **provenance}
        if self._write:
            self._save(cell, row, outcomes)
        self.rows[cell] = row
        return row

    def unfinished(self, identities: Sequence[Mapping[str, Any]]) -> Path | None:
        """Where a long measurement of these cells may keep what it has done so far."""
        if not self._write:
            return None
        return self.path.parent / "unfinished" / cell_id({"cells": list(identities)})

    def finish(self, identities: Sequence[Mapping[str, Any]]) -> None:
        """Removes what was kept of a measurement whose rows are written."""
        folder = self.unfinished(identities)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _save(self, cell: str, row: Row, outcomes: Mapping[str, np.ndarray]) -> None:
        kept = {
            name: array
            for name, array in outcomes.items()
            if self._keep is None or name in self._keep
        }
        if kept or self._keep is None:
            self._cells.mkdir(parents=True, exist_ok=True)
            partial = self._cells / f"{cell}.partial.npz"
            np.savez_compressed(partial, **kept)  # pyright: ignore[reportArgumentType]
            os.replace(partial, self._cells / f"{cell}.npz")
        self._append(json.dumps(row) + "\n")

    def _append(self, line: str) -> None:
        """Appends a line, in place of one that was cut off."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())
