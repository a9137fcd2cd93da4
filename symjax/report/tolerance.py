"""The paper's Figure 5: which perturbations nets tolerate, as curves and as images.

    python -m symjax.report tolerance runs/baseline runs/parallel_rot --out figure5.png

A curve is the fraction of images whose prediction is still correct, by level: the mean
over the seeds, each of which is a thin line, and the bootstrap's 95 % interval over the
images. Below are images, and the last ones that were classified correctly when values
were removed at random. The rows and cells are those of `python evaluate.py --metric
tolerance`.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from symjax.folders import expand
from symjax.report import metric_rows
from symjax.report.parts import save_figure
from symjax.statistics import estimate

UNITS = {
    "removal_published": "fraction, drawn afresh; unnormalized inputs",
    "removal": "fraction of values set to 0",
    "noise": "standard deviation of the noise",
    "rotation": "angle in degrees",
    "scale": "factor",
    "translation": "pixels",
    "invariant_box": "mean half-width of the box",
}
PICTURES = "removal"
SAMPLES = 4  # images in the grid
RESAMPLES = 500
STEPS = 50  # of the box's curve


def read(run: Path) -> dict[str, metric_rows.MetricRows]:
    """The metrics of a run, by perturbation; of several settings, the last measured.

    Args:
      run: the run folder.

    Raises:
      ValueError: if a perturbation was not measured; names the command to run.
    """
    names = {name: f"tolerance_{name}" for name in UNITS}
    return {
        name: metric_rows.read(Path(run), flag="tolerance", metric=metric)[-1]
        for name, metric in names.items()
    }


def draw(nets: Mapping[str, Mapping[str, metric_rows.MetricRows]]) -> Figure:
    """The figure of some nets, of which the first is compared with the others.

    Below the curves are the images that were kept of the first seeds; without them, as
    in `results/`, the figure has the curves alone.

    Args:
      nets: by name, the metrics of `read`.

    Raises:
      ValueError: if they were not measured on the same images at the same levels.
    """
    for name in UNITS:
        settings = {net: metrics[name].settings for net, metrics in nets.items()}
        if len(set(settings.values())) > 1:
            raise ValueError(
                f"{name!r} was measured differently, {settings}: measure all nets with "
                "the same --n and --samples."
            )
    images = {net: metrics[PICTURES] for net, metrics in nets.items()}
    kept = all("original" in metric.cells for metric in images.values())
    heights = [7, 1.8 * SAMPLES] if kept else [7]
    figure = Figure(figsize=(14, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)
    above = parts[0, 0]
    axes = above.subplots(2, 4).flat
    for axis, name in zip(axes, UNITS, strict=False):
        for index, (net, metrics) in enumerate(nets.items()):
            _curve(axis, metrics[name], net, f"C{index}")
        axis.set(title=name, xlabel=UNITS[name], ylim=(0, 1))
    rows = next(iter(nets.values()))[PICTURES].rows
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].axis("off")
    axes[-1].legend(handles, labels, loc="center", frameon=False)
    above.suptitle(
        f"fraction of {rows[0]['n']:,} images whose prediction is still correct, "
        f"{len(rows)} seeds, 95 % interval over the images"
    )
    if kept:
        image_rows(parts[1, 0], images)
    return figure


def _curve(axis: Axes, metric: metric_rows.MetricRows, net: str, color: str) -> None:
    """The seeds, their mean, and its interval over images."""
    levels = metric.rows[0].get("levels")
    if levels is None:  # the box has no levels
        most = metric.cells["largest"].max()
        levels = np.linspace(0, most, STEPS + 1)[1:]
    correct = _correct(metric.cells["largest"], np.asarray(levels))
    for seed in correct:
        axis.plot(levels, seed.mean(axis=0), color=color, linewidth=0.4, alpha=0.6)
    means = correct.mean(axis=0)
    axis.plot(levels, means.mean(axis=0), color=color, label=net)
    if len(means) > 1:
        ends = [estimate(x, resamples=RESAMPLES)[1:3] for x in means.T]
        axis.fill_between(levels, *np.transpose(ends), color=color, alpha=0.15)


def _correct(largest: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The fraction of draws in which the prediction is correct: `[S, n, L]`."""
    draws = largest.reshape(*largest.shape[:2], -1, 1)
    return (draws >= levels).mean(axis=2)


def image_rows(figure: SubFigure, nets: Mapping[str, metric_rows.MetricRows]) -> None:
    """One line per image that all nets classify: itself, and the last correct ones.

    Args:
      figure: the (sub)figure to draw into.
      nets: by name, a metric whose cells hold "original" and "last_held".
    """
    first = {
        net: {name: of_seeds[0] for name, of_seeds in metric.cells.items()}
        for net, metric in nets.items()
    }
    one = next(iter(first.values()))
    kept = len(one["original"])
    clean = np.all([cell["clean"][:kept] for cell in first.values()], axis=0)
    chosen = np.flatnonzero(clean)[:SAMPLES]
    seed = next(iter(nets.values())).rows[0]["seed"]
    figure.suptitle(
        "the first images that all nets classify correctly, and each with the most "
        f"values removed that was still classified correctly: seed {seed}, one draw"
    )
    axes = figure.subplots(max(1, len(chosen)), 1 + len(nets), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for line, place in zip(axes, chosen, strict=False):
        _show(line[0], one["original"][place], "original")
        for axis, (net, cell) in zip(line[1:], first.items(), strict=True):
            fraction = cell["largest"][place, 0]
            _show(axis, cell["last_held"][place], f"{net}: {fraction:.2f}")


def _show(axis: Axes, image: np.ndarray, title: str) -> None:
    gray = image.shape[-1] == 1
    shown = image[..., 0] if gray else image
    axis.imshow(shown, cmap="gray" if gray else None, vmin=0, vmax=255)
    axis.set_title(title, fontsize="small")


def add_flags(parser: ArgumentParser) -> None:
    """Adds the flags of the command."""
    parser.add_argument("runs", nargs="+", type=expand, help="run folders")
    parser.add_argument("--out", type=expand, required=True, help="an image file")


def run(flags: Namespace) -> None:
    """Draws the figure."""
    save_figure(draw({run.name: read(run) for run in flags.runs}), flags.out)
