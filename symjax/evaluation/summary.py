"""All nets of some rows in one table: accuracy on clean images, attacked or not.

python -m symjax.evaluation.summary results/NAME.jsonl     # Markdown
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
"""Of a net; a column only where nets that are equal in `NET` differ in it."""


def summary(rows: Sequence[Row]) -> str:
    """Nets against attacks, as a Markdown table in percent: mean ± sd over seeds.

    Args:
      rows: of one run or of several; only those of accuracy on clean test images count.

    Returns:
      One line a net, empty where it was not measured; one column an attack, radius,
      protocol and number of images. Diverged seeds are left out; `seeds` counts those
      that are left.

    Raises:
      ValueError: if no such rows are left, or a seed has two rows of the same.
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
    """Whether nets that are equal in `NET` differ in it."""
    found: dict[tuple, set[str]] = {}
    for row in rows:
        net = tuple(row[name] for name in NET)
        found.setdefault(net, set()).add(str(row.get(key)))
    return any(len(values) > 1 for values in found.values())


def _columns(rows: Sequence[Row]) -> list[str]:
    """The column of each row; what is measured with other settings has another one."""
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
    """Those of the settings that tell them from others, for a heading."""
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
    """Two rows of one seed are no two seeds."""
    again = frame.duplicated(keys)
    if again.any():
        place = int(again.to_numpy().argmax())
        same = (frame[keys] == frame.loc[place, keys]).all(axis=1).to_numpy()
        runs = sorted({str(rows[i]["run"]) for i in same.nonzero()[0]})
        raise ValueError(
            f"seed {frame.loc[place, 'seed']} has several rows of "
            f"{frame.loc[place, 'cell']!r}, {frame.loc[place, 'model']}, of the runs "
            f"{runs}: summarize these runs apart."
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
