"""The tables that `evaluate.py` prints, made from rows.

console.print(table.accuracy(clean_rows, attacked_rows))
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from symjax.evaluation.rows import Row, frame
from symjax.evaluation.titles import metric_name
from symjax.formatting import attack_name, format_eps, mean_and_sd_text
from symjax.statistics import mean_and_sd
from symjax.terminal import counted


def accuracy(clean: Sequence[Row], attacked: Sequence[Row]) -> Table:
    """A table of accuracies in percent, clean and under attack, one line per epsilon.

    Args:
      clean: rows of the attack "none", one per seed.
      attacked: rows of one attack, one per seed and eps; may be empty.

    Returns:
      A table of means and standard deviations over the seeds. Diverged seeds are left
      out; `note` names them.
    """
    table = Table()
    clean_text = next((text for _, text in _by_eps(clean)), "-")
    if not attacked:
        table.add_column("clean", justify="right")
        table.add_row(clean_text)
        return table
    first = attacked[0]
    for column in (f"eps, {first['norm']}", "clean", attack_name(first)):
        table.add_column(column, justify="right")
    for eps, text in _by_eps(attacked):
        table.add_row(eps, clean_text, text)
    return table


def _by_eps(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Radius, and mean ± sd in percent over the seeds, in the order of the rows."""
    data: Any = _alive(rows)
    eps = data["eps"].map(lambda x: tuple(x) if isinstance(x, list) else x)
    data = data.assign(eps=eps).drop_duplicates(["eps", "seed"], keep="last")
    return [
        (format_eps(radius), mean_and_sd_text(100 * part["value"]))
        for radius, part in data.groupby("eps", sort=False)
    ]


def _alive(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows of seeds that did not diverge."""
    data = frame(rows)
    return data.loc[~data["diverged"].astype(bool), :]


def metrics(rows: Sequence[Row]) -> Table:
    """A table of metrics, one line per metric: mean and standard deviation over seeds.

    Args:
      rows: rows of metrics, one per metric and seed.

    Returns:
      A table. `undefined` is the number of images, of all seeds, without a value. The
      mean is over seeds with a finite value; their number is shown if some have none.
    """
    data: Any = frame(rows).assign(
        name=list(map(metric_name, rows)), undefined=list(map(undefined_images, rows))
    )
    seeds = counted(data["seed"].nunique(), "seed")
    table = Table(caption=f"means of {_images(rows[0])}, {seeds}")
    for column in ("metric", "mean", "sd over seeds", "undefined"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, part in data.groupby("name", sort=False):
        finite = part["value"][np.isfinite(part["value"])]
        mean, spread = "-", ""
        if len(finite):
            value, sd = mean_and_sd(finite)
            mean, spread = f"{value:.4g}", "" if sd is None else f"{sd:.3g}"
        if len(finite) < len(part):
            mean += f" ({len(finite)} of {len(part)} seeds)"
        table.add_row(str(name), mean, spread, str(part["undefined"].sum() or ""))
    return table


def undefined_images(row: Row) -> int:
    """The number of images that have no value and are left out of the mean of a row."""
    return (row.get("undefined") or 0) + (row.get("no_error_found") or 0)


def broken_by(rows: Sequence[Row]) -> list[str]:
    """How many images each attack of an ensemble broke, one line per epsilon.

    Args:
      rows: rows of one attack; those without the entry `broken_by` are ignored.
    """
    counted_rows = [row for row in rows if "broken_by" in row]
    if not counted_rows:
        return []
    data, lines = _alive(counted_rows), []
    for eps, part in data.groupby(data["eps"].map(format_eps), sort=False):
        counts = pd.DataFrame(list(part["broken_by"])).sum().astype(int)
        robust = counts.pop("none") if "none" in counts else 0
        broken = counts.sort_values(ascending=False, kind="stable")
        named = ", ".join(f"{name} {count:,}" for name, count in broken.items())
        named = named or "nothing"
        lines.append(f"{eps}: {robust:,} robust; broken by {named}")
    return lines


def heading(row: Row) -> str:
    """The run of a row in one line."""
    return (
        f"{row['run']}: {row['model']}, {row['depth']} layers, {row['trunk']} trunk, "
        f"{row['dataset']}, epoch {row['epoch']}"
    )


def note(clean: Sequence[Row], attacked: Sequence[Row]) -> str:
    """The line below `accuracy`: what the numbers are, and what is wrong with them."""
    of = f"{_images(clean[0])}, {counted(len(clean), 'seed')}"
    parts = [f"accuracy in %, {of}, mean ± sd over seeds"]
    return "; ".join([*parts, *warnings([*clean, *attacked])])


def _images(row: Row) -> str:
    return counted(row["n"], f"{row['split']} image")


def warnings(rows: Iterable[Row]) -> list[str]:
    """What a reader of accuracies has to know: lost seeds, and images off the ball."""
    rows = list(rows)
    lost = {row["seed"] for row in rows if row["diverged"]}
    texts = [left_out(sorted(lost))] if lost else []
    off = {row["protocol"] for row in rows if not row.get("in_ball", True)}
    if "sound" in off:
        texts.append("WRONG: some images left the ball or the valid range")
    elif off:
        texts.append("some images left the ball, which the published protocol allows")
    return texts


def left_out(seeds: Sequence[int]) -> str:
    """A note that names the diverged seeds, which a table leaves out."""
    return f"seeds left out because they diverged: {', '.join(map(str, seeds))}"
