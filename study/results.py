"""The study's rows as one table, filtered by what was measured; no net is run.

    results = StudyResults(Path("results/study"), REDUCED)
    results.frame                               # one line per row, a column per entry
    curve = results.curve("cifar10-4-baseline-published", "published", "pgd")
    curve.eps, curve.values                     # [E], [S, E] in percent, NaN if missing
    of_sizes(Path("results/study"))             # all sizes that are shown

Rows of the smoke size show that a measurement runs, and no table, figure or verdict is
made from them.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from study.paper import Frame
from study.plan import Accuracy, Audit, Measurement, PlannedRun, Tolerance
from study.runs import FULL, REDUCED, TRAININGS, Size, run_name
from symjax.evaluation import results, rows
from symjax.formatting import format_eps, mean_and_sd_text
from symjax.io import read_arrays
from symjax.statistics import Estimate, paired_difference
from symjax.terminal import counted

PROTOCOLS = ("published", "sound")
COLUMNS = ("run", "seed", "cell_id", "value", "diverged", "data", "utc")
COLUMNS += ("eps_given", "corruption", "severity")
"""Columns of the frame that are there even if there are no rows."""
VARYING = ("seed", "check", "eps", "eps_given", "eps_series")
VARYING += ("corruption", "severity", "source", "corruption_seed")
"""Entries of an identity in which the rows of one measurement differ."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Accuracy of one run under one attack and protocol.

    Attributes:
      measurement: what was measured; None of `Gpu12`.
      eps: `[E]`, in the protocol's unit.
      seeds: `[S]`, those that did not diverge.
      values: `[S, E]`, percent; NaN where there is no row.
      planned: how many seeds of the run the study has.
    """

    measurement: Accuracy | None
    eps: Sequence[float]
    seeds: Sequence[int]
    values: np.ndarray
    planned: int

    @property
    def tidy(self) -> Frame:
        """One line per measured seed and epsilon: "seed", "eps", "accuracy"."""
        table = pd.DataFrame(self.values, list(self.seeds), list(self.eps))
        table = table.rename_axis(index="seed", columns="eps")
        table = table.stack().dropna().to_frame("accuracy")
        return table.reset_index()

    @property
    def complete(self) -> bool:
        """Whether every seed that did not diverge has every epsilon."""
        return bool(len(self.values) and np.isfinite(self.values).all())

    @property
    def sd(self) -> np.ndarray:
        """Sample standard deviation over the seeds, `[E]`; NaN of fewer than two."""
        return pd.DataFrame(self.values).std().to_numpy()

    def at(self, eps: float) -> np.ndarray | None:
        """The accuracies of the seeds at one epsilon, NaN where there is no row; None
        if that epsilon is not measured."""
        places = np.flatnonzero(np.isclose(self.eps, eps))
        return self.values[:, places[0]] if len(places) else None

    def measured(self, eps: float) -> np.ndarray:
        """The accuracies of the seeds that have a row at one epsilon."""
        values = self.at(eps)
        return np.array([]) if values is None else values[np.isfinite(values)]

    def mean(self, eps: float) -> float | None:
        """Mean of the seeds that did not diverge; None if one of them is missing."""
        values = self.at(eps)
        if values is None or not len(values) or not np.isfinite(values).all():
            return None
        return float(values.mean())

    def text(self, eps: float) -> str | None:
        """Mean ± standard deviation of the seeds that have a row, and how many if it is
        not all; None if there is no row."""
        values = self.measured(eps)
        if not len(values):
            return None
        text, count = mean_and_sd_text(values), len(values)
        return text if count == self.planned else f"{text} ({counted(count, 'seed')})"


class StudyResults:
    """Rows of the study.

    Args:
      folder: that of all sizes.
      size: of the study.
    """

    protocols: Sequence[str] = PROTOCOLS

    def __init__(self, folder: Path, size: Size = FULL):
        self.folder, self.size = Path(folder) / size.name, size

    @functools.cached_property
    def frame(self) -> Frame:
        """All rows, see `rows.frame`."""
        paths = (self.folder / name / "results.jsonl" for name in TRAININGS)
        table = rows.frame(results.read(paths))
        table = table.reindex(columns=list(dict.fromkeys((*table.columns, *COLUMNS))))
        return table.assign(diverged=table["diverged"].astype(bool))

    @functools.cached_property
    def measured(self) -> frozenset[str]:
        """The cells that have a row."""
        return frozenset(self.frame["cell_id"])

    def has(self, name: str) -> bool:
        """Whether a run is in this size."""
        return name in self.size.trainings

    @functools.cache  # noqa: B019 - an object lives as long as the command
    def run(self, name: str) -> Frame:
        """All rows of a run."""
        return self.frame[self.frame["run"] == name]

    @functools.cache  # noqa: B019
    def planned(self, name: str) -> PlannedRun:
        """A run as its rows name it."""
        return PlannedRun.of(TRAININGS[name], self.size)

    @functools.cache  # noqa: B019
    def rows(self, name: str, measurement: Measurement) -> Frame:
        """The rows of a measurement: those of the run whose settings are the planned
        ones."""
        table, planned = self.run(name), self.planned(name)
        for column, value in measurement.identities(planned, 0)[0].items():
            if column not in VARYING:
                table = table[_equals(table, column, value)]
        return table

    @functools.cache  # noqa: B019
    def seeds(self, name: str, measurement: Measurement) -> list[int]:
        """The planned seeds of a measurement that did not diverge."""
        table, planned = self.rows(name, measurement), self.planned(name)
        diverged = set(table[table["diverged"]]["seed"])
        only_first = getattr(measurement, "first_seed", False)
        seeds = planned.seeds[:1] if only_first else planned.seeds
        return [seed for seed in seeds if seed not in diverged]

    def accuracy(
        self,
        name: str,
        protocol: str,
        attack: str,
        switches: tuple[str, ...] = (),
        corrupted: bool = False,
    ) -> Accuracy | None:
        """That measurement of a run, or None if the study has none."""
        wanted = protocol, attack, switches, corrupted
        for each in self.planned(name).measurements():
            if isinstance(each, Accuracy):
                is_of = each.protocol, each.attack, each.switches, each.corrupted
                if is_of == wanted:
                    return each
        return None

    @functools.cache  # noqa: B019
    def curve(
        self, name: str, protocol: str, attack: str, switches: tuple[str, ...] = ()
    ) -> Curve | None:
        """Accuracy of a run on clean test images, or None if the study has none."""
        measurement = self.accuracy(name, protocol, attack, switches)
        if measurement is None:
            return None
        eps = self.size.some(measurement.eps)
        values = self._values(name, measurement, {"eps_given": map(format_eps, eps)})
        seeds, planned = self.seeds(name, measurement), len(self.planned(name).seeds)
        return Curve(measurement, eps, seeds, values, planned)

    def mean(
        self,
        name: str,
        protocol: str,
        attack: str,
        eps: float,
        switches: tuple[str, ...] = (),
    ) -> float | None:
        """As `Curve.mean`; None also if the study has no such measurement."""
        curve = self.curve(name, protocol, attack, switches)
        return curve and curve.mean(eps)

    def text(self, name: str, protocol: str, attack: str, eps: float = 0.0):
        """As `Curve.text`; None also if the study has no such measurement."""
        curve = self.curve(name, protocol, attack)
        return curve and curve.text(eps)

    @functools.cache  # noqa: B019
    def corrupted(self, name: str, protocol: str, attack: str) -> Frame | None:
        """Accuracy on corruptions, percent, mean of severities and seeds; a line for
        each corruption, a column for each epsilon, NaN where a row is missing. None if
        the study has no such measurement."""
        measurement = self.accuracy(name, protocol, attack, corrupted=True)
        if measurement is None:
            return None
        size, eps = self.size, self.size.some(measurement.eps)
        axes = {"eps_given": map(format_eps, eps), "corruption": size.corruptions}
        values = self._values(name, measurement, {**axes, "severity": size.severities})
        means = np.full(values.shape[1:3], np.nan)
        if len(values):
            means = values.mean(axis=(0, 3))
        return pd.DataFrame(means.T, index=list(size.corruptions), columns=list(eps))

    def _values(
        self, name: str, measurement: Measurement, axes: Mapping[str, Iterable]
    ) -> np.ndarray:
        """Percent, an axis for the seeds that did not diverge, and one for each of
        these columns and its entries; NaN where there is no row."""
        entries = {"seed": self.seeds(name, measurement)}
        entries |= {column: list(values) for column, values in axes.items()}
        table = self.rows(name, measurement).drop_duplicates([*entries], keep="last")
        places = pd.MultiIndex.from_product([*entries.values()], names=[*entries])
        values = table.set_index(places.names)["value"].astype(float).reindex(places)
        return 100 * values.to_numpy().reshape([len(x) for x in entries.values()])

    def per_image(
        self, name: str, measurement: Measurement, eps: float | None, key: str
    ) -> np.ndarray | None:
        """An outcome of each image, `[S, n]`, of the seeds that did not diverge.

        Args:
          name: of the run.
          measurement: of which `key` was saved beside the rows.
          eps: of an accuracy, in the protocol's unit; else None.
          key: of the outcome, as "robust". Of several draws it is the mean.

        Returns:
          None if a seed has no row, or no outcomes.
        """
        table = self.rows(name, measurement)
        if table.empty:
            return None
        if eps is not None:
            table = table[table["eps_given"] == format_eps(eps)]
        cells = table.set_index("seed")["cell_id"]
        of_seeds = []
        for seed in self.seeds(name, measurement):
            path = self.folder / name / "cells" / f"{cells.get(seed)}.npz"
            if not path.exists():
                return None
            kept = read_arrays(path, "remove it, and measure its row again")[key]
            of_seeds.append(kept.astype(float).reshape(len(kept), -1).mean(axis=1))
        return np.stack(of_seeds) if of_seeds else None

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
          With its 95 % interval, images and seeds redrawn, of the seeds that did not
          diverge; None if rows are missing.

        Raises:
          ValueError: if the runs were measured on different data.
        """
        self._check_data(ours, theirs)
        both = []
        for name in (ours, theirs):
            curve = self.curve(name, protocol, attack)
            if curve is None or not curve.measurement or curve.at(eps) is None:
                return None
            robust = self.per_image(name, curve.measurement, eps, "robust")
            if robust is None:
                return None
            both.append(100 * robust)
        return paired_difference(*both)

    def _check_data(self, *names: str) -> None:
        data = {name: sorted(set(self.run(name)["data"])) for name in names}
        if len({x for hashes in data.values() for x in hashes}) > 1:
            raise ValueError(
                f"the rows are of several data sets: {data}; measure all runs on one."
            )

    def diverged(self, name: str) -> int:
        """How many seeds of a run diverged."""
        table = self.run(name)
        return table[table["diverged"]]["seed"].nunique()

    def tolerance(self, name: str, protocol: str) -> Frame:
        """The rows of Figure 5's metric, of the seeds that did not diverge."""
        table = self.rows(name, Tolerance(protocol))
        return table[~table["diverged"]]

    def audit(self, name: str, protocol: str) -> Frame:
        """The rows of the checks; empty if they were not run."""
        return self.rows(name, Audit(protocol))


