"""The paper's Figure 5: how many values of an image may go until a net errs.

    tolerance(evidence)            # two nets, with their images where those were kept

The paper shows two images. Here is the mean over many, and its two as marks.
"""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from symjax.evaluation.rows import Row
from symjax.io import read_arrays
from symjax.metrics.tolerance import PUBLISHED_STEP
from symjax.report import metric_rows
from symjax.report.parts import Cell, Table
from symjax.report.tolerance import SAMPLES, image_rows
from symjax.study import published
from symjax.study.drawing import (
    NETS,
    NOT_MEASURED,
    WIDTH,
    Drawn,
    Look,
    handle,
    legend,
    style,
)
from symjax.study.evidence import Evidence
from symjax.study.measurements import FIGURE_5, Tolerance
from symjax.study.tables import RUN

AS_PUBLISHED = FIGURE_5[0]
SHOWN = ("original", "last_held", "clean", "largest")
MARKS = (("D", "the paper's first image"), ("s", "the paper's second image"))
TITLE = "Figure 5: tolerance of removed values"


@dataclasses.dataclass(frozen=True)
class Bar:
    """One net.

    Attributes:
      look: how it is drawn.
      printed: the paper's two images.
      values: mean tolerance over the images, one a seed that was measured.
      images: the cell of the first seed that kept its images, or None.
    """

    look: Look
    printed: tuple[float, float]
    values: list[float]
    images: metric_rows.MetricRows | None

    @property
    def mean(self) -> float | None:
        """Over the seeds, or None."""
        return float(np.mean(self.values)) if self.values else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation; None of fewer than two seeds."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


def tolerance(evidence: Evidence) -> Drawn:
    """The mean tolerance of both nets beside the paper's two images.

    Args:
      evidence: the study's rows; a cell that kept its images gives lines of them.
    """
    bars = [_bar(evidence, name) for name in published.tolerances()]
    images = {bar.look.label: bar.images for bar in bars if bar.images}
    return Drawn(
        "figure-5",
        TITLE,
        _draw(bars, images),
        _alt(bars, bool(images)),
        _caption(evidence, bars, bool(images)),
        _data(bars),
    )


def _bar(evidence: Evidence, name: str) -> Bar:
    found = [_row(evidence, name, seed) for seed in range(evidence.size.seeds)]
    rows = [row for row in found if row is not None and not row["diverged"]]
    kept = (_images(evidence, name, row) for row in rows)
    return Bar(
        NETS[name.split("-")[2]],
        published.tolerances()[name],
        [float(row["value"]) for row in rows],
        next((figure for figure in kept if figure is not None), None),
    )


def _row(evidence: Evidence, name: str, seed: int) -> Row | None:
    (cell,) = evidence.cells(name, Tolerance(AS_PUBLISHED), seed)
    return evidence.rows(name).get(cell)


def _images(evidence: Evidence, name: str, row: Row) -> metric_rows.MetricRows | None:
    path = evidence.folder / name / "cells" / f"{row['cell_id']}.npz"
    if not path.exists():
        return None
    kept = read_arrays(path, "remove it, and measure its row again")
    if not set(SHOWN) <= kept.keys():
        return None
    return metric_rows.MetricRows([row], {each: kept[each][None] for each in SHOWN})


def _draw(bars: list[Bar], images: dict[str, metric_rows.MetricRows]) -> Figure:
    with style():
        height = 2.3
        if not images:
            figure = Figure(figsize=(WIDTH, height), layout="constrained")
            above = figure
        else:
            heights = [height, 1.5 * SAMPLES]
            figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
            above, below = figure.subfigures(
                2, 1, squeeze=False, height_ratios=heights
            )[:, 0]
            image_rows(below, images)
        _draw_bars(above.subplots(), bars)
        legend(above, _handles(bars), 4)
    return figure


