"""Values as text for tables, plots and messages, and Markdown tables.

format_eps(8 / 255)                                # "8/255"
markdown(["net", "clean"], [["baseline", mean_and_sd_text([91.2, 91.6])]])
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from symjax.statistics import mean_and_sd


def format_eps(eps: float | Sequence[float]) -> str:
    """A radius in pixel units as text: a fraction such as 8/255, or four digits."""
    if not isinstance(eps, float | int):
        return "(" + ", ".join(format_eps(value) for value in eps) + ")"
    levels = eps * 255
    if levels < 100 and abs(levels - round(levels)) < 1e-6:
        return f"{round(levels)}/255" if round(levels) else "0"
    return f"{eps:.4g}"


def attack_name(row: Mapping[str, Any]) -> str:
    """The name of a row's attack; for PGD with its number of steps."""
    return f"pgd-{row['steps']}" if row["attack"] == "pgd" else row["attack"]


def mean_and_sd_text(values: ArrayLike) -> str:
    """Mean ± sample standard deviation with two decimals; for one value, the value."""
    mean, sd = mean_and_sd(values)
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; its last line ends with a line break.

    Args:
      columns: the names of the columns.
      rows: the cells of each row, one for each column.
    """

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"

    head = list(columns)
    return "".join(map(line, [head, ["---"] * len(head), *rows]))
