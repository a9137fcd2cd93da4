"""How values stand in tables, figures and messages, and the one Markdown table.

format_eps(8 / 255)                                # "8/255"
markdown(["net", "clean"], [["baseline", mean_and_sd_text([91.2, 91.6])]])
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from symjax.statistics import mean_and_sd


def format_eps(eps: float | Sequence[float]) -> str:
    """A radius in pixel units for people: 8/255 where it is that, else four digits."""
    if not isinstance(eps, float | int):
        return "(" + ", ".join(format_eps(value) for value in eps) + ")"
    levels = eps * 255
    if levels < 100 and abs(levels - round(levels)) < 1e-6:
        return f"{round(levels)}/255" if round(levels) else "0"
    return f"{eps:.4g}"


def attack_name(row: Mapping[str, Any]) -> str:
    """The attack of a row as people name it, with its steps."""
    return f"pgd-{row['steps']}" if row["attack"] == "pgd" else row["attack"]


def mean_and_sd_text(values: ArrayLike) -> str:
    """Mean ± sample standard deviation, two digits; of a single value, the value."""
    mean, sd = mean_and_sd(values)
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown, which ends with the end of a line.

    Args:
      columns: the names of the columns.
      rows: the cells of each row, one for each column.
    """

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"

    head = list(columns)
    return "".join(map(line, [head, ["---"] * len(head), *rows]))
