"""CLEVER scores and certified radii beside the distances of FAB's adversarial examples.

    python -m symjax.report distance_bounds RUN [RUN ...] --out bounds.png

One row of panels per run, one panel per norm. The nearest adversarial example is no
farther away than the curve. A CLEVER score estimates its distance; a score above the
curve is refuted. In l2, radii that randomized smoothing certifies are shown where they
were measured. They are those of the smoothed net, which is another classifier, and may
lie above the curve.
"""

import itertools
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from symjax.evaluation import results
from symjax.folders import expand
from symjax.report import metric_rows
from symjax.report.parts import save_figure

NORMS = ("linf", "l2", "l1")
ABREAST = 4  # panels, of one norm
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"  # apart for the colour-blind too


class DistanceBounds(NamedTuple):
    """Bounds of the distances of one run in one norm; seeds one after the other.

    Attributes:
      run, norm: names of the run folder and the norm.
      seeds, n: number of nets, and of images of each.
      distance, score: `[m]`, of the images that are classified correctly and have an
        adversarial example, by distance.
      radius: `[m]`, certified for the net smoothed with the least noise measured; NaN
        where it was not measured.
      wrong, unresolved: how many images of all are misclassified, or have no
        adversarial example.
    """

    run: str
    norm: str
    seeds: int
    n: int
    distance: np.ndarray
    score: np.ndarray
    radius: np.ndarray
    wrong: int
    unresolved: int

    @property
    def refuted(self) -> int:
        """How many scores exceed the distance of an adversarial example."""
        return int(np.sum(self.score > self.distance))


def of_run(folder: Path) -> list[DistanceBounds]:
    """The bounds of a run, one per norm.

    Of several rows in a norm, those with the most images count, and of these the last;
    of both metrics the first images that both have.

    Args:
      folder: a run folder.

    Raises:
      ValueError: if a metric was not measured, or not in a norm or for a seed that the
        other has; it names the command.
    """
    attacked, estimated = (_by_norm(folder, name) for name in ("distance", "clever"))
    _refuse_missing(folder, "distance", attacked, estimated)
    _refuse_missing(folder, "clever", estimated, attacked)
    return [
        _of_norm(folder, norm, attacked[norm], estimated[norm], _smoothed(folder, norm))
        for norm in NORMS
        if norm in attacked
    ]


def _refuse_missing(folder: Path, metric: str, own, other) -> None:
    """Refuses metrics by norm that lack a norm or a seed of another metric."""
    for norm, of_norm in other.items():
        rows = own[norm].rows if norm in own else []
        missing = {row["seed"] for row in of_norm.rows} - {row["seed"] for row in rows}
        if missing:
            raise ValueError(
                f"{folder} has no {metric} rows of {norm}, seed {min(missing)}: "
                f"measure them by `python evaluate.py --run {folder} --metric {metric} "
                f"--norm {norm}`."
            )


def draw(bounds: Sequence[Sequence[DistanceBounds]]) -> Figure:
    """One row of panels per run of `bounds`, or all in rows if there is one norm."""
    if all(len(row) == 1 for row in bounds):
        panels = [row[0] for row in bounds]
        bounds = [panels[i : i + ABREAST] for i in range(0, len(panels), ABREAST)]
    columns = max(len(row) for row in bounds)
    size = 4.2 * columns, 3.2 * len(bounds)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(bounds), columns, squeeze=False)
    for row, of_row in zip(bounds, axes, strict=True):
        for axis in of_row[len(row) :]:
            axis.set_visible(False)
        for axis, each in zip(of_row, row, strict=False):
            _draw(axis, each)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _by_norm(folder: Path, metric: str) -> dict[str, metric_rows.MetricRows]:
    """The rows with the most images of each norm; of several, the last."""
    there = metric_rows.read(folder, flag=metric, metric=metric)
    by_count = sorted(there, key=lambda rows: rows.rows[0]["n"])  # stable
    return {rows.rows[0]["norm"]: rows for rows in by_count}


def _smoothed(folder: Path, norm: str) -> metric_rows.MetricRows | None:
    """The certified radii of the net smoothed with the least noise, if measured."""
    wanted = {"metric": "smoothing", "norm": norm}
    rows = results.read([folder / "results.jsonl"])
    sigmas = [row["sigma"] for row in rows if wanted.items() <= row.items()]
    if not sigmas:
        return None
    return metric_rows.read(folder, flag="smoothing", sigma=min(sigmas), **wanted)[-1]


def _of_norm(folder: Path, norm: str, attacked, estimated, smoothed) -> DistanceBounds:
    rows = attacked.rows
    n = min(rows[0]["n"], estimated.rows[0]["n"])

    def flat(metric, name):
        return metric.cells[name][:, :n].reshape(-1)

    distance, correct = (flat(attacked, name) for name in ("distance", "correct"))
    score, predicted = (flat(estimated, name) for name in ("score", "correct"))
    if (correct != predicted).any():
        raise ValueError(
            f"{folder}, {norm}: CLEVER and the attack do not agree on which images are "
            "classified correctly: the rows are not of the same nets and images."
        )
    radius = np.full(len(distance), np.nan)
    seeds = [row["seed"] for row in rows]
    if smoothed is not None and [row["seed"] for row in smoothed.rows] == seeds:
        if smoothed.rows[0]["n"] >= n:
            radius = flat(smoothed, "radius")
    shown = correct & np.isfinite(distance)
    order = np.flatnonzero(shown)[np.argsort(distance[shown], kind="stable")]
    return DistanceBounds(
        run=folder.resolve().name,
        norm=norm,
        seeds=len(rows),
        n=n,
        distance=distance[order],
        score=score[order],
        radius=radius[order],
        wrong=int(np.sum(~correct)),
        unresolved=int(np.sum(correct & ~shown)),
    )


def _draw(axis: Axes, bounds: DistanceBounds) -> None:
    place = np.arange(len(bounds.distance))
    score, radius = (np.where(x > 0, x, np.nan) for x in (bounds.score, bounds.radius))
    refuted = bounds.score > bounds.distance
    axis.plot(place, bounds.distance, color="black", label="adversarial example (FAB)")
    axis.plot(place[~refuted], score[~refuted], ".", color=GREY, label="CLEVER")
    axis.plot(place[refuted], score[refuted], ".", color=ORANGE, label="refuted")
    axis.plot(place, radius, "^", color=BLUE, label="certified, smoothed net")
    axis.set_yscale("log")
    axis.set_xlabel("images, by distance")
    axis.set_ylabel(f"{bounds.norm}, pixels in [0, 1]")
    left = f"{bounds.wrong} misclassified"
    if bounds.unresolved:
        left += f", {bounds.unresolved} unresolved"
    axis.set_title(
        f"{bounds.run}: CLEVER refuted on {bounds.refuted} of {len(place)}\n"
        f"({left} of {bounds.n} images x {bounds.seeds} seeds left out)",
        fontsize="small",
    )


def add_flags(parser: ArgumentParser) -> None:
    """Adds the flags of the command."""
    parser.add_argument("runs", nargs="+", type=expand, help="run folders")
    parser.add_argument("--out", type=expand, required=True, help="png, pdf or svg")


def run(flags: Namespace) -> None:
    """Draws the figure, and prints how many scores are refuted."""
    bounds = [of_run(folder) for folder in flags.runs]
    save_figure(draw(bounds), flags.out)
    for each in itertools.chain(*bounds):
        shown = len(each.distance)
        print(f"{each.run}, {each.norm}: CLEVER refuted on {each.refuted} of {shown}")
    print(f"figure in {flags.out}")
