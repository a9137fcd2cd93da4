"""Rows of a run's metrics, with the values of every image.

for metric in read(Path("runs/baseline"), metric="clever"):
    metric.name, metric.values                             # [S, n]
"""

import dataclasses
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from symjax.evaluation import results
from symjax.evaluation.rows import METRIC, Row
from symjax.evaluation.titles import metric_name
from symjax.io import read_arrays


@dataclasses.dataclass(frozen=True)
class MetricRows:
    """One metric of one run, with one setting.

    Attributes:
      rows: one per seed, in their order.
      cells: arrays `[S, n, ...]` by name; the first is the metric itself.
    """

    rows: list[Row]
    cells: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """The metric, and those of its settings that tell it from others."""
        return metric_name(self.rows[0])

    @property
    def settings(self) -> str:
        """The settings and the images, equal for metrics of nets to be compared."""
        row = self.rows[0]
        images = {name: row[name] for name in ("dataset", "data", "split", "n")}
        return json.dumps({**row.measurement, **images}, sort_keys=True)

    @property
    def is_by_image(self) -> bool:
        """Whether a row's value is the mean of `values`; a gap or a cost has none."""
        if not self.cells:
            return False
        means = [of_seed[np.isfinite(of_seed)].mean() for of_seed in self.values]
        return np.allclose(means, [row["value"] for row in self.rows], rtol=1e-4)

    @property
    def values(self) -> np.ndarray:
        """`[S, n]`, the metric of each image."""
        first = next(iter(self.cells.values())).astype(np.float64)
        return first.reshape(*first.shape[:2], -1).mean(axis=-1)


def by_setting(
    rows: Iterable[Row], without: Collection[str] = ("seed",)
) -> list[list[Row]]:
    """Rows in groups that have one identity but for some of its entries.

    Args:
      rows: in any order, which the groups and the rows of a group keep.
      without: the entries that may differ in a group.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        key = json.dumps(row.identity_without(without), sort_keys=True)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def read(folder: Path, flag: str = "...", **wanted: Any) -> list[MetricRows]:
    """The metrics of a run, in the order in which they were measured.

    Args:
      folder: the run folder.
      flag: of the command that measures them, for the error.
      **wanted: entries of a row: `metric="clever"`, `epoch=8`.

    Raises:
      ValueError: if there are none, or a row's cell is gone or damaged.
    """
    rows = [
        row
        for row in results.read([folder / "results.jsonl"])
        if row["kind"] == METRIC
        and not row["diverged"]
        and all(row.get(key) == wanted[key] for key in wanted)
    ]
    if not rows:
        raise ValueError(
            f"{folder} has no rows of {wanted.get('metric', 'a metric')!r}: measure "
            f"them with `python evaluate.py --run {folder} --metric {flag}`."
        )
    return [_with_cells(folder, of_setting) for of_setting in by_setting(rows)]


def _with_cells(folder: Path, rows: list[Row]) -> MetricRows:
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