class Gpu12(StudyResults):
    """Nets that were measured once: 10 layers on the matched trunk at full width, for
    twelve epochs, five seeds, under the sound protocol, on 1,000 images.

    They are compared with nets of the controlled comparison, whose names their rows
    get here. The outcomes of their images were not kept, so that intervals are Welch's,
    over the seeds only.

    Args:
      path: of the rows.
    """

    protocols = ("sound",)

    def __init__(self, path: Path):
        super().__init__(path.parent, dataclasses.replace(FULL, name="gpu12", n=1_000))
        self.path = path

    @functools.cached_property
    def frame(self) -> Frame:
        """The rows on 1,000 images of the seeds that did not diverge."""
        table = rows.frame(results.read([self.path])).reindex(
            columns=["model", "seed", "attack", "eps", "n", "value", "diverged"]
        )
        table = table[(table["n"] == self.size.n) & ~table["diverged"].astype(bool)]
        of_run = [run_name("cifar10", 10, net, "matched") for net in table["model"]]
        return table.assign(run=of_run)

    def has(self, name: str) -> bool:
        """Whether a net was measured."""
        return name in set(self.frame["run"])

    def curve(
        self, name: str, protocol: str, attack: str, switches: tuple[str, ...] = ()
    ) -> Curve | None:
        """Accuracy at the epsilons that were measured, which may be none."""
        if protocol not in self.protocols or switches:
            return None
        table = self.run(name)
        table = table[table["attack"] == attack]
        values = 100 * table.pivot(index="seed", columns="eps", values="value")
        array = values.to_numpy(float)
        return Curve(None, list(values), list(values.index), array, self.size.seeds)

    def difference(
        self, ours: str, theirs: str, protocol: str, attack: str, eps: float
    ) -> Estimate | None:
        """As that of `StudyResults`, with Welch's interval over the seeds."""
        both = [self.curve(name, protocol, attack) for name in (ours, theirs)]
        first, second = (curve.measured(eps) if curve else () for curve in both)
        if min(len(first), len(second)) < 2:
            return None
        gap = float(np.mean(first) - np.mean(second))
        if np.ptp(first) == np.ptp(second) == 0:
            return Estimate(gap, gap, gap, len(first))
        test = stats.ttest_ind(first, second, equal_var=False)
        interval = test.confidence_interval(0.95)
        return Estimate(gap, float(interval.low), float(interval.high), len(first))

    def diverged(self, name: str) -> int:
        """How many seeds are missing."""
        return self.size.seeds - self.run(name)["seed"].nunique()


def of_sizes(folder: Path) -> tuple[StudyResults, Gpu12, StudyResults]:
    """The rows of every size that is shown: full, gpu12 and reduced."""
    gpu12 = Gpu12(Path(folder).resolve().parent / "cifar10_10_layers.jsonl")
    return StudyResults(folder), gpu12, StudyResults(folder, REDUCED)


def _equals(table: Frame, column: str, value: Any) -> np.ndarray:
    """Whether each row has that value; a missing entry has its default, or is None."""
    default = rows.DEFAULTS.get(column)
    entries = table[column] if column in table else [None] * len(table)
    wanted = list(value) if isinstance(value, tuple) else value
    return np.array(
        [(default if x is None or x != x else x) == wanted for x in entries], bool
    )
