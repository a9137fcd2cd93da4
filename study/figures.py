"""The study's figures, for the page and as files.

    for each in drawn(of_sizes(Path("results/study"))):
        each.picture                              # for symjax.report.page
        each.save(Path("docs/figures/study"))     # PNG and SVG

A figure has the rows of one size, the first that has some of it; without any, it is not
there. A net has one color and marker everywhere.
"""

import dataclasses
import io
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from study import paper
from study.paper import Frame
from study.plan import ABLATION_EPS, ATTACKS, PIXEL_EPS, REDUCED_ABLATION_N
from study.results import StudyResults
from study.runs import CONTROLLED, DATASETS, NETS, TRAININGS, Training, run_name
from study.tables import (
    SOUND_NOTE,
    ablated,
    ablation_curves,
    command,
    cumulative_ablation,
    largest,
    of_size,
)
from symjax.evaluation import protocol as protocols
from symjax.formatting import format_eps
from symjax.io import atomic_write, read_arrays
from symjax.report.parts import Cell, Picture, Table
from symjax.statistics import mean_and_sd

WIDTH = 6.75  # inches, of a printed page
DPI = 150
GRAY = "#777777"
LABELS = {"fgsm": "FGSM", "pgd": "PGD", "autoattack": "AutoAttack", "none": "clean"}
ACCURACY = "accuracy, %"
NOT_MEASURED = "not measured"
IMAGES = 4  # of Figure 5
SHOWN = {
    "figure 1": "nets of 4 layers",
    "figure 2": "nets of 10 layers",
    "figure 6": "rotation, scale and both",
}
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
    "svg.fonttype": "none",
}


@dataclasses.dataclass(frozen=True)
class CaptionedFigure:
    """A figure, and what it shows in words and numbers.

    Attributes:
      name: of its files.
      title: its heading.
      figure: the drawing.
      caption: what is drawn.
      data: the numbers.
    """

    name: str
    title: str
    figure: Figure
    caption: str
    data: Table

    def __post_init__(self):
        with _style():  # laid out once, or each file would move it a little
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")

    @property
    def alt(self) -> str:
        """A description for those who do not see the figure."""
        return f"{self.title}. The table of data has all numbers of it."

    @property
    def picture(self) -> Picture:
        """For a page."""
        svg = self._bytes("svg").decode()
        return Picture(self.title, svg, self.alt, self.caption, self.data)

    def save(self, folder: Path) -> list[Path]:
        """Writes `<name>.png` and `<name>.svg`, and returns the two paths."""
        paths = [folder / f"{self.name}.{suffix}" for suffix in ("png", "svg")]
        for path in paths:
            with atomic_write(path) as partial:
                partial.write_bytes(self._bytes(path.suffix[1:]))
        return paths

    def _bytes(self, suffix: str) -> bytes:
        """The same bytes for the same figure."""
        file = io.BytesIO()
        metadata = {"Date": None} if suffix == "svg" else {"Software": None}
        with _style(), matplotlib.rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(file, format=suffix, dpi=DPI, metadata=metadata)
        return file.getvalue()


def drawn(sizes: Sequence[StudyResults]) -> list[CaptionedFigure]:
    """The figures of which something is measured."""
    return [x for x in map(partial(largest, sizes), FIGURES.values()) if x is not None]


def _style() -> AbstractContextManager[None]:
    """In which figures are made and written; other figures keep their style."""
    return matplotlib.rc_context(_STYLE)


def tidy(
    results: StudyResults, trainings: Sequence[Training], protocol: str, attacks
) -> Frame:
    """One line per run, attack, epsilon and seed that is measured."""
    parts = [
        curve.tidy.assign(
            run=training.name, net=training.net, dataset=training.dataset, attack=attack
        )
        for training, attack in itertools.product(trainings, attacks)
        if (curve := results.curve(training.name, protocol, attack)) is not None
    ]
    return pd.concat(parts)


def _data(results: StudyResults, title: str, ours: Frame, printed=None) -> Table:
    """The numbers of a figure: mean, standard deviation and number of seeds of each
    run, attack and epsilon, beside the paper's numbers if there are any."""
    keys = ["run", "attack", "eps"]
    table = ours.groupby(keys, sort=False)["accuracy"].agg(["mean", "std", "count"])
    if printed is not None:
        table = printed.set_index(keys)[["percent"]].join(table, how="outer")
    table = table.astype({"count": "Int64"}).reset_index()
    table["attack"] = table["attack"].map(LABELS)
    table["eps"] = table["eps"].map(format_eps)
    names = {"eps": "epsilon", "percent": "published, %", "mean": "ours, %"}
    table = table.rename(columns=names | {"std": "sd", "count": "seeds"})
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    return Table(f"Data of: {title}", list(table), rows, command=command(results))


