"""All nets' figures side by side, from rows alone, in Markdown.

    python -m symjax.report.statements results/symmetry.jsonl

A cell is the mean over seeds and images, and the hull of the seeds' 95 % intervals,
which are over images. Of an error it also has the share of images where it is rounding.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from symjax.arguments import Parser, command
from symjax.evaluation import results, titles
from symjax.evaluation.rows import METRIC, Row
from symjax.evaluation.titles import metric_name
from symjax.folders import expand
from symjax.formatting import markdown


def table(rows: Sequence[Row]) -> str:
    """Figures against nets.

    Args:
      rows: of metrics, of one data set.

    Returns:
      One line a figure and number of images.

    Raises:
      ValueError: if there are none, or two rows of a net and seed belong in one cell.
    """
    metrics = [row for row in rows if row["kind"] == METRIC]
    alive = [row for row in metrics if not row["diverged"]]
    if not alive:
        raise ValueError(
            "no rows of a metric: measure some with `evaluate.py --metric`."
        )
    frame = pd.DataFrame(
        {
            "figure": [metric_name(row) for row in alive],
            "net": [_net(row) for row in alive],
            "n": [row["n"] for row in alive],
            "row": alive,
        }
    )
    nets = list(dict.fromkeys(frame["net"]))
    lines = []
    for _, of_figure in frame.groupby(["figure", "n"], sort=False):
        figure, n = of_figure[["figure", "n"]].iloc[0]
        by_net = dict(iter(of_figure.groupby("net")["row"]))
        seeds = {row["seed"] for row in of_figure["row"]}
        cells = [_cell(list(by_net[net])) if net in by_net else "" for net in nets]
        lines.append([str(figure), str(n), str(len(seeds)), *cells])
    return markdown(["figure", "n", "seeds", *nets], lines)


def _net(row: Row) -> str:
    return row["model"] if row["epoch"] else f"{row['model']}, untrained"


def _cell(rows: list[Row]) -> str:
    """Of one net; two rows of one seed are no two seeds."""
    seeds = [row["seed"] for row in rows]
    if again := [seed for seed in seeds if seeds.count(seed) > 1]:
        pair = [row.identity for row in rows if row["seed"] == again[0]]
        differing = [name for name in pair[0] if pair[0][name] != pair[1].get(name)]
        raise ValueError(
            f"seed {again[0]} of {rows[0]['model']} has several rows of "
            f"{metric_name(rows[0])!r}, which differ in {differing}: give files with "
            "one of them, or remove the others by `python -m symjax.evaluation.cells`."
        )
    mean = np.mean([row["value"] for row in rows])
    text = f"{mean:.3g}"
    if all(row.get("low") is not None for row in rows):
        low = min(row["low"] for row in rows)
        high = max(row["high"] for row in rows)
        text += f" ({low:.3g} to {high:.3g})"
    if all("exact" in row for row in rows):
        text += f"; {np.mean([row['exact'] for row in rows]):.0%}"
    return text


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = Parser("python -m symjax.report.statements", __doc__)
    parser.add_argument("--metric", default="", help="figures whose name begins so")
    parser.add_argument("files", nargs="+", type=expand, metavar="FILE.jsonl")
    options = parser.parse_args(arguments)
    rows = results.read_existing(options.files)
    metrics = [row for row in rows if row["kind"] == METRIC]
    wanted = [row for row in metrics if titles.begins(row, options.metric)]
    print(table(wanted), end="")


if __name__ == "__main__":
    main()
