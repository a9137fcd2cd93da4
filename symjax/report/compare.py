"""Every net against the baseline, figure by figure, image by image.

    python -m symjax.report.compare --metric clever runs/baseline runs/parallel_rs ...

A Markdown table: means, the paired difference, its 95 % interval (images and seeds
redrawn), and whether that leaves 0 out. Figures that know which images a seed
classifies correctly are compared on those that every seed of both nets does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from symjax.arguments import Parser, command
from symjax.evaluation import titles
from symjax.folders import expand
from symjax.formatting import markdown
from symjax.report.metric_rows import MetricRows, read
from symjax.statistics import Estimate, paired_difference

HEAD = (
    "figure",
    "net",
    "seeds",
    "images",
    "left out",
    "baseline's mean",
    "mean",
    "difference",
    "95 % interval",
    "",
)


class Comparison(NamedTuple):
    """Of two nets' figures of the same images.

    Attributes:
      baseline, mean: of each, over images and seeds.
      change: their difference, with its interval; NaN of fewer than two images.
      left_out: images where a figure of either is not finite, or a seed misclassifies.
    """

    baseline: float
    mean: float
    change: Estimate
    left_out: int

    @property
    def verdict(self) -> str:
        """What the interval leaves: "larger", "smaller" or "open"."""
        if self.change.low > 0:
            return "larger"
        return "smaller" if self.change.high < 0 else "open"


def compare(baseline: MetricRows, other: MetricRows) -> Comparison:
    """A net's figure against the baseline's.

    Args:
      baseline, other: measured with the same settings.

    Raises:
      ValueError: if they were not.
    """
    if baseline.settings != other.settings:
        raise ValueError(
            f"{other.rows[0]['run']} was measured with {other.settings}, "
            f"{baseline.rows[0]['run']} with {baseline.settings}: measure them alike."
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
      metric: of this name alone, or of those that begin with it; None: all. What is
        no mean over images, as a generalisation gap, is left out.

    Raises:
      ValueError: if a run has no such rows, or a row no cell.
      ValueError: if nothing was measured alike.
    """
    base, *others = ([x for x in read(f) if _wanted(x, metric)] for f in folders)
    lines = []
    for figure in base:
        for found in others:
            alike = [x for x in found if x.settings == figure.settings]
            if alike:
                lines.append(_line(figure, alike[-1]))
    if not lines:
        raise ValueError(
            f"{[str(x) for x in folders]}: no figure of {metric or 'any metric'} that "
            "the first and another were both measured for: measure them alike."
        )
    return markdown(HEAD, lines)


def _wanted(figure: MetricRows, metric: str | None) -> bool:
    named = metric is None or titles.begins(figure.rows[0], metric)
    return named and figure.is_by_image


def _usable(figure: MetricRows) -> np.ndarray:
    finite = np.isfinite(figure.values)
    return np.all(finite & figure.cells.get("correct", True), axis=0)


def _line(baseline: MetricRows, other: MetricRows) -> list[str]:
    found = compare(baseline, other)
    change = found.change
    return [
        baseline.name,
        other.rows[0]["model"],
        f"{len(baseline.rows)}, {len(other.rows)}",
        str(change.count),
        str(found.left_out),
        f"{found.baseline:.4g}",
        f"{found.mean:.4g}",
        f"{change.value:+.3g}",
        f"{change.low:+.3g} to {change.high:+.3g}",
        found.verdict,
    ]


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = Parser("python -m symjax.report.compare", __doc__)
    parser.add_argument("--metric", help="figures whose name begins so; default: all")
    parser.add_argument("folders", nargs="+", type=expand, metavar="RUN")
    options = parser.parse_args(arguments)
    print(table(options.folders, options.metric), end="")


if __name__ == "__main__":
    main()
