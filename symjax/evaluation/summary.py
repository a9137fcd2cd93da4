"""All nets of some rows in one table.

python -m symjax.evaluation.summary results/NAME.jsonl     # Markdown
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from symjax.evaluation import results
from symjax.evaluation.results import Row
from symjax.evaluation.table import attack_name, format_eps, mean_and_sd

NET = ["model", "depth", "trunk", "epoch"]


def summary(rows: Sequence[Row]) -> str:
    """Nets against attacks, as a Markdown table in percent: mean ± sd over seeds.

    Args:
      rows: accuracy rows, of one data set and training mode.

    Returns:
      One line a net, empty where it was not measured. Diverged seeds are left out;
      `seeds` counts those that are left.
    """
    frame = pd.DataFrame([row for row in rows if not row["diverged"]])
    frame["percent"] = 100 * frame["value"]
    frame["cell"] = [_column(row) for row in rows if not row["diverged"]]
    texts = frame.groupby([*NET, "cell"], sort=False)["percent"].agg(mean_and_sd)
    columns = list(dict.fromkeys(frame["cell"]))
    table: Any = texts.unstack("cell")[columns]
    table.insert(0, "seeds", frame.groupby(NET, sort=False)["seed"].nunique())
    table = table.loc[
        list(dict.fromkeys(zip(*(frame[key] for key in NET), strict=True)))
    ]
    flat = table.reset_index().astype(object).fillna("").astype(str)
    lines = [list(flat.columns), ["---"] * len(flat.columns), *flat.to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _column(row: Row) -> str:
    if row["attack"] == "none":
        return f"clean, n={row['n']:,}"
    eps = format_eps(row["eps"])
    return f"{attack_name(row)}, {row['norm']} {eps}, n={row['n']:,}"


if __name__ == "__main__":
    print(summary(results.read(Path(path) for path in sys.argv[1:])), end="")
