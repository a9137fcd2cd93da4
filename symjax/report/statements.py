"""All nets' figures side by side, from rows alone, in Markdown.

    python -m symjax.report.statements results/symmetry.jsonl

A cell is the mean over seeds and images, and the hull of the seeds' 95 % intervals,
which are over images. Of an error it also has the share of images where it is rounding.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd

from symjax.evaluation import results
from symjax.evaluation.results import Row
from symjax.evaluation.table import figure_name
from symjax.folders import expand
from symjax.interruption import interruptible


def table(rows: Sequence[Row]) -> str:
    """Figures against nets.

    Args:
      rows: of metrics, of one data set.

    Raises:
      ValueError: if there are none.
    """
    alive = [row for row in rows if "settings" in row and not row["diverged"]]
    if not alive:
        raise ValueError(
            "no rows of a metric: measure some with `evaluate.py --metric`."
        )
    frame = pd.DataFrame(
        {
            "figure": [figure_name(row) for row in alive],
            "net": [_net(row) for row in alive],
            "row": alive,
        }
    )
    nets = list(dict.fromkeys(frame["net"]))
    lines = [["figure", "n", "seeds", *nets], ["---"] * (len(nets) + 3)]
    for figure, of_figure in frame.groupby("figure", sort=False):
        by_net = dict(iter(of_figure.groupby("net")["row"]))
        counts = [
            sorted({row[key] for row in of_figure["row"]}) for key in ("n", "seed")
        ]
        images = ", ".join(str(count) for count in counts[0])
        cells = [_cell(list(by_net[net])) if net in by_net else "" for net in nets]
        lines.append([str(figure), images, str(len(counts[1])), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _net(row: Row) -> str:
    return row["model"] if row["epoch"] else f"{row['model']}, untrained"


def _cell(rows: list[Row]) -> str:
    mean = np.mean([row["value"] for row in rows])
    text = f"{mean:.3g}"
    if all(row.get("low") is not None for row in rows):
        low = min(row["low"] for row in rows)
        high = max(row["high"] for row in rows)
        text += f" ({low:.3g} to {high:.3g})"
    if all("exact" in row for row in rows):
        text += f"; {np.mean([row['exact'] for row in rows]):.0%}"
    return text


@interruptible()
def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metric", default="", help="figures whose name begins so")
    parser.add_argument("files", nargs="+", type=expand, metavar="FILE.jsonl")
    options = parser.parse_args()
    try:
        rows = results.read(options.files)
        print(table([row for row in rows if _wanted(row, options.metric)]), end="")
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")


def _wanted(row: Row, metric: str) -> bool:
    return row.get("metric", "").startswith(metric)


if __name__ == "__main__":
    main()
