"""What the study's figures share: each net's look, axes, words, and files of them.

    with style():
        figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    Drawn("figure-1", "Figure 1", figure, alt, caption, table).picture

A net has one colour, marker and line everywhere, told apart by colour-blind readers and
in greys.
"""

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from symjax.report.curves import COLOURS
from symjax.report.parts import Picture, Table
from symjax.study.evidence import Line
from symjax.study.tables import NAMES

WIDTH = 6.75  # inches, of a printed page
DPI = 150
DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
ATTACKS = {"fgsm": "FGSM", "pgd": "PGD", "autoattack": "AutoAttack", "none": "clean"}
ACCURACY = "accuracy, %"
PUBLISHED_EPS = "epsilon, of the normalised input"
PIXEL_EPS = "epsilon, in pixel units of [0, 1]"
NOT_MEASURED = "not measured"

_BLUE, _VERMILION, _GREEN, _PURPLE, _SKY, _ORANGE, _BLACK = COLOURS
_STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "figure.titlesize": 8.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
}


@dataclasses.dataclass(frozen=True)
class Look:
    """How a net is drawn.

    Attributes:
      label: its name.
      colour, marker, line: as Matplotlib takes them.
    """

    label: str
    colour: str
    marker: str
    line: Any

    def published(self) -> dict[str, Any]:
        """Of the paper's numbers: hollow markers on a thin dotted line."""
        hollow = {"markerfacecolor": "white", "markeredgewidth": 0.8, "markersize": 4.5}
        return self._marks() | hollow | {"linestyle": ":", "linewidth": 0.8}

    def ours(self) -> dict[str, Any]:
        """Beside the paper's: solid, of every net."""
        return self._marks() | {"linestyle": "-", "linewidth": 1.4, "markersize": 3.5}

    def alone(self) -> dict[str, Any]:
        """Where nothing of the paper's is drawn: the net's own line."""
        return self.ours() | {"linestyle": self.line}

    def _marks(self) -> dict[str, Any]:
        return {"color": self.colour, "marker": self.marker, "clip_on": False}


NETS: dict[str, Look] = {
    net: Look(NAMES[net], *look)
    for net, look in {
        "baseline": (_BLACK, "o", "-"),
        "parallel_rot": (_BLUE, "s", "--"),
        "parallel_scale": (_SKY, "v", (0, (6, 1.5))),
        "parallel_rs": (_VERMILION, "^", "-."),
        "cascaded": (_GREEN, "D", (0, (3, 1, 1, 1, 1, 1))),
        "weighted": (_PURPLE, "P", ":"),
        "equivariant": (_ORANGE, "X", (0, (8, 2, 2, 2))),
    }.items()
}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure, and what it shows in words and numbers.

    Attributes:
      name: of its files.
      title: its heading.
      figure: the drawing.
      alt, caption, data: as of `symjax.report.parts.Picture`.
    """

    name: str
    title: str
    figure: Figure
    alt: str
    caption: str
    data: Table

    def __post_init__(self):
        with style():  # laid out once, or each file would move it a little
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")

    @property
    def picture(self) -> Picture:
        """For a page."""
        svg = self._bytes("svg").decode()
        return Picture(self.title, svg, self.alt, self.caption, self.data)

    def save(self, folder: Path) -> list[Path]:
        """Writes it as PNG and as SVG.

        Args:
          folder: made if it is not there.

        Returns:
          The two files.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{suffix}" for suffix in ("png", "svg")]
        for path in paths:
            partial = path.with_name(path.name + ".partial")
            partial.write_bytes(self._bytes(path.suffix[1:]))
            os.replace(partial, path)
        return paths

    def _bytes(self, suffix: str) -> bytes:
        """The same for the same figure."""
        file = io.BytesIO()
        metadata = {"Date": None} if suffix == "svg" else {"Software": None}
        with style(), matplotlib.rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(file, format=suffix, dpi=DPI, metadata=metadata)
        return file.getvalue()


def style() -> AbstractContextManager[None]:
    """In which figures are made and written; whoever else draws keeps his own."""
    return matplotlib.rc_context(_STYLE)


