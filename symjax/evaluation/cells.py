"""Lists the measured cells of a run, and removes some of them.

    python -m symjax.evaluation.cells RUN                             # all cells
    python -m symjax.evaluation.cells RUN --match attack=pgd eps=8    # some cells
    python -m symjax.evaluation.cells RUN --match attack=pgd eps=8 --remove
    python -m symjax.evaluation.cells RUN --remove CELL [CELL ...]

Without --remove nothing is changed. Removing a row also removes its outcomes,
`cells/CELL.npz`, and the older rows that it superseded. All other rows stay.
"""

import json
from collections.abc import Sequence

from symjax import terminal
from symjax.arguments import Parser, command
from symjax.evaluation import results
from symjax.evaluation.rows import Row
from symjax.evaluation.titles import description
from symjax.folders import expand

COLUMNS = ("cell", "what", "n", "seed", "value", "measured, UTC")


def matching(rows: Sequence[Row], conditions: Sequence[str]) -> list[Row]:
    """The rows that meet all conditions.

    Args:
      rows: rows of a run.
      conditions: each "NAME=VALUE", such as "attack=pgd" or "eps=8": the row has an
        entry with this name and this value.

    Raises:
      ValueError: for a condition of another form, or a name that no row has.
    """
    matches = list(rows)
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals:
            raise ValueError(
                f"--match {condition!r}: expected NAME=VALUE, such as attack=pgd."
            )
        if not any(name in row for row in rows):
            names = sorted({name for row in rows for name in row})
            raise ValueError(
                f"--match {condition!r}: no row has an entry {name!r}; expected one of "
                f"{names}."
            )
        matches = [row for row in matches if _equals(row.get(name), value)]
    return matches


def table(rows: Sequence[Row]) -> str:
    """The rows as text, one line per row."""
    lines = [COLUMNS, *map(_line, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "".join("  ".join(line).rstrip() + "\n" for line in padded)


def _line(row: Row) -> tuple[str, ...]:
    value = "none" if row["value"] is None else f"{row['value']:.4f}"
    size, seed = str(row["n"]), str(row["seed"])
    return row["cell_id"], description(row), size, seed, value, row.get("utc", "")


def _equals(value: object, wanted: str) -> bool:
    """Whether an entry of a row equals a text, or the JSON value that the text is."""
    if isinstance(value, str):
        return value == wanted
    try:
        return value == json.loads(wanted)
    except ValueError:
        return False


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Lists or removes cells."""
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
    rows = matching(results.read_existing([asked.run]), asked.match)
    if asked.remove is None:
        print(table(rows), end="")
        print(f"{terminal.counted(len(rows), 'row')} of {asked.run}")
        return
    if bool(asked.remove) == bool(asked.match):
        raise ValueError("--remove: expected either cells, or --match and no cells.")
    cells = asked.remove or [row["cell_id"] for row in rows]
    listed = table([row for row in rows if row["cell_id"] in cells])
    results.remove(asked.run, cells)
    removed = terminal.counted(len(set(cells)), "row")
    print(f"{listed}removed {removed} of {asked.run}")


if __name__ == "__main__":
    main()
