"""The study's rows, asked by run and measurement; no net is run.

    evidence = Evidence(Path("results/study"))
    line = evidence.line("cifar10-10-baseline-published", "published", "pgd")
    line.eps, line.values                       # [E], [S, E] in percent, NaN if missing

All of it is of the full size. Rows of the smoke size show that a piece runs, and no
table, figure or verdict is made from them.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from symjax.evaluation import results
from symjax.evaluation.rows import Row, cell_id
from symjax.io import read_arrays
from symjax.statistics import Estimate, paired_difference
from symjax.study import published
from symjax.study.measurements import (
    FIGURE_5,
    Accuracy,
    Audit,
    Corrupted,
    Measurement,
    PlannedRun,
    Tolerance,
    of_training,
    taken_apart,
)
from symjax.study.size import FULL, Size
from symjax.study.trainings import TRAININGS, Training

RESAMPLES = 2_000


@dataclasses.dataclass(frozen=True)
class Line:
    """Accuracy of one run under one attack and protocol.

    Attributes:
      training: the run.
      measurement: what was measured.
      eps: `[E]`, in the protocol's unit.
      values: `[S, E]`, percent, of the seeds that did not diverge; NaN where there is
        no row.
      seeds: of the study.
    """

    training: Training
    measurement: Accuracy
    eps: tuple[float, ...]
    values: np.ndarray
    seeds: int

    @property
    def complete(self) -> bool:
        """Whether every seed that did not diverge has every epsilon."""
        return bool(len(self.values) and np.isfinite(self.values).all())

    @property
    def mean(self) -> np.ndarray:
        """Over the seeds that are there, `[E]`; NaN where there is none."""
        return _over_seeds(np.nanmean, self.values, 1)

    @property
    def sd(self) -> np.ndarray:
        """Sample standard deviation over the seeds, `[E]`; NaN of fewer than two."""
        return _over_seeds(
            functools.partial(np.nanstd, ddof=1),  # pyright: ignore[reportArgumentType]
            self.values,
            2,
        )

    def at(self, eps: float) -> int:
        """The place of an epsilon.

        Raises:
          ValueError: if it is not there.
        """
        places = np.flatnonzero(np.isclose(self.eps, eps))
        if not len(places):
            raise ValueError(f"eps={eps}: expected one of {self.eps}.")
        return int(places[0])

    def text(self, eps: float) -> str | None:
        """Mean ± standard deviation, and how many seeds if not all; None: no row."""
        place = self.at(eps)
        there = int(np.isfinite(self.values[:, place]).sum())
        if not there:
            return None
        text = f"{self.mean[place]:.2f}"
        if there > 1:
            text += f" ± {self.sd[place]:.2f}"
        return text if there == self.seeds else f"{text} ({there} seeds)"


class Evidence:
    """Rows of a study.

    Args:
      folder: that of all sizes.
      size: of the study; the full one, but in tests.
    """

    def __init__(self, folder: Path, size: Size = FULL):
        self.folder, self.size = Path(folder) / size.name, size

    @functools.cache  # noqa: B019 - an object lives as long as the command
    def rows(self, name: str) -> dict[str, Row]:
        """A run's rows, by cell id."""
        found = results.read([self.folder / name / "results.jsonl"])
        return {row["cell_id"]: row for row in found}

    @functools.cache  # noqa: B019
    def subject(self, name: str) -> PlannedRun:
        """A run, as its rows name it."""
        return PlannedRun.of(TRAININGS[name], self.size)

    @functools.cache  # noqa: B019
    def cells(self, name: str, measurement: Measurement, seed: int) -> list[str]:
        """Cell ids of a measurement's rows."""
        subject = self.subject(name)
        return [cell_id(cell) for cell in measurement.identities(subject, seed)]

    def measurement(
        self, name: str, protocol: str, attack: str, switches: Sequence[str] = ()
    ) -> Accuracy | None:
        """That of a run on clean test images, or None if the study has none."""
        for each in of_training(TRAININGS[name], self.size):
            wanted = protocol, attack, tuple(switches)
            if type(each) is Accuracy:
                if (each.protocol, each.attack, each.switches) == wanted:
                    return each
        return None

    def line(
        self, name: str, protocol: str, attack: str, switches: Sequence[str] = ()
    ) -> Line | None:
        """Accuracy of a run on clean test images, or None if the study has none."""
        found = self.measurement(name, protocol, attack, switches)
        if found is None:
            return None
        eps = self.size.some(found.eps)
        values = self._values(name, found)
        seeds = self.size.seeds_of(TRAININGS[name])
        return Line(TRAININGS[name], found, eps, values, seeds)

    def complete(self, name: str, protocol: str, attack: str) -> bool:
        """Whether a run's clean test images are measured under that attack."""
        line = self.line(name, protocol, attack)
        return line is not None and line.complete

    def corrupted(self, name: str, protocol: str, attack: str) -> np.ndarray | None:
        """Accuracy on corruptions, `[S, C, V, E]` in percent, of seeds that did not
        diverge, NaN where missing; None if the study has no such measurement."""
        for each in of_training(TRAININGS[name], self.size):
            if isinstance(each, Corrupted):
                if (each.protocol, each.attack) == (protocol, attack):
                    counts = self.size.corruptions, self.size.severities
                    shape = *map(len, counts), len(self.size.some(each.eps))
                    values = self._values(name, each)
                    return values.reshape(len(values), *shape)
        return None

    def tolerance(self, name: str, place: int) -> list[float]:
        """What a run tolerates, a number a seed that is measured.

        Args:
          name: of a run that Figure 5 shows.
          place: of the measurement in `measurements.FIGURE_5`.
        """
        rows, found = self.rows(name), []
        for seed in range(self.size.seeds_of(TRAININGS[name])):
            for cell in self.cells(name, Tolerance(FIGURE_5[place]), seed):
                if cell in rows and not rows[cell]["diverged"]:
                    found.append(rows[cell]["value"])
        return found

    def audit(self, name: str, protocol: str) -> list[Row]:
        """Rows of the checks, in order; empty if they were not run."""
        cells = self.cells(name, Audit(protocol), 0)
        rows = [self.rows(name).get(cell) for cell in cells]
        return [row for row in rows if row is not None]

    def outcomes(
        self, name: str, measurement: Accuracy, place: int
    ) -> np.ndarray | None:
        """Which images stand at one epsilon, `[S, n]`, of seeds that did not diverge;
        None if a seed has no row."""
        return self._kept(name, measurement, place, "robust")

    def _kept(self, name, measurement, place: int, key: str) -> np.ndarray | None:
        found = []
        for seed in range(self.size.seeds_of(TRAININGS[name])):
            cells = self.cells(name, measurement, seed)
            if not cells:  # that seed is not measured
                continue
            cell = cells[place]
            row = self.rows(name).get(cell)
            path = self.folder / name / "cells" / f"{cell}.npz"
            if row is not None and row["diverged"]:
                continue
            if row is None or not path.exists():
                return None
            kept = read_arrays(path, "remove it, and measure its row again")
            found.append(kept[key].astype(float))
        if not found:
            return None
        whole = np.stack(found)
        return whole.reshape(*whole.shape[:2], -1).mean(axis=-1)

    def _same_data(self, *names: str) -> None:
        hashes = {
            name: {row["data"] for row in self.rows(name).values()} for name in names
        }
        if len(set().union(*hashes.values())) > 1:
            raise ValueError(
                f"the rows are of several data sets: {hashes}; measure all runs on one."
            )

    @functools.cache  # noqa: B019
    def difference(
        self, ours: str, theirs: str, protocol: str, attack: str, eps: float
    ) -> Estimate | None:
        """Accuracy of one run less another's, in points, on the same images.

        Args:
          ours, theirs: names of runs.
          protocol, attack: of both.
          eps: in the protocol's unit.

        Returns:
          With its 95 % interval, images and seeds redrawn, of seeds that did not
          diverge; None if rows are missing.

        Raises:
          ValueError: if the runs were measured on other data.
        """
        both = []
        self._same_data(ours, theirs)
        for name in (ours, theirs):
            line = self.line(name, protocol, attack)
            if line is None or not np.isclose(line.eps, eps).any():
                return None
            both.append(self.outcomes(name, line.measurement, line.at(eps)))
        if any(found is None for found in both):
            return None
        return paired_difference(*(100 * found for found in both), resamples=RESAMPLES)

    def diverged(self, name: str) -> int:
        """How many seeds of a run diverged."""
        return len({row["seed"] for row in self.rows(name).values() if row["diverged"]})

    def tolerated(self, name: str, place: int) -> np.ndarray | None:
        """As `outcomes`, the largest level that each image tolerates, mean of draws."""
        return self._kept(name, Tolerance(FIGURE_5[place]), 0, "largest")

    def switches(self, name: str) -> list[Accuracy]:
        """What a published run was taken apart into."""
        return list(taken_apart(TRAININGS[name]))

    def published(self, name: str, attack: str, eps: float) -> float | None:
        """The paper's number, in percent, or None."""
        for cell in published.cells():
            mine = cell.training == name and cell.corruption is None
            if mine and cell.attack == attack and np.isclose(cell.eps, eps):
                if cell.percent is not None:
                    return cell.percent
        return None

    @functools.cache  # noqa: B019
    def _values(self, name: str, measurement: Measurement) -> np.ndarray:
        rows, values = self.rows(name), []
        for seed in range(self.size.seeds_of(TRAININGS[name])):
            found = [rows.get(cell) for cell in self.cells(name, measurement, seed)]
            if not found:  # that seed is not measured
                continue
            if any(row is not None and row["diverged"] for row in found):
                continue
            values.append([np.nan if row is None else row["value"] for row in found])
        count = len(self.cells(name, measurement, 0))
        return 100 * np.array(values, float).reshape(len(values), count)


def _over_seeds(function, values: np.ndarray, least: int) -> np.ndarray:
    enough = np.isfinite(values).sum(axis=0) >= least
    found = np.full(values.shape[1], np.nan)
    if enough.any():
        found[enough] = function(values[:, enough], axis=0)
    return found