def seeds(line: Line | None) -> np.ndarray:
    """How many seeds there are at each epsilon."""
    return np.isfinite(line.values).sum(axis=0) if line else np.zeros(0, int)


def measured(line: Line | None) -> bool:
    """Whether there is anything to draw."""
    return bool(seeds(line).any())


def place(line: Line | None, eps: float) -> int | None:
    """That of an epsilon at which a seed was measured, or None."""
    if line is None or not np.isclose(line.eps, eps).any():
        return None
    at = line.at(eps)
    return at if np.isfinite(line.values[:, at]).any() else None


def summary(line: Line | None, eps: float) -> list[Any]:
    """Mean, standard deviation and seeds at one epsilon, for a table."""
    at = place(line, eps)
    if line is None or at is None:
        return [None, None, None]
    values = line.values[:, at][np.isfinite(line.values[:, at])]
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return [float(values.mean()), sd, len(values)]


def band(axis: Axes, line: Line, **looks: Any) -> None:
    """The means, and one standard deviation to either side."""
    low, high = line.mean - line.sd, line.mean + line.sd
    colour = looks["color"]
    axis.fill_between(line.eps, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(line.eps, line.mean, **looks)


def coverage(lines: Mapping[tuple[str, str], Line | None]) -> str:
    """How many seeds ours rests on, and what is not there.

    Args:
      lines: by what is measured and attack; attacks that are alike are said once.
    """
    of_subject: dict[str, dict[str, str]] = {}
    for (subject, attack), line in lines.items():
        of_subject.setdefault(subject, {})[attack] = _how_many(line)
    says: dict[str, list[str]] = {}
    for subject, texts in of_subject.items():
        alike = len(set(texts.values())) == 1
        for attack, text in texts.items():
            name = subject if alike else f"{subject} {attack}"
            says.setdefault(text, []).append(name)
    if len(says) == 1:
        return f"Ours: {next(iter(says))}."
    whole = [text for text in says if "seeds" in text and " of " not in text]
    parts = [f"Ours: {text} where nothing else is said." for text in whole]
    parts += [
        f"{text[0].upper()}{text[1:]}: {', '.join(dict.fromkeys(names))}."
        for text, names in sorted(says.items())
        if text not in whole
    ]
    return " ".join(parts)


def _how_many(line: Line | None) -> str:
    if line is None or not measured(line):
        return NOT_MEASURED
    low, high, whole = seeds(line).min(), seeds(line).max(), len(line.values)
    if low == high:
        return f"{whole} seeds" if low == whole else f"{low} of {whole} seeds"
    return f"{low} to {high} of {whole} seeds"


def highest(eps: Sequence[float], values: Mapping[str, Any]) -> str:
    """Which net is highest, and from where to where it goes.

    Args:
      eps: `[E]`.
      values: `[E]` of each net, by its label; NaN where there is none.

    Returns:
      "A is highest at all 3 epsilons, 9.0 % at 0.01 and 1.0 % at 0.03".
    """
    table = np.array(list(values.values()), float).reshape(len(values), len(eps))
    there = np.isfinite(table).any(axis=0)
    if not there.any():
        return NOT_MEASURED
    best = np.max(table, axis=0, initial=-np.inf, where=np.isfinite(table))
    counts = (table == best)[:, there].sum(axis=1)
    first = int(counts.argmax())
    total = int(there.sum())
    of = f"all {total}" if counts[first] == total else f"{counts[first]} of {total}"
    known = np.flatnonzero(np.isfinite(table[first]))
    ends = [f"{table[first, x]:.1f} % at {eps[x]:g}" for x in known[[0, -1]]]
    label = list(values)[first]
    return f"{label} is highest at {of} epsilons, " + " and ".join(dict.fromkeys(ends))


def legend(figure: Figure | SubFigure, handles: Sequence[Any], columns: int) -> None:
    """One for all panels, below them."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def handle(label: str, **looks: Any) -> Line2D:
    """An entry of a legend."""
    looks.pop("clip_on", None)
    return Line2D([], [], label=label, **looks)
