"""CLEVER scores and certified radii beside the distances of errors that FAB found.

    python -m symjax.report.distance_bounds RUN [RUN ...] --out sandwich.png

One row of panels a run, one panel a norm. The nearest error is no farther away than the
curve. A CLEVER score estimates its distance; a score above the curve is refuted by the
error that was found. In l2, radii that randomised smoothing certifies are shown where
they were measured. They are those of the smoothed net, which is another classifier, and
may lie above the curve.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from symjax.arguments import Parser, command
from symjax.evaluation import results
from symjax.folders import expand
from symjax.report import metric_rows
from symjax.report.parts import save_figure

NORMS = ("linf", "l2", "l1")
ABREAST = 4  # panels, of one norm
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"  # apart for the colour-blind too


class DistanceBounds(NamedTuple):
    """What is known of the images of one run in one norm; seeds one after the other.

    Attributes:
      run, norm: which.
      seeds, n: how many nets, and images of each.
      distance, score: `[m]`, of the images that are classified correctly and have an
        error that was found, by distance.
      radius: `[m]`, certified for the net smoothed with the least noise measured; NaN
        where it was not measured.
      wrong, open: how many images of all were misclassified, or had no error found.
    """

    run: str
    norm: str
    seeds: int
    n: int
    distance: np.ndarray
    score: np.ndarray
    radius: np.ndarray
    wrong: int
    open: int

    @property
    def refuted(self) -> int:
        """How many scores exceed the distance of an error."""
        return int(np.sum(self.score > self.distance))


def sandwiches(folder: Path) -> list[DistanceBounds]:
    """What a run's rows say, one sandwich a norm.

    Of several figures in a norm, that with the most images counts, and of these the
    last; of both metrics the first images that both have.

    Args:
      folder: a run folder.

    Raises:
      ValueError: if a metric was not measured, or not in a norm or for a seed that the
        other has; it names the command.
    """
    attacked, estimated = (_by_norm(folder, name) for name in ("distance", "clever"))
    for metric, there, other in (
        ("distance", attacked, estimated),
        ("clever", estimated, attacked),
    ):
        for norm, figure in other.items():
            own = there[norm].rows if norm in there else []
            missing = {row["seed"] for row in figure.rows} - {r["seed"] for r in own}
            if missing:
                raise ValueError(
                    f"{folder} has no {metric} rows of {norm}, seed {min(missing)}: "
                    f"measure them by `python evaluate.py --run {folder} --metric "
                    f"{metric} --norm {norm}`."
                )
    return [
        _of_norm(folder, norm, attacked[norm], estimated[norm], _smoothed(folder, norm))
        for norm in NORMS
        if norm in attacked
    ]


def draw(found: Sequence[Sequence[DistanceBounds]]) -> Figure:
    """The figure: a row of panels for each run, or all in rows if there is one norm."""
    if all(len(of_run) == 1 for of_run in found):
        panels = [of_run[0] for of_run in found]
        found = [panels[i : i + ABREAST] for i in range(0, len(panels), ABREAST)]
    columns = max(len(row) for row in found)
    size = 4.2 * columns, 3.2 * len(found)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(found), columns, squeeze=False)
    for row, of_row in zip(found, axes, strict=True):
        for axis in of_row[len(row) :]:
            axis.set_visible(False)
        for axis, sandwich in zip(of_row, row, strict=False):
            _draw(axis, sandwich)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _by_norm(folder: Path, metric: str) -> dict[str, metric_rows.MetricRows]:
    """The figure with the most images of each norm; of several, the last."""
    found: dict[str, metric_rows.MetricRows] = {}
    for figure in metric_rows.read(folder, flag=metric, metric=metric):
        row = figure.rows[0]
        if row["norm"] not in found or row["n"] >= found[row["norm"]].rows[0]["n"]:
            found[row["norm"]] = figure
    return found


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

    def flat(figure, name):
        return figure.cells[name][:, :n].reshape(-1)

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
        open=int(np.sum(correct & ~shown)),
    )


def _draw(axis: Axes, found: DistanceBounds) -> None:
    place = np.arange(len(found.distance))
    score, radius = (np.where(x > 0, x, np.nan) for x in (found.score, found.radius))
    refuted = found.score > found.distance
    axis.plot(place, found.distance, color="black", label="error found (FAB)")
    axis.plot(place[~refuted], score[~refuted], ".", color=GREY, label="CLEVER")
    axis.plot(place[refuted], score[refuted], ".", color=ORANGE, label="refuted")
    axis.plot(place, radius, "^", color=BLUE, label="certified, smoothed net")
    axis.set_yscale("log")
    axis.set_xlabel("images, by distance of the error")
    axis.set_ylabel(f"{found.norm}, pixels in [0, 1]")
    left = [f"{found.wrong} misclassified"] + [f"{found.open} open"] * (found.open > 0)
    axis.set_title(
        f"{found.run}: CLEVER refuted on {found.refuted} of {len(place)}\n"
        f"({', '.join(left)} of {found.n} images x {found.seeds} seeds left out)",
        fontsize="small",
    )


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the figure, and prints how many scores are refuted."""
    parser = Parser("python -m symjax.report.distance_bounds", __doc__)
    parser.add_argument("runs", nargs="+", type=expand, help="run folders")
    parser.add_argument("--out", type=expand, required=True, help="png, pdf or svg")
    flags = parser.parse_args(arguments)
    found = [sandwiches(folder) for folder in flags.runs]
    save_figure(draw(found), flags.out)
    for each in (sandwich for row in found for sandwich in row):
        shown = len(each.distance)
        print(f"{each.run}, {each.norm}: CLEVER refuted on {each.refuted} of {shown}")
    print(f"figure in {flags.out}")


if __name__ == "__main__":
    main()