def _draw_bars(axis: Axes, bars: list[Bar]) -> None:
    for line, bar in enumerate(bars):
        if bar.mean is not None:
            axis.barh(line, bar.mean, 0.5, color=bar.look.colour, alpha=0.5)
            seeds = {"marker": "|", "markersize": 9, "linestyle": "none"}
            heights = [line] * len(bar.values)
            axis.plot(bar.values, heights, color=bar.look.colour, **seeds)
        if bar.mean is not None and bar.sd is not None:
            look = {"fmt": "none", "ecolor": "black", "capsize": 3, "elinewidth": 1}
            axis.errorbar(bar.mean, line, xerr=bar.sd, **look)
        for value, (marker, label) in zip(bar.printed, MARKS, strict=True):
            axis.plot(value, line, label=label, **_mark(marker, bar.look.colour))
    axis.set_yticks(range(len(bars)), [_name(bar) for bar in bars])
    axis.set(xlim=(0, 1), ylim=(len(bars) - 0.4, -0.6))
    axis.set_xlabel(
        "largest share of values, drawn afresh, without which the net holds"
    )
    axis.grid(visible=False, axis="y")


def _mark(marker: str, colour: str) -> dict:
    hollow = {"markerfacecolor": "white", "markersize": 6, "linestyle": "none"}
    return {"marker": marker, "color": colour, "zorder": 3} | hollow


def _handles(bars: list[Bar]) -> list:
    handles: list[Any] = [
        handle(label, **_mark(marker, "black")) for marker, label in MARKS
    ]
    if any(bar.values for bar in bars):
        grey = {"color": "#777777", "alpha": 0.5, "linewidth": 0}
        handles.append(Patch(label="ours, mean ± 1 sd", **grey))
        seed = {"marker": "|", "markersize": 9, "linestyle": "none"}
        handles.append(handle("a seed", color="#555555", **seed))
    return handles


def _name(bar: Bar) -> str:
    return bar.look.label if bar.values else f"{bar.look.label}\n({NOT_MEASURED})"


def _alt(bars: list[Bar], images: bool) -> str:
    says = [f"{TITLE}, as a share of all values."]
    for bar in bars:
        first, second = bar.printed
        ours = NOT_MEASURED if bar.mean is None else f"{bar.mean:.2f} in the mean"
        says.append(
            f"{bar.look.label}: the paper's two images {first:g} and {second:g}; ours, "
            f"{ours}."
        )
    for what, values in (
        ("the paper's images", [float(np.mean(bar.printed)) for bar in bars]),
        ("ours", [bar.mean for bar in bars]),
    ):
        if None not in values:
            label = bars[int(np.argmax(values))].look.label  # pyright: ignore
            says.append(f"Of {what}, {label} is highest.")
    if images:
        says.append("Below, test images and the last of them that held.")
    return " ".join(says)


def _caption(evidence: Evidence, bars: list[Bar], images: bool) -> str:
    says = (
        "Values are set to 0 at random until the net errs, as in the published code, "
        "which normalises nothing; an image that holds at no level counts as "
        f"{PUBLISHED_STEP:g}. "
        "Hollow marks: the paper's two images. "
    )
    if all(not bar.values for bar in bars):
        return f"{says}Ours: {NOT_MEASURED}."
    says += (
        f"Bars: the mean over {evidence.size.n_tolerance} test images, with one sample "
        "standard deviation over the seeds; strokes: the seeds. "
    )
    counts = [f"{bar.look.label}: {_seeds(evidence, bar)}" for bar in bars]
    says += f"{'; '.join(counts)}."
    if not images:
        says += " No images were kept."
    return says


def _seeds(evidence: Evidence, bar: Bar) -> str:
    if not bar.values:
        return NOT_MEASURED
    count, whole = len(bar.values), evidence.size.seeds
    return f"{count} seeds" if count == whole else f"{count} of {whole} seeds"


def _data(bars: list[Bar]) -> Table:
    rows: list[list[Cell]] = [
        [bar.look.label, *bar.printed, bar.mean, bar.sd, len(bar.values)]
        for bar in bars
    ]
    columns = ["net", "published, first image", "published, second image"]
    columns += ["ours, mean", "sd", "seeds"]
    return Table(f"Data of: {TITLE}", columns, rows, command=RUN)
