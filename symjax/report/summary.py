"""Accuracies on clean images of all nets in one table, attacked and not attacked.

python -m symjax.report summary results/NAME.jsonl     # Markdown
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from symjax.evaluation import results
from symjax.evaluation.rows import ATTACK, Row, frame
from symjax.folders import expand
from symjax.formatting import attack_name, format_eps, markdown, mean_and_sd_text

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
    text = markdown(made.columns, cells)
    if any(r["protocol"] == "sound" and not r.get("in_ball", True) for r in alive):
        text += "\nWRONG: some images left the ball or the valid range.\n"
    return text


def _columns(rows: Sequence[Row]) -> list[str]:
    """The column of each row; what is measured with other settings has another one."""
    measured = [row.identity_without({*NET, *OF_NET, "run", "seed"}) for row in rows]
    names = [_column(row) for row in rows]
    distinct: dict[str, dict[str, dict[str, Any]]] = {}
    for name, settings in zip(names, measured, strict=True):
        text = json.dumps(settings, sort_keys=True)
        distinct.setdefault(name, {})[text] = settings
    return [
        name + _difference(settings, list(distinct[name].values()))
        for name, settings in zip(names, measured, strict=True)
    ]


def _difference(settings: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """Those of the settings that tell them from others, for a heading."""
    differing = [
        name for name in settings if len({str(each.get(name)) for each in others}) > 1
    ]
    return "".join(f", {name} {settings[name]}" for name in differing)


def _column(row: Row) -> str:
    end = f"n={row['n']:,}"
    if row["protocol"] != "sound":
        end += f", {row['protocol']} protocol"
    if row["attack"] == "none":
        return f"clean, {end}"
    return f"{attack_name(row)}, {row['norm']} {format_eps(row['eps'])}, {end}"


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
