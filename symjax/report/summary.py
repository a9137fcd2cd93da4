"""Accuracies on clean images of all nets in one table, attacked and not attacked.

python -m symjax.report summary results/NAME.jsonl     # Markdown
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from symjax.evaluation import results
from symjax.evaluation.rows import ATTACK, Row, frame
from symjax.evaluation.table import warnings
from symjax.evaluation.titles import description
from symjax.folders import expand
from symjax.formatting import markdown, mean_and_sd_text

NET = ["model", "depth", "trunk", "epoch"]
OF_NET = ["width", "group", "basis", "training", "dataset", "dtype"]
"""These are columns only where nets that are equal in `NET` differ in them."""


def table(rows: Sequence[Row]) -> str:
    """Nets against attacks, as a Markdown table in percent: mean ± sd over seeds.

    Args:
      rows: of one run or of several; others than those of accuracy on clean test
        images are left out.

    Returns:
      One line per net, empty where it was not measured; one column per attack, radius,
      protocol and number of images. Diverged seeds are left out; `seeds` counts those
      that are left.

    Raises:
      ValueError: if no such rows are left, or a seed has two rows of the same cell.
    """
    clean = [row for row in rows if row["kind"] == ATTACK and row["corruption"] is None]
    alive = [row for row in clean if not row["diverged"]]
    if not alive:
        reason = "all of them are of seeds that diverged" if clean else "there are none"
        raise ValueError(
            f"no rows of accuracy on clean images ({reason}): measure some with "
            "`python evaluate.py --attack NAME`."
        )
    data: Any = frame(alive).assign(column=_columns(alive))
    data = data.reindex(columns=[*data, *(x for x in OF_NET if x not in data)])
    data[OF_NET] = data[OF_NET].astype(object).where(data[OF_NET].notna(), "")
    differing = data.groupby(NET)[OF_NET].nunique().max() > 1
    net = [*NET, *(name for name in OF_NET if differing[name])]
    _refuse_several(data, [*net, "column", "seed"])
    made = data.pivot_table(
        "value",
        net,
        "column",
        aggfunc=lambda values: mean_and_sd_text(100 * values),
        sort=False,
    )
    made.insert(0, "seeds", data.groupby(net, sort=False)["seed"].nunique())
    made = made[["seeds", *data["column"].unique()]].reset_index()
    cells = made.astype(object).fillna("").astype(str).to_numpy().tolist()
    notes = "".join(f"\n{text}.\n" for text in warnings(alive))
    return markdown(made.columns, cells) + notes


def _columns(rows: Sequence[Row]) -> list[str]:
    """The column of each row; what is measured with other settings has another one."""
    names = [f"{description(row)}, n={row['n']:,}" for row in rows]
    settings = [row.identity_without({*NET, *OF_NET, "run", "seed"}) for row in rows]
    differing = {}
    for name, part in pd.DataFrame(settings).astype(str).groupby(np.array(names)):
        counts: Any = part.nunique()
        differing[name] = set(counts[counts > 1].index)
    return [
        name + "".join(f", {key} {own[key]}" for key in own if key in differing[name])
        for name, own in zip(names, settings, strict=True)
    ]


def _refuse_several(data: Any, keys: list[str]) -> None:
    """Raises ValueError if a seed has several rows of one cell of the table."""
    again = data[data.duplicated(keys, keep=False)]
    if len(again):
        first = again.iloc[0]
        same = again[(again[keys] == first[keys]).all(axis=1)]
        raise ValueError(
            f"seed {first['seed']} has several rows of {first['column']!r}, "
            f"{first['model']}, of the runs {sorted(set(same['run']))}: summarize "
            "these runs apart."
        )


def add_flags(parser: ArgumentParser) -> None:
    """Adds the flags of the command."""
    help = "rows, or a run folder"
    parser.add_argument("files", nargs="+", type=expand, metavar="FILE", help=help)


def run(flags: Namespace) -> None:
    """Prints the table."""
    print(table(results.read_existing(flags.files)), end="")