def _seeds(results: StudyResults, ours: Frame) -> str:
    """How many cells of a figure have fewer seeds than the size has, in words."""
    counts = ours.groupby(["run", "attack", "eps"]).size()
    fewer = int((counts < results.size.seeds).sum())
    return f" {fewer} of {len(counts)} cells have fewer seeds." if fewer else ""


def _style_of(net: str, **more: Any) -> dict[str, Any]:
    return {"color": NETS[net].color, "marker": NETS[net].marker, **more}


PRINTED: Any = {"linestyle": ":", "linewidth": 0.8, "markersize": 4.5}
PRINTED |= {"markerfacecolor": "white", "markeredgewidth": 0.8}
OURS: Any = {"linestyle": "-", "linewidth": 1.4, "markersize": 3.5}


def accuracy(
    results: StudyResults, artefact: str, protocol: str = "published"
) -> CaptionedFigure | None:
    """Figure 1, 2 or 6: accuracy against epsilon, a panel per data set and attack.

    Args:
      results: the study's rows.
      artefact: of `paper.cells`.
      protocol: "published", with the paper's numbers, or "sound", without them.

    Returns:
      None if nothing is measured.
    """
    printed = paper.cells()
    printed = printed[printed["artefact"] == artefact]
    trainings = [TRAININGS[name] for name in printed["run"].unique()]
    ours = tidy(results, trainings, protocol, ATTACKS)
    if ours.empty:
        return None
    is_sound = protocol == "sound"
    datasets = dict.fromkeys(training.dataset for training in trainings)
    panels = list(itertools.product(datasets, ATTACKS))
    with _style():
        figure = Figure(
            figsize=(WIDTH, 1.2 + 2.3 * len(datasets)), layout="constrained"
        )
        grid: Any = {"sharex": True, "sharey": "row", "squeeze": False}
        axes = figure.subplots(len(datasets), 2, **grid)
        for axis, (dataset, attack) in zip(axes.flat, panels, strict=True):
            mine = ours[(ours["dataset"] == dataset) & (ours["attack"] == attack)]
            runs = [x.name for x in trainings if x.dataset == dataset]
            paper_lines = printed[printed["run"].isin(runs)]
            paper_lines = paper_lines[paper_lines["attack"] == attack]
            _draw_curves(axis, None if is_sound else paper_lines, mine)
            axis.set(title=f"{DATASETS[dataset]}, {LABELS[attack]}", ylabel=ACCURACY)
            axis.set_ylim(bottom=0)
        unit = "pixel units of [0, 1]" if is_sound else "units of the net's input"
        for axis in axes[-1]:
            axis.set_xlabel(f"epsilon, in {unit}")
        nets = [net for net in NETS if net in set(printed["net"])]
        styles = {NETS[net].label: _style_of(net, **OURS) for net in nets}
        handles: list[Any] = [_handle(label, **x) for label, x in styles.items()]
        if not is_sound:
            handles.append(_handle("published", color=GRAY, marker="o", **PRINTED))
        handles.append(Patch(color=GRAY, alpha=0.3, label="ours, ± 1 sd over seeds"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    title = f"{artefact.capitalize()}: {SHOWN[artefact]}, {protocol} protocol"
    title += f", {results.size.name} size"
    data = _data(results, title, ours, None if is_sound else printed)
    caption = f"Accuracy, mean over the seeds. {of_size(results)}"
    caption += f"{_seeds(results, ours)} "
    caption += SOUND_NOTE if is_sound else _of_paper(artefact)
    name = artefact.replace(" ", "-") + ("-sound" if is_sound else "")
    return CaptionedFigure(name, title, figure, caption, data)


def _of_paper(artefact: str) -> str:
    """Where the paper's numbers of a figure are from, in words."""
    text = "Hollow markers, dotted: the paper's numbers"
    if artefact != "figure 6":
        text += (
            f", read off its plots to about {paper.READ_OFF:g} points; where a "
            "marker was hidden there is none"
        )
    return f"{text}."


def _draw_curves(axis: Axes, printed: Frame | None, ours: Frame) -> None:
    """The paper's numbers, with gaps, and ours with a band of one sd."""
    if printed is not None:
        for net, line in printed.groupby("net", sort=False):
            style = _style_of(str(net), **PRINTED)
            axis.plot(line["eps"], line["percent"], label=f"{net}, published", **style)
    for net, line in ours.groupby("net", sort=False):
        style = _style_of(str(net), **OURS, label=f"{net}, ours", err_kws={"lw": 0})
        sns.lineplot(line, x="eps", y="accuracy", errorbar="sd", ax=axis, **style)
    if legend := axis.get_legend():
        legend.remove()


def _handle(label: str, **style: Any) -> Line2D:
    return Line2D([], [], label=label, **style)


def tolerance(results: StudyResults) -> CaptionedFigure | None:
    """Figure 5: how many values of an image can be removed until a net errs; the mean
    over many images, with the paper's two images as marks, and some images. None if
    nothing is measured."""
    title, printed = "Figure 5: tolerance of removed values", paper.tolerances()
    tables = {
        net: results.tolerance(run_name("cifar10", 10, net), "published")
        for net in printed
    }
    ours = pd.concat(tables, names=["net"]).reset_index("net")
    ours = ours.assign(value=ours["value"].astype(float))
    if ours.empty:
        return None
    examples = _examples(results, tables)
    marks = {"D": "the paper's first image", "s": "the paper's second image"}
    hollow = {"color": "black", "markerfacecolor": "white", "linestyle": "none"}
    with _style():
        heights = [2.3, 1.5 * IMAGES] if examples else [2.3]
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)
        axis = parts[0, 0].subplots()
        how: Any = {"x": "value", "y": "net", "order": list(printed), "ax": axis}
        colors = {net: NETS[net].color for net in printed}
        bars = {"errorbar": "sd", "alpha": 0.5, "width": 0.5, "capsize": 0.1}
        how |= {"hue": "net", "palette": colors, "legend": False}
        sns.barplot(ours, **how, **bars)
        sns.stripplot(ours, **how, jitter=False, marker="|", linewidth=1, size=9)
        for place, pair in enumerate(printed.values()):
            for value, (marker, label) in zip(pair, marks.items(), strict=True):
                axis.plot(value, place, marker=marker, label=label, zorder=5, **hollow)
        axis.set_yticks(range(len(printed)), [NETS[net].label for net in printed])
        axis.set(xlim=(0, 1), ylim=(len(printed) - 0.4, -0.6), ylabel="")
        axis.set_xlabel("largest fraction of values, without which the net is correct")
        handles: list[Any] = [_handle(y, marker=x, **hollow) for x, y in marks.items()]
        handles.append(Patch(color=GRAY, alpha=0.5, label="ours, mean ± 1 sd"))
        seed = {"marker": "|", "color": GRAY, "linestyle": "none"}
        handles.append(_handle("a seed", **seed))
        parts[0, 0].legend(handles=handles, loc="outside lower center", ncols=4)
        if examples:
            _draw_examples(parts[1, 0], examples)
    rows: list[list[Cell]] = []
    for net, pair in printed.items():
        values = ours[ours["net"] == net]["value"]
        summary = mean_and_sd(values) if len(values) else (None, None)
        rows.append([NETS[net].label, *pair, *summary, len(values)])
    columns = ["net", "published, first image", "published, second image"]
    columns += ["ours, mean", "sd", "seeds"]
    data = Table(f"Data of: {title}", columns, rows, command=command(results))
    caption = (
        "Values are set to 0 at random until the net errs, as in the published code, "
        "which normalizes nothing; an image that is classified correctly at no level "
        f"counts as 0.05. Size {results.size.name}, {results.size.n_tolerance} test "
        "images."
    )
    return CaptionedFigure("figure-5", title, figure, caption, data)


def _examples(results: StudyResults, tables) -> dict[str, dict[str, np.ndarray]]:
    """The images that the first seed of each net kept; empty if a net has none."""
    examples = {}
    for net, table in tables.items():
        for row in table.head(1).itertuples():
            folder = results.folder / row.run / "cells"
            path = folder / f"{row.cell_id}.npz"
            if path.exists():
                kept = read_arrays(path, "remove it, and measure its row again")
                if "last_held" in kept:
                    examples[net] = kept
    return examples if len(examples) == len(tables) else {}


def _draw_examples(part: Any, examples: dict[str, dict[str, np.ndarray]]) -> None:
    """The first images that all nets classify correctly; each, and the last one with
    removed values that was classified correctly."""
    first = next(iter(examples.values()))
    shown = len(first["original"])
    chosen = np.all([x["clean"][:shown] for x in examples.values()], axis=0)
    places = np.flatnonzero(chosen)[:IMAGES]
    axes = part.subplots(max(1, len(places)), 1 + len(examples), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for line, place in zip(axes, places, strict=False):
        line[0].imshow(first["original"][place], vmin=0, vmax=255)
        line[0].set_title("original", fontsize="small")
        for axis, (net, kept) in zip(line[1:], examples.items(), strict=True):
            axis.imshow(kept["last_held"][place], vmin=0, vmax=255)
            level = kept["largest"][place, 0]
            axis.set_title(f"{NETS[net].label}: {level:.2f}", fontsize="small")


def controlled(results: StudyResults) -> CaptionedFigure | None:
    """Clean accuracy, PGD and AutoAttack of the nets that differ in one thing; a line
    for each run. None if nothing is measured."""
    title = "Controlled comparison: nets that differ in one thing"
    runs = [x for x in TRAININGS.values() if x.kind == CONTROLLED]
    labels = {
        x.name: ",\n".join(filter(None, [NETS[x.net].label, x.variant])) for x in runs
    }
    attacks = ("none", "pgd", "autoattack")
    ours = tidy(results, runs, "sound", attacks)
    if ours.empty:
        return None
    colors = {"none": "#000000", "pgd": "#0072B2", "autoattack": "#D55E00"}
    markers = {"none": "o", "pgd": "s", "autoattack": "^"}
    with _style():
        height = 1.2 + 0.34 * len(runs)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(1, 1 + len(PIXEL_EPS), sharey=True)
        for axis, eps in zip(axes, (0.0, *PIXEL_EPS), strict=True):
            shown = ours[np.isclose(ours["eps"], eps)]
            for attack, table in shown.groupby("attack", sort=False):
                sns.pointplot(
                    table,
                    x="accuracy",
                    y="run",
                    order=list(labels),
                    errorbar="sd",
                    color=colors[str(attack)],
                    marker=markers[str(attack)],
                    markersize=4,
                    linestyle="none",
                    err_kws={"linewidth": 1},
                    ax=axis,
                )
            axis.set(title=f"epsilon {format_eps(eps)}" if eps else "clean", ylabel="")
            axis.set(xlabel="", ylim=(len(runs) - 0.5, -0.5))
            axis.set_yticks(range(len(runs)), list(labels.values()))
            axis.locator_params(axis="x", nbins=4)
        axes[len(axes) // 2].set_xlabel(ACCURACY)
        handles = [
            _handle(LABELS[x], color=colors[x], marker=markers[x], linestyle="none")
            for x in attacks
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    data = _data(results, title, ours)
    caption = (
        "CIFAR-10, 10 layers, matched trunk, one training, sound protocol; epsilons in "
        "pixel units of [0, 1]. Marks: means, bars: one sample standard deviation over "
        f"the seeds to either side. {of_size(results)} AutoAttack: "
        f"{results.size.n_autoattack:,} images.{_seeds(results, ours)}"
    )
    return CaptionedFigure("controlled", title, figure, caption, data)


@dataclasses.dataclass(frozen=True)
class Waterfall:
    """Accuracies of one net, attack and epsilon from the sound to the published
    protocol.

    Attributes:
      training, attack, eps: which.
      differences: of the protocols, in the order in which they are applied.
      points: percent, one more than differences; empty if not measured.
      printed: the paper's number, or None.
    """

    training: Training
    attack: str
    eps: float
    differences: Sequence[str]
    points: Sequence[float]
    printed: float | None

    @classmethod
    def of(cls, results: StudyResults, training: Training, attack: str, eps: float):
        """From the rows; a seed counts that has every point."""
        names, curves = ablation_curves(results, training, attack)
        columns = [
            pd.Series(curve.at(eps), list(curve.seeds))
            for curve in curves
            if curve is not None and curve.at(eps) is not None
        ]
        table = pd.concat(columns, axis=1).dropna() if columns else pd.DataFrame()
        whole = len(columns) == len(curves) and len(table) > 0
        points = [float(x) for x in table.mean()] if whole else []
        printed = paper.percent(training.name, attack, eps)
        return cls(training, attack, eps, names, points, printed)

    @property
    def label(self) -> str:
        """The net in words."""
        parts = [NETS[self.training.net].label, f"{self.training.depth} layers"]
        return ", ".join(filter(None, [*parts, self.training.variant]))

    @property
    def steps(self) -> list[tuple[str, float, float]]:
        """Each difference, and the accuracy before and after."""
        return list(
            zip(self.differences, self.points[:-1], self.points[1:], strict=True)
        )


ENDS = ("sound protocol", "published protocol")
COLORS = {
    "sound": "#bbbbbb",
    "published": "#555555",
    "up": "#56B4E9",
    "down": "#D55E00",
}


def attribution(results: StudyResults) -> CaptionedFigure | None:
    """From the sound accuracy to that of the published protocol, one difference after
    another; a row of panels for each net. None if no net is measured."""
    title = "From sound to published numbers, difference by difference"
    cells = list(itertools.product(ATTACKS, ABLATION_EPS))
    nets = [[Waterfall.of(results, x, *cell) for cell in cells]
            for x in ablated(results)]  # fmt: skip
    nets = [falls for falls in nets if any(fall.points for fall in falls)]
    if not nets:
        return None
    names = [ENDS[0], *protocols.SWITCHES, ENDS[1]]
    with _style():
        height = 0.9 + 0.17 * len(names) * len(nets)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid: Any = {"sharex": True, "sharey": True, "squeeze": False}
        axes = figure.subplots(len(nets), len(cells), **grid)
        for line, falls in zip(axes, nets, strict=True):
            line[0].set_ylabel(falls[0].label.replace(", ", "\n", 1), fontsize=7)
            for axis, fall in zip(line, falls, strict=True):
                _draw_waterfall(axis, fall, names)
        for axis, (attack, eps) in zip(axes[0], cells, strict=True):
            axis.set_title(f"{LABELS[attack]}, epsilon {eps:g}")
        for axis in axes[-1]:
            axis.set_xlabel(ACCURACY)
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].set(xlim=(0, 100), ylim=(len(names) - 0.4, -0.6))
        words = ("sound", "published protocol", "a difference adds", "it subtracts")
        handles: list[Any] = [
            Patch(color=color, label=label)
            for color, label in zip(COLORS.values(), words, strict=True)
        ]
        handles.append(_handle("the paper's number", **_diamond()))
        figure.legend(handles=handles, loc="outside lower center", ncols=5)
    caption = (
        "Sound accuracy, then the differences of the published protocol applied one "
        "after another on the same checkpoints; the last bar is the published "
        "protocol. Means over the seeds that have every point. A line without a bar: "
        "no difference for that net and attack. Diamonds: the paper's numbers, where "
        f"they can be read. {of_size(results)}"
    )
    if results.size.reduced:
        caption += f" Here: the first seed and {REDUCED_ABLATION_N} images."
    data = cumulative_ablation(results)
    assert data is not None
    return CaptionedFigure("attribution", title, figure, caption, data)


def _diamond() -> dict[str, Any]:
    hollow = {"markerfacecolor": "white", "markersize": 5, "linestyle": "none"}
    return {"marker": "D", "color": "black", **hollow}


def _draw_waterfall(axis: Axes, fall: Waterfall, names: Sequence[str]) -> None:
    axis.grid(visible=False, axis="y")
    axis.set_xticks([0, 25, 50, 75])
    if not fall.points:
        middle: Any = {"ha": "center", "va": "center", "transform": axis.transAxes}
        axis.text(0.5, 0.5, NOT_MEASURED, fontsize=7, **middle)
        return
    last = len(names) - 1
    bars = [(0, 0.0, fall.points[0], COLORS["sound"], ENDS[0])]
    for name, before, after in fall.steps:
        color = COLORS["up" if after >= before else "down"]
        bars.append((names.index(name), before, after, color, name))
    bars.append((last, 0.0, fall.points[-1], COLORS["published"], ENDS[1]))
    for line, before, after, color, label in bars:
        axis.barh(line, after - before, 0.7, left=before, color=color, label=label)
        is_end, printed = label in ENDS, fall.printed if line == last else None
        x = max(before, after, printed or 0) + (5 if printed else 2)
        how: dict[str, Any] = {"ha": "left", "color": "black"}
        if x > 75 and is_end:  # no room beside the bar
            x, how["color"] = 2, "white" if line == last else "black"
        elif x > 75:
            x, how["ha"] = min(before, after) - 2, "right"
        text = f"{after:.1f}" if is_end else f"{after - before:+.1f}"
        axis.text(x, line, text, fontsize=7, va="center_baseline", **how)
    if fall.printed is not None:
        style = _diamond() | {"label": "the paper", "zorder": 3, "clip_on": False}
        axis.plot(fall.printed, last, **style)


FIGURES: dict[str, Callable[[StudyResults], CaptionedFigure | None]] = {
    "Figure 1": partial(accuracy, artefact="figure 1"),
    "Figure 1, sound protocol": partial(
        accuracy, artefact="figure 1", protocol="sound"
    ),
    "Figure 2": partial(accuracy, artefact="figure 2"),
    "Figure 2, sound protocol": partial(
        accuracy, artefact="figure 2", protocol="sound"
    ),
    "Figure 6": partial(accuracy, artefact="figure 6"),
    "attribution": attribution,
    "controlled comparison": controlled,
    "Figure 5": tolerance,
}
"""The functions that draw the figures; a name stands for a figure that is not shown."""
