"""The table that an evaluation prints, made from rows alone.

    console.print(table.accuracy(clean_rows, attacked_rows))

What is measured is in the rows; this is how it is shown.
"""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from symjax.evaluation.rows import Row
from symjax.evaluation.titles import metric_name
from symjax.formatting import attack_name, format_eps, mean_and_sd_text
from symjax.statistics import mean_and_sd
from symjax.terminal import counted


def accuracy(clean: Sequence[Row], attacked: Sequence[Row]) -> Table:
    """Rows eps; columns clean and attack; mean and standard deviation over the seeds.

    Args:
      clean: rows of the attack "none", one a seed.
      attacked: rows of one attack, one a seed and eps; may be empty.

    Returns:
      A table in percent. Diverged seeds are left out of it; `note` says so.
    """
    first = (list(attacked) or list(clean))[0]
    table = Table()
    clean_text = _by_eps(clean)[0][1] if _by_eps(clean) else "-"
    if not attacked:
        table.add_column("clean", justify="right")
        table.add_row(clean_text)
        return table
    for column in (f"eps, {first['norm']}", "clean", attack_name(first)):
        table.add_column(column, justify="right")
    for eps, text in _by_eps(attacked):
        table.add_row(eps, clean_text, text)
    return table


def _by_eps(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Radius, and mean ± sd in percent over the seeds, in the order of the rows."""
    values: dict[Any, dict[int, float]] = {}
    for row in rows:
        if not row["diverged"]:
            eps = row["eps"]
            key = tuple(eps) if isinstance(eps, list | tuple) else eps
            values.setdefault(key, {})[row["seed"]] = 100 * row["value"]
    return [
        (format_eps(eps), mean_and_sd_text(list(of_seed.values())))
        for eps, of_seed in values.items()
    ]


def metrics(rows: Sequence[Row]) -> Table:
    """One line per metric: its mean over images and seeds, and the deviation of seeds.

    Args:
      rows: of metrics, one per seed and metric.

    Returns:
      A table. `undefined` counts images that have no value, of all seeds. Where some
      seeds have no finite value, the mean of the others is followed by their number.
    """
    seeds = counted(len({row["seed"] for row in rows}), "seed")
    images = counted(rows[0]["n"], f"{rows[0]['split']} image")
    caption = f"means of {images}, {seeds}"
    table = Table(caption=caption)
    for column in ("metric", "mean", "sd over seeds", "undefined"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    of_metric: dict[str, list[Row]] = {}
    for row in rows:
        of_metric.setdefault(metric_name(row), []).append(row)
    for name, of_seeds in of_metric.items():
        finite = [row["value"] for row in of_seeds if np.isfinite(row["value"])]
        mean, spread = "-", ""
        if finite:
            value, sd = mean_and_sd(finite)
            mean, spread = f"{value:.4g}", "" if sd is None else f"{sd:.3g}"
        if len(finite) < len(of_seeds):
            mean += f" ({len(finite)} of {len(of_seeds)} seeds)"
        undefined = sum(map(undefined_images, of_seeds))
        table.add_row(name, mean, spread, str(undefined or ""))
    return table


def undefined_images(row: Row) -> int:
    """How many images of a metric's row have no value, and are not in its mean."""
    return (row.get("undefined") or 0) + (row.get("no_error_found") or 0)


def broken_by(rows: Sequence[Row]) -> list[str]:
    """For each eps what broke how many images, all seeds; of attacks that say so."""
    counts: dict[str, collections.Counter[str]] = {}
    for row in rows:
        if "broken_by" in row and not row["diverged"]:
            of_eps = counts.setdefault(format_eps(row["eps"]), collections.Counter())
            of_eps.update(row["broken_by"])
    lines = []
    for eps, found in counts.items():
        stand = found.pop("none", 0)
        named = ", ".join(f"{name} {count:,}" for name, count in found.most_common())
        lines.append(f"{eps}: {stand:,} stand; broken by {named or 'nothing'}")
    return lines


def heading(clean: Sequence[Row]) -> str:
    """One line on the run that the rows are of."""
    row = clean[0]
    return (
        f"{row['run']}: {row['model']}, {row['depth']} layers, {row['trunk']} trunk, "
        f"{row['dataset']}, epoch {row['epoch']}"
    )


def note(clean: Sequence[Row], attacked: Sequence[Row]) -> str:
    """What the figures are, and what is wrong with them; arguments as `accuracy`."""
    first = clean[0]
    images = counted(first["n"], f"{first['split']} image")
    seeds = counted(len(clean), "seed")
    parts = [f"accuracy in %, {images}, {seeds}, mean ± sd over seeds"]
    if lost := [row["seed"] for row in clean if row["diverged"]]:
        parts.append(left_out(lost))
    if not all(row.get("in_ball", True) for row in [*clean, *attacked]):
        parts.append("WRONG: some images left the ball or the valid range")
    return "; ".join(parts)


def left_out(seeds: Sequence[int]) -> str:
    """Says which seeds a table leaves out."""
    return f"seeds left out because they diverged: {', '.join(map(str, seeds))}"
