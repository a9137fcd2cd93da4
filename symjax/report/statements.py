"""Metrics against nets, from rows alone, in Markdown.

    python -m symjax.report statements results/symmetry.jsonl

A cell is the mean over seeds and images, and the hull of the seeds' 95 % intervals,
which are over images. Of an error it also has the fraction of images where the error is
rounding.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from symjax.evaluation import results, titles
from symjax.evaluation.rows import METRIC, Row, frame
from symjax.folders import expand
from symjax.formatting import markdown


def table(rows: Sequence[Row]) -> str:
    """Metrics against nets.

    Args:
      rows: of metrics, of one data set; others and diverged seeds are left out.

    Returns:
      One line per metric and number of images.

    Raises:
      ValueError: if there are none, or two rows of a net and seed belong in one cell.
    """
    alive = [row for row in rows if row["kind"] == METRIC and not row["diverged"]]
    if not alive:
        raise ValueError(
            "no rows of a metric: measure some with `evaluate.py --metric`."
        )
    data: Any = frame(alive).assign(
        row=alive,
        title=[titles.metric_name(row) for row in alive],
        net=[row["model"] + ", untrained" * (not row["epoch"]) for row in alive],
    )
    nets = data["net"].unique()
    lines = []
    for (title, n), of_metric in data.groupby(["title", "n"], sort=False):
        cells = {net: _cell(part) for net, part in of_metric.groupby("net")}
        seeds = of_metric["seed"].nunique()
        lines.append([title, str(n), str(seeds), *(cells.get(x, "") for x in nets)])
    return markdown(["metric", "n", "seeds", *nets], lines)


def _cell(part: Any) -> str:
    """The cell of one net and metric; two rows of one seed are refused."""
    again = part[part["seed"].duplicated(keep=False)]
    if len(again):
        first, second = (row.identity for row in again["row"].iloc[:2])
        differing = [name for name in first if first[name] != second.get(name)]
        raise ValueError(
            f"seed {first['seed']} of {first['model']} has several rows of "
            f"{again['title'].iloc[0]!r}, which differ in {differing}: give files with "
            "one of them, or remove the others by `python -m symjax.evaluation.cells`."
        )
    known = part.dropna(axis=1)
    text = f"{part['value'].mean():.3g}"
    if {"low", "high"} <= set(known):
        text += f" ({part['low'].min():.3g} to {part['high'].max():.3g})"
    if "exact" in known:
        text += f"; {part['exact'].mean():.0%}"
    return text


def add_flags(parser: ArgumentParser) -> None:
    """Adds the flags of the command."""
    parser.add_argument("--metric", default="", help="metrics whose name begins so")
    parser.add_argument("files", nargs="+", type=expand, metavar="FILE.jsonl")


def run(flags: Namespace) -> None:
    """Prints the table."""
    rows = results.read_existing(flags.files)
    metrics = [row for row in rows if row["kind"] == METRIC]
    wanted = [row for row in metrics if titles.begins(row, flags.metric)]
    print(table(wanted), end="")
