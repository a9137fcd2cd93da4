"""Shared functions of the benchmarks: alternating runs, medians, a table, a JSON line.

    seconds = report.alternate({"ours": run, "peer": peer_run}, repeats=7)
    row = report.publish("training", setting, ours, others, out=Path("rows.jsonl"))

A row holds benchmark, setting, what, value, unit, spread, against, ratio, others, and
its provenance: device, cores, load (of the machine, before the benchmark), platform,
versions, commit, argv, utc. `ratio` is the speed of `what` divided by that of
`against`, the fastest of `others`.
"""

import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from symjax.evaluation import provenance
from symjax.io import append_row

LOAD = os.getloadavg()[0]  # load of the machine before anything is measured
BUSY = 0.5
PEERS = ("torch", "torchattacks", "pyautoattack", "escnn", "e2cnn")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A measured value.

    Attributes:
      what: what was measured.
      value: the median of the repeats.
      unit: "images/s" and other rates are better when larger; "s" when smaller.
      spread: the smallest and the largest of the repeats.
    """

    what: str
    value: float
    unit: str
    spread: tuple[float, float]

    def times_as_fast(self, other: "Measurement") -> float:
        """The speed of this divided by that of `other`, which has the same unit."""
        if self.unit != other.unit:
            raise ValueError(
                f"{self.what} is in {self.unit} and {other.what} in {other.unit}: "
                "compare values of one unit."
            )
        quotient = self.value / other.value
        return quotient if self.unit.endswith("/s") else 1 / quotient


def seconds(what: str, times: Sequence[float]) -> Measurement:
    """The median and the spread of times in seconds."""
    return Measurement(what, statistics.median(times), "s", (min(times), max(times)))


def rate(what: str, count: float, unit: str, times: Sequence[float]) -> Measurement:
    """The median and the spread of a rate: `count` items per repeat, over seconds."""
    rates = [count / each for each in times]
    return Measurement(what, statistics.median(rates), unit, (min(rates), max(rates)))


def alternate(
    contestants: Mapping[str, Callable[[], Any]], repeats: int, warmups: int = 1
) -> dict[str, list[float]]:
    """Runs the contestants alternately, so that a slow machine slows all of them.

    Args:
      contestants: functions that return when their work is done, not before.
      repeats: turns that are timed.
      warmups: turns before, in which programs are compiled.

    Returns:
      Seconds of each turn, under the contestant's name.

    Raises:
      ValueError: if there is no turn to time.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}: expected 1 or more.")
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warmups + repeats):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if turn >= warmups:
                times[name].append(time.perf_counter() - began)
    return times


def publish(
    benchmark: str,
    setting: Mapping[str, Any],
    ours: Measurement,
    others: Sequence[Measurement],
    also: Sequence[Measurement] = (),
    out: Path | None = None,
) -> dict[str, Any]:
    """Prints a table and, where there is a file to take it, adds the row as one line.

    Args:
      benchmark: its name.
      setting: what was asked for, plain values.
      ours: the measurement of the row.
      others: measurements to compare it with, in the same unit; may be empty.
      also: further measurements, without a comparison.
      out: a JSONL file, which is made with its folder if it does not exist.

    Returns:
      The row.

    Raises:
      ValueError: if a measurement is not positive and finite.
    """
    for one in (ours, *others, *also):
        if not 0 < one.value < math.inf:
            raise ValueError(
                f"{one.what}: {one.value} {one.unit} is no measurement; try more "
                "--steps."
            )
    ratios = {other.what: ours.times_as_fast(other) for other in others}
    against = min(ratios, key=lambda what: ratios[what], default=None)
    row = {
        "benchmark": benchmark,
        "setting": dict(setting),
        **dataclasses.asdict(ours),
        "against": against,
        "ratio": None if against is None else ratios[against],
        "others": [
            {**dataclasses.asdict(other), "ratio": ratios.get(other.what)}
            for other in (*others, *also)
        ],
        **origin(),
    }
    _print(row, Console())
    if out is not None:
        append_row(out, row)
    return row


def publish_rates(
    benchmark: str,
    setting: Mapping[str, Any],
    counts: Mapping[str, float],
    unit: str,
    times: Mapping[str, Sequence[float]],
    out: Path | None,
) -> dict[str, Any]:
    """`publish` for the times of `alternate`; the first contestant is ours.

    Args:
      counts: the items that each contestant processes in a repeat.
      unit: "images/s", for images.
      benchmark, setting, out: as in `publish`.
    """
    first, *others = [
        rate(name, counts[name], unit, taken) for name, taken in times.items()
    ]
    return publish(benchmark, setting, first, others, out=out)


def missing(*packages: str) -> bool:
    """Whether a peer is not installed; prints how to install it in one line."""
    if any(importlib.util.find_spec(name) for name in packages):
        return False
    names = " or ".join(packages)
    print(f"{names} is not installed: symjax alone. `pip install {packages[0]}` first.")
    return True


def origin() -> dict[str, Any]:
    """The provenance of a row: device, cores, load, versions, commit, argv, time."""
    origin = provenance.now()
    found = {}
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    versions = origin["versions"] | found
    return {**origin, "versions": versions, "cores": os.cpu_count(), "load": LOAD}


def _print(row: Mapping[str, Any], console: Console) -> None:
    table = Table(title=f"{row['benchmark']}, {row['device']}, {row['cores']} cores")
    for column in ("what", "median", "min", "max", "unit", "ratio"):
        right = column not in ("what", "unit")
        table.add_column(column, justify="right" if right else "left")
    for one in ({**row, "ratio": None}, *row["others"]):
        numbers = [f"{x:,.4g}" for x in (one["value"], *one["spread"])]
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.2f} x"
        table.add_row(one["what"], *numbers, one["unit"], ratio)
    console.print(table)
    setting = ", ".join(f"{name} {value}" for name, value in row["setting"].items())
    versions = ", ".join(f"{name} {text}" for name, text in row["versions"].items())
    for line in (setting, versions, f"commit {row['commit']}, {row['utc']}"):
        console.print(line, soft_wrap=True, highlight=False)
    if row["load"] > BUSY:
        console.print(f"the machine was busy (load {row['load']:.1f}): compare nothing")
