"""Where each published number comes from: waterfalls, a difference at a time.

attribution(evidence)          # None if no net is measured
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from symjax.evaluation import protocol as protocols
from symjax.evaluation.protocol import SOUND
from symjax.report.parts import Cell, Table
from symjax.study.drawing import (
    ACCURACY,
    ATTACKS,
    NETS,
    NOT_MEASURED,
    WIDTH,
    Drawn,
    handle,
    legend,
    style,
)
from symjax.study.evidence import Evidence
from symjax.study.measurements import TAKEN_APART, net_of
from symjax.study.tables import RUN, TO_MEET
from symjax.study.trainings import TRAININGS

ENDS = ("sound protocol", "published protocol")
SOUND_GREY, PUBLISHED_GREY = "#bbbbbb", "#555555"
UP, DOWN = "#56B4E9", "#D55E00"
TITLE = "From sound to published numbers, difference by difference"
LABEL, MARK = 26, 5  # percent that a label takes, and half a mark
CENTRED: dict[str, Any] = {"va": "center_baseline"}


@dataclasses.dataclass(frozen=True)
class Waterfall:
    """One net, attack and epsilon.

    Attributes:
      net, attack, eps: which.
      switches: that are turned, in turn.
      points: accuracies in percent, one more than switches; none if not measured.
      seeds: that have all of the points.
      printed: the paper's number, or None.
    """

    net: str
    attack: str
    eps: float
    switches: Sequence[str]
    points: Sequence[float]
    seeds: int
    printed: float | None

    @property
    def name(self) -> str:
        """Attack and epsilon."""
        return f"{ATTACKS[self.attack]}, epsilon {self.eps:g}"

    @property
    def steps(self) -> list[tuple[str, float, float]]:
        """Each switch, and the accuracy before and after."""
        return list(zip(self.switches, self.points[:-1], self.points[1:], strict=True))


def attribution(evidence: Evidence) -> Drawn | None:
    """From the sound accuracy to the published protocol's, a switch at a time.

    Args:
      evidence: the study's rows. A seed counts that has all points of a waterfall.

    Returns:
      None if no net is measured.
    """
    nets = [list(_of_net(evidence, run)) for run in TO_MEET]
    missing = [falls[0].net for falls in nets if not any(x.points for x in falls)]
    nets = [falls for falls in nets if any(x.points for x in falls)]
    if not nets:
        return None
    figure = _draw_waterfalls(nets)
    flat = [fall for falls in nets for fall in falls]
    caption = _caption(evidence, flat, missing)
    return Drawn("attribution", TITLE, figure, _alt(flat), caption, _data(flat))


def _of_net(evidence: Evidence, run: str) -> Iterator[Waterfall]:
    net = net_of(TRAININGS[run])
    for attack in ("fgsm", "pgd"):
        names = protocols.differing(SOUND, protocols.published(net), attack)
        lines = [
            evidence.line(run, "sound", attack),
            *(
                evidence.line(run, "switched", attack, names[:count])
                for count in range(1, len(names))
            ),
            evidence.line(run, "published", attack),
        ]
        for eps in TAKEN_APART:
            values = [line.values[:, line.at(eps)] for line in lines if line]
            whole = np.isfinite(values).all(axis=0)
            points = np.array(values)[:, whole].mean(axis=1) if whole.any() else []
            count, printed = int(whole.sum()), evidence.published(run, attack, eps)
            points = [float(x) for x in points]
            yield Waterfall(net, attack, eps, names, points, count, printed)


def _draw_waterfalls(nets: Sequence[Sequence[Waterfall]]) -> Figure:
    turned = {x for falls in nets for fall in falls for x in fall.switches}
    names = [ENDS[0], *(x for x in protocols.SWITCHES if x in turned), ENDS[1]]
    with style():
        height = 0.9 + 0.17 * len(names) * len(nets)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        call: Any = {"sharex": True, "sharey": True, "squeeze": False}
        axes = figure.subplots(len(nets), len(nets[0]), **call)
        for line, falls in zip(axes, nets, strict=True):
            for axis, fall in zip(line, falls, strict=True):
                _draw_waterfall(axis, fall, names)
            line[0].set_ylabel(NETS[falls[0].net].label, fontsize=7.5)
        for axis, fall in zip(axes[0], nets[0], strict=True):
            axis.set_title(fall.name)
        for axis in axes[-1]:
            axis.set_xlabel(ACCURACY)
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].set(xlim=(0, 100), ylim=(len(names) - 0.4, -0.6))
        legend(figure, _waterfall_handles(), 5)
    return figure


def _draw_waterfall(axis: Axes, fall: Waterfall, names: Sequence[str]) -> None:
    axis.grid(visible=False, axis="y")
    axis.set_xticks([0, 25, 50, 75])
    if not fall.points:
        middle = {"ha": "center", "va": "center", "transform": axis.transAxes}
        axis.text(0.5, 0.5, NOT_MEASURED, fontsize=7, **middle)
        return
    last = len(names) - 1
    axis.barh(0, fall.points[0], 0.7, color=SOUND_GREY, label=ENDS[0])
    above = 0
    for switch, before, after in fall.steps:
        line = names.index(switch)
        axis.plot([before, before], [above, line], color="#777777", linewidth=0.6)
        look: dict[str, Any] = {"facecolor": UP, "edgecolor": "white", "linewidth": 0}
        if after < before:
            look |= {"facecolor": DOWN, "hatch": "////"}
        axis.barh(line, after - before, 0.7, left=before, label=switch, **look)
        _beside(axis, line, (before, after), f"{after - before:+.1f}")
        above = line
    end = fall.points[-1]
    axis.plot([end, end], [above, last], color="#777777", linewidth=0.6)
    axis.barh(last, end, 0.7, color=PUBLISHED_GREY, label=ENDS[1])
    if fall.printed is not None:
        axis.plot(fall.printed, last, label="the paper", **_mark())
    _in_bar(axis, 0, fall.points[0], None, "black")
    _in_bar(axis, last, end, fall.printed, "white")


def _mark() -> dict:
    hollow = {"markerfacecolor": "white", "markersize": 5, "linestyle": "none"}
    return {"marker": "D", "color": "black", "zorder": 3, "clip_on": False} | hollow


def _beside(axis: Axes, line: int, ends: tuple[float, float], text: str) -> None:
    """A label right of a segment, or left of it where there is no room."""
    text, look = text.replace("-", "\N{MINUS SIGN}"), {"fontsize": 7, **CENTRED}
    if max(ends) + LABEL < 100:
        axis.text(max(ends) + 2, line, text, ha="left", **look)
    else:
        axis.text(min(ends) - 2, line, text, ha="right", **look)


def _in_bar(axis: Axes, line: int, end: float, mark: float | None, inside: str) -> None:
    """The number of a bar that begins at 0, beside it or in it, off the mark."""
    places = [(end + 2, end + LABEL, "black")]
    if end > LABEL:
        places += [(2, LABEL, inside), (end - LABEL + 2, end, inside)]
    if mark is not None:
        places.append((mark + MARK, mark + MARK + LABEL, "black"))
    for left, right, colour in places:
        is_free = mark is None or not left - MARK < mark < right + MARK
        if right < 104 and is_free:
            axis.text(left, line, f"{end:.1f}", color=colour, fontsize=7, **CENTRED)
            return


def _waterfall_handles() -> list:
    return [
        Patch(color=SOUND_GREY, label="sound"),
        Patch(color=UP, label="a difference adds"),
        Patch(
            facecolor=DOWN, edgecolor="white", hatch="////", label="a difference takes"
        ),
        Patch(color=PUBLISHED_GREY, label="published protocol"),
        handle("the paper's number", **_mark()),
    ]


def _alt(falls: Sequence[Waterfall]) -> str:
    says = [f"{TITLE}; CIFAR-10, 10 layers."]
    for fall in falls:
        if fall.points and fall.eps == max(TAKEN_APART):
            first, last = fall.points[0], fall.points[-1]
            switch, before, after = max(fall.steps, key=lambda x: abs(x[2] - x[1]))
            says.append(
                f"{NETS[fall.net].label}, {fall.name}: from {first:.1f} % to "
                f"{last:.1f} %, most by {switch}, {after - before:+.1f} points."
            )
    measured = [x for x in falls if x.points]
    top = max(measured, key=lambda x: x.points[-1] - x.points[0])
    gain = top.points[-1] - top.points[0]
    label = NETS[top.net].label
    says.append(f"The gain is highest for {label}, {top.name}: {gain:+.1f}.")
    return " ".join(says)


def _caption(
    evidence: Evidence, falls: Sequence[Waterfall], missing: Sequence[str]
) -> str:
    whole = evidence.size.seeds
    says = (
        "Sound accuracy, then the published protocol's differences turned on one after "
        "another on the same checkpoints; the last bar is the published protocol. "
        f"Means over the seeds that have every point, {evidence.size.n:,} test images. "
        "A line without a bar: no difference for that net and attack. Diamonds: the "
        "paper's numbers, where they can be read. "
    )
    counts = {fall.seeds for fall in falls}
    if counts == {whole}:
        says += f"{whole} seeds."
    else:
        parts: dict[str, list[str]] = {}
        for fall in falls:
            if fall.seeds < whole:
                name = f"{NETS[fall.net].label} {fall.name}"
                text = f"{fall.seeds} of {whole} seeds" if fall.seeds else NOT_MEASURED
                parts.setdefault(text, []).append(name)
        some = [f"{text}: {', '.join(names)}." for text, names in parts.items()]
        says += " ".join([f"{whole} seeds where nothing else is said.", *some])
    if missing:
        labels = ", ".join(NETS[net].label for net in missing)
        says += f" Left out, {NOT_MEASURED}: {labels}."
    return says


def _data(falls: Sequence[Waterfall]) -> Table:
    rows: list[list[Cell]] = []
    for fall in falls:
        names = [NETS[fall.net].label, ATTACKS[fall.attack], fall.eps]
        if fall.points:
            rows.append([*names, ENDS[0], None, fall.points[0], fall.seeds])
            rows += [
                [*names, switch, after - before, after, fall.seeds]
                for switch, before, after in fall.steps
            ]
        rows.append([*names, "the paper", None, fall.printed, None])
    columns = ["net", "attack", "epsilon", "difference", "points", "accuracy, %"]
    return Table(f"Data of: {TITLE}", [*columns, "seeds"], rows, command=RUN)
