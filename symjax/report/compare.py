"""Differences of metrics between nets and a baseline, paired by images.

    python -m symjax.report compare --metric clever runs/baseline runs/parallel_rs ...

A Markdown table: means, the paired difference, its 95 % interval (images and seeds
redrawn), and whether the interval leaves 0 out. Metrics whose cells state which images
a seed classifies correctly are compared on the images that every seed of both nets
classifies correctly.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from symjax.evaluation import titles
from symjax.folders import expand
from symjax.formatting import markdown
from symjax.report.metric_rows import MetricRows, read
from symjax.statistics import Estimate, paired_difference

HEAD = (
    *("metric", "net", "seeds", "images", "left out", "baseline's mean", "mean"),
    *("difference", "95 % interval", ""),
)


class Comparison(NamedTuple):
    """A metric of two nets on the same images.

    Attributes:
      baseline, mean: of each net, over images and seeds.
      change: their difference, with its interval; NaN of fewer than two images.
      left_out: number of images where the metric of either net is not finite, or that
        a seed misclassifies.
    """

    baseline: float
    mean: float
    change: Estimate
    left_out: int

    @property
    def verdict(self) -> str:
        """ "larger" or "smaller" if the interval leaves 0 out, and "open" otherwise."""
        if self.change.low > 0:
            return "larger"
        return "smaller" if self.change.high < 0 else "open"


def compare(baseline: MetricRows, other: MetricRows) -> Comparison:
    """A net's metric against the baseline's.

    Raises:
      ValueError: if they were not measured with the same settings.
    """
    if baseline.settings != other.settings:
        raise ValueError(
            f"{other.rows[0]['run']} was measured with {other.settings}, "
            f"{baseline.rows[0]['run']} with {baseline.settings}: measure both "
            "with the same settings."
        )
    kept = _usable(baseline) & _usable(other)
    lost = int(np.sum(~kept))
    if kept.sum() < 2:
        nothing = Estimate(np.nan, np.nan, np.nan, int(kept.sum()))
        return Comparison(np.nan, np.nan, nothing, lost)
    ours, theirs = other.values[:, kept], baseline.values[:, kept]
    return Comparison(theirs.mean(), ours.mean(), paired_difference(ours, theirs), lost)


def table(folders: Sequence[Path], metric: str | None = None) -> str:
    """The nets after the first against the first, in Markdown.

    Args:
      folders: of runs, the baseline's first.
      metric: the beginning of the names of metrics; None: all. What is no mean over
        images, as a generalization gap, is left out.

    Raises:
      ValueError: if a run has no such rows, a row has no cell, or no metric of two
        nets has the same settings.
    """
    base, *others = ([x for x in read(f) if _wanted(x, metric)] for f in folders)
    lines = []
    for ours in base:
        for of_net in others:
            theirs = [x for x in of_net if x.settings == ours.settings]
            if theirs:
                lines.append(_line(ours, theirs[-1]))
    if not lines:
        raise ValueError(
            f"{[str(x) for x in folders]}: no rows of {metric or 'any metric'} that "
            "the first and another were both measured for: measure both with the same "
            "settings."
        )
    return markdown(HEAD, lines)


def _wanted(rows: MetricRows, metric: str | None) -> bool:
    named = metric is None or titles.begins(rows.rows[0], metric)
    return named and rows.is_by_image


def _usable(rows: MetricRows) -> np.ndarray:
    finite = np.isfinite(rows.values)
    return np.all(finite & rows.cells.get("correct", True), axis=0)


def _line(baseline: MetricRows, other: MetricRows) -> list[str]:
    pair = compare(baseline, other)
    change = pair.change
    return [
        baseline.name,
        other.rows[0]["model"],
        f"{len(baseline.rows)}, {len(other.rows)}",
        str(change.count),
        str(pair.left_out),
        f"{pair.baseline:.4g}",
        f"{pair.mean:.4g}",
        f"{change.value:+.3g}",
        f"{change.low:+.3g} to {change.high:+.3g}",
        pair.verdict,
    ]


def add_flags(parser: ArgumentParser) -> None:
    """Adds the flags of the command."""
    parser.add_argument("--metric", help="metrics whose name begins so; default: all")
    parser.add_argument("folders", nargs="+", type=expand, metavar="RUN")


def run(flags: Namespace) -> None:
    """Prints the table."""
    print(table(flags.folders, flags.metric), end="")
