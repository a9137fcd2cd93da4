"""A Markdown table of accuracies on clean images, one line per net.

python -m symjax.evaluation.summary results/NAME.jsonl
"""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from symjax.arguments import Parser, command
from symjax.evaluation import results
from symjax.evaluation.rows import ATTACK, Row
from symjax.folders import expand
from symjax.formatting import attack_name, format_eps, markdown, mean_and_sd_text

NET = ("model", "depth", "trunk", "epoch")
HIDDEN = ("width", "group", "basis", "training", "dataset", "dtype")
"""Entries of a net that are shown only if they distinguish nets that agree in `NET`."""


def summary(rows: Sequence[Row]) -> str:
    """Accuracies of nets in percent, mean ± sd over seeds, as a Markdown table.

    Args:
      rows: rows of one or more runs; only accuracies on clean test images are used.

    Returns:
      One line per net, with empty cells where it was not measured; one column per
      attack, radius, protocol and number of images. Diverged seeds are left out;
      `seeds` is the number of the other seeds.

    Raises:
      ValueError: if there is no row of an accuracy on clean images, or if a seed has
        two rows for the same column.
    """
    clean = [row for row in rows if row["kind"] == ATTACK and row["corruption"] is None]
    alive = [row for row in clean if not row["diverged"]]
    if not alive:
        reason = "all of them are of seeds that diverged" if clean else "there are none"
        raise ValueError(
            f"no rows of accuracy on clean images ({reason}): measure some with "
            "`python evaluate.py --attack NAME`."
        )
    keys = [*NET, *(key for key in HIDDEN if _distinguishes(key, alive))]
    frame = pd.DataFrame([{key: row.get(key) for key in keys} for row in alive])
    frame["seed"] = [row["seed"] for row in alive]
    frame["percent"] = [100 * row["value"] for row in alive]
    frame["cell"] = _columns(alive)
    _refuse_several(frame, [*keys, "cell", "seed"], alive)
    texts = frame.groupby([*keys, "cell"], sort=False)["percent"].agg(mean_and_sd_text)
    columns = list(dict.fromkeys(frame["cell"]))
    table: Any = texts.unstack("cell")[columns]
    table.insert(0, "seeds", frame.groupby(keys, sort=False)["seed"].nunique())
    table = table.loc[
        list(dict.fromkeys(zip(*(frame[key] for key in keys), strict=True)))
    ]
    flat = table.reset_index().astype(object).fillna("").astype(str)
    text = markdown(flat.columns, flat.to_numpy().tolist())
    if any(r["protocol"] == "sound" and not r.get("in_ball", True) for r in alive):
        text += "\nWRONG: some images left the ball or the valid range.\n"
    return text


def _distinguishes(key: str, rows: Sequence[Row]) -> bool:
    """Whether some nets that agree in `NET` differ in an entry."""
    values_of: dict[tuple, set[str]] = {}
    for row in rows:
        net = tuple(row[name] for name in NET)
        values_of.setdefault(net, set()).add(str(row.get(key)))
    return any(len(values) > 1 for values in values_of.values())


def _columns(rows: Sequence[Row]) -> list[str]:
    """The column of each row; rows with different settings are in different columns."""
    of_net = {*NET, *HIDDEN, "run", "seed"}
    measured = [row.identity_without(of_net) for row in rows]
    distinct: dict[str, dict[str, dict]] = {}
    for row, settings in zip(rows, measured, strict=True):
        same_name = distinct.setdefault(_column(row), {})
        same_name[json.dumps(settings, sort_keys=True)] = settings
    return [
        _column(row) + _difference(settings, list(distinct[_column(row)].values()))
        for row, settings in zip(rows, measured, strict=True)
    ]


def _difference(settings: dict, others: Sequence[dict]) -> str:
    """The settings that distinguish a column from others, for its heading."""
    names = [
        name for name in settings if len({str(other.get(name)) for other in others}) > 1
    ]
    return "".join(f", {name} {settings[name]}" for name in names)


def _column(row: Row) -> str:
    end = f"n={row['n']:,}"
    if row["protocol"] != "sound":
        end += f", {row['protocol']} protocol"
    if row["attack"] == "none":
        return f"clean, {end}"
    return f"{attack_name(row)}, {row['norm']} {format_eps(row['eps'])}, {end}"


def _refuse_several(frame: pd.DataFrame, keys: list[str], rows: Sequence[Row]) -> None:
    """Raises an error if a seed has two rows for the same column of a net."""
    again = frame.duplicated(keys)
    if again.any():
        place = int(again.to_numpy().argmax())
        same = (frame[keys] == frame.loc[place, keys]).all(axis=1).to_numpy()
        runs = sorted({str(rows[i]["run"]) for i in same.nonzero()[0]})
        raise ValueError(
            f"seed {frame.loc[place, 'seed']} has several rows of "
            f"{frame.loc[place, 'cell']!r}, {frame.loc[place, 'model']}, of the runs "
            f"{runs}: summarize each of these runs by itself."
        )


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = Parser("python -m symjax.evaluation.summary", __doc__)
    parser.add_argument(
        "files", nargs="+", type=expand, metavar="FILE", help="rows, or a run folder"
    )
    asked = parser.parse_args(arguments)
    print(summary(results.read_existing(asked.files)), end="")


if __name__ == "__main__":
    main()
