"""Lists the measured cells of a run, and removes some of them.

    python -m symjax.evaluation.cells RUN                             # all of them
    python -m symjax.evaluation.cells RUN --match attack=pgd eps=8    # some of them
    python -m symjax.evaluation.cells RUN --match attack=pgd eps=8 --remove
    python -m symjax.evaluation.cells RUN --remove CELL [CELL ...]

Without --remove nothing is changed. A removed row's outcomes, `cells/CELL.npz`, are
removed with it, and so are the older rows that it superseded; no other row is touched.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from symjax import terminal
from symjax.arguments import Parser, command
from symjax.evaluation import results, titles
from symjax.evaluation.rows import ATTACK, METRIC, Row
from symjax.evaluation.table import attack_name, format_eps, metric_name
from symjax.folders import expand

COLUMNS = ("cell", "what", "norm", "eps", "n", "seed", "value", "measured, UTC")


def matching(rows: Sequence[Row], conditions: Sequence[str]) -> list[Row]:
    """The rows that meet all of the conditions.

    Args:
      rows: of a run.
      conditions: each "NAME=VALUE", of a row's entries: "attack=pgd", "eps=8".

    Raises:
      ValueError: for another form, or a name that no row has.
    """
    found = list(rows)
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals:
            raise ValueError(f"--match {condition!r}: expected NAME=VALUE.")
        if not any(name in row for row in rows):
            names = sorted({name for row in rows for name in row})
            raise ValueError(
                f"--match {condition!r}: no row has {name!r}; rows have {names}."
            )
        found = [row for row in found if _is(row.get(name), value)]
    return found


def remove(folder: Path, cells: Sequence[str]) -> None:
    """Removes the rows of some cells, and the cells; in one step.

    Args:
      folder: the run folder.
      cells: ids of rows that are there.

    Raises:
      ValueError: for an id that is not there; then nothing is removed.
    """
    there = {row["cell_id"] for row in results.read_existing([folder])}
    if unknown := sorted(set(cells) - there):
        raise ValueError(
            f"{unknown} are no rows of {folder}: nothing was removed. List the rows "
            f"with `python -m symjax.evaluation.cells {folder}`."
        )
    results.rewrite(folder, lambda row: row["cell_id"] not in cells)


def table(rows: Sequence[Row]) -> str:
    """A line a row, for people."""
    lines = [COLUMNS, *map(_line, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    return "".join(
        "  ".join(
            text.ljust(width) for text, width in zip(line, widths, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def _line(row: Row) -> tuple[str, ...]:
    if row["kind"] == ATTACK:
        what = "clean" if row["attack"] == "none" else attack_name(row)
    else:
        what = metric_name(row) if row["kind"] == METRIC else titles.title(row)
    if row.get("corruption") is not None:
        what += f" on {row['corruption']} {row['severity']}"
    if row["protocol"] != "sound":
        what += f", {row['protocol']} protocol"
    value = "none" if row["value"] is None else f"{row['value']:.4f}"
    return (
        row["cell_id"],
        what,
        row.get("norm") or "",
        format_eps(row["eps"]) if "eps" in row else "",
        str(row["n"]),
        str(row["seed"]),
        value,
        row.get("utc", ""),
    )


def _is(value: object, wanted: str) -> bool:
    """Whether a row's entry is what was asked for, as text or as a number."""
    if isinstance(value, str):
        return value == wanted
    try:
        return value == json.loads(wanted)
    except ValueError:
        return False


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Lists, and removes."""
    parser = Parser("python -m symjax.evaluation.cells", __doc__)
    parser.add_argument("run", type=expand, metavar="RUN", help="The run folder.")
    parser.add_argument(
        "--match",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="List, or remove, only the rows that meet all of these conditions.",
    )
    parser.add_argument(
        "--remove",
        nargs="*",
        metavar="CELL",
        help="Remove the rows of these cells, or those that --match lists.",
    )
    asked = parser.parse_args(arguments)
    found = matching(results.read_existing([asked.run]), asked.match)
    if asked.remove is None:
        print(table(found), end="")
        print(f"{terminal.counted(len(found), 'row')} of {asked.run}")
        return
    if bool(asked.remove) == bool(asked.match):
        raise ValueError("--remove: give the cells, or --match and no cell.")
    cells = asked.remove or [row["cell_id"] for row in found]
    listed = table([row for row in found if row["cell_id"] in cells])
    remove(asked.run, cells)
    removed = terminal.counted(len(set(cells)), "row")
    print(f"{listed}removed {removed} of {asked.run}")


if __name__ == "__main__":
    main()
