"""Rows of a run with what every image came to, one array a figure.

for figure in read(Path("runs/baseline"), metric="clever"):
    figure.name, figure.values                             # [S, n]
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from symjax.evaluation import results
from symjax.evaluation.rows import METRIC, Row
from symjax.evaluation.titles import metric_name
from symjax.io import read_arrays


@dataclasses.dataclass(frozen=True)
class MetricRows:
    """One figure of one run.

    Attributes:
      rows: one a seed, in their order.
      cells: by name `[S, n, ...]`; the first is the figure itself.
    """

    rows: list[Row]
    cells: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """The metric, and those of its settings that tell it from others."""
        return metric_name(self.rows[0])

    @property
    def settings(self) -> str:
        """What was measured, of whichever net; equal for figures to compare."""
        row = self.rows[0]
        images = {name: row[name] for name in ("dataset", "data", "split", "n")}
        return json.dumps({**row.measurement, **images}, sort_keys=True)

    @property
    def is_by_image(self) -> bool:
        """Whether the figure is a mean over its images, so that `values` are it."""
        if not self.cells:
            return False
        means = [of_seed[np.isfinite(of_seed)].mean() for of_seed in self.values]
        return np.allclose(means, [row["value"] for row in self.rows], rtol=1e-4)

    @property
    def values(self) -> np.ndarray:
        """`[S, n]`, the figure, image by image."""
        first = next(iter(self.cells.values())).astype(np.float64)
        return first.reshape(*first.shape[:2], -1).mean(axis=-1)


def read(folder: Path, flag: str = "...", **wanted: Any) -> list[MetricRows]:
    """The figures of a run, in the order in which they were measured.

    Args:
      folder: the run folder.
      flag: of the command that measures them, for the error.
      **wanted: of a row: `metric="clever"`, `epoch=8`.

    Raises:
      ValueError: if there are none, or a row's cell is gone or damaged.
    """
    of_figure: dict[str, list[Row]] = {}
    for row in results.read([folder / "results.jsonl"]):
        is_wanted = all(row.get(key) == wanted[key] for key in wanted)
        if row["kind"] == METRIC and is_wanted and not row["diverged"]:
            of_figure.setdefault(_key(row), []).append(row)
    if not of_figure:
        raise ValueError(
            f"{folder} has no rows of {wanted.get('metric', 'a metric')!r}: measure "
            f"them with `python evaluate.py --run {folder} --metric {flag}`."
        )
    return [_figure(folder, rows) for rows in of_figure.values()]


def _key(row: Row) -> str:
    return json.dumps(row.identity_without(("seed",)), sort_keys=True)


def _figure(folder: Path, rows: list[Row]) -> MetricRows:
    rows = sorted(rows, key=lambda row: row["seed"])
    cells = []
    for row in rows:
        path = folder / "cells" / f"{row['cell_id']}.npz"
        again = (
            "remove the row with `python -m symjax.evaluation.cells "
            f"{folder} --remove {row['cell_id']}` and measure it again"
        )
        if not path.exists():
            raise ValueError(
                f"{path} is not there, but its row is: keep a run's cells with its "
                f"rows, or {again}."
            )
        cells.append(read_arrays(path, again))
    names = cells[0]
    return MetricRows(
        rows, {name: np.stack([cell[name] for cell in cells]) for name in names}
    )
