"""Nets that differ in one thing alone, trained alike: dots, a line a net.

controlled(evidence)           # None if nothing is measured
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symjax.formatting import format_eps
from symjax.report.parts import Cell, Table
from symjax.study.drawing import (
    ACCURACY,
    ATTACKS,
    NETS,
    NOT_MEASURED,
    WIDTH,
    Drawn,
    Look,
    coverage,
    handle,
    legend,
    measured,
    style,
    summary,
)
from symjax.study.evidence import Evidence, Line
from symjax.study.measurements import PIXELS
from symjax.study.tables import RUN
from symjax.study.trainings import CONTROLLED, TRAININGS

BASELINE = "cifar10-10-baseline-matched"
WORDS = {"fgsm": "FGSM in training", "turned": "turned images", "flatten": "flattened"}
PANELS = (("clean", ("none",), 0.0), *((format_eps(x), ("pgd", "autoattack"), x)
          for x in PIXELS))  # fmt: skip
OFFSETS = {"none": 0.0, "pgd": -0.17, "autoattack": 0.17}
GUIDES = {"none": "--", "pgd": "--", "autoattack": ":"}
TITLE = "Controlled comparison: nets that differ in one thing"


@dataclasses.dataclass(frozen=True)
class Net:
    """One run.

    Attributes:
      run: its name.
      label: its name for people.
      look: how its net is drawn.
      lines: by attack.
    """

    run: str
    label: str
    look: Look
    lines: dict[str, Line | None]

    @property
    def measured(self) -> bool:
        """Whether there is anything of it."""
        return any(measured(line) for line in self.lines.values())


def controlled(evidence: Evidence) -> Drawn | None:
    """Clean accuracy, PGD and AutoAttack of the matched nets, a line a net.

    Args:
      evidence: the study's rows.

    Returns:
      None if nothing is measured.
    """
    every = [_net(evidence, x.name) for x in TRAININGS.values() if x.kind == CONTROLLED]
    nets = [net for net in every if net.measured]
    if not nets:
        return None
    size = evidence.size
    caption = (
        "CIFAR-10, 10 layers, matched trunk, trained alike, sound protocol; epsilons "
        "in pixel units of [0, 1]. Dots: means, bars: one sample standard deviation "
        "over the seeds to either side. Vertical: the baseline. Each panel has a scale "
        f"of its own. {size.n:,} test images, of AutoAttack {size.n_autoattack:,}. "
    )
    lines = {
        (net.label, ATTACKS[attack]): line
        for net in every
        for attack, line in net.lines.items()
    }
    figure = _draw(nets)
    caption += coverage(lines)
    return Drawn("controlled", TITLE, figure, _alt(nets), caption, _data(nets))


def _net(evidence: Evidence, run: str) -> Net:
    look = NETS[run.split("-")[2]]
    variant = run.partition("-matched-")[2]
    label = look.label + (f", {WORDS.get(variant, variant)}" if variant else "")
    attacks = ("none", "pgd", "autoattack")
    lines = {attack: evidence.line(run, "sound", attack) for attack in attacks}
    return Net(run, label, look, lines)


def _draw(nets: Sequence[Net]) -> Figure:
    with style():
        height = 1.2 + 0.34 * len(nets)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(1, len(PANELS), sharey=True)
        for axis, (title, attacks, eps) in zip(axes, PANELS, strict=True):
            for attack in attacks:
                _draw_panel(axis, nets, attack, eps)
            axis.set_title(title if eps == 0 else f"epsilon {title}")
            axis.locator_params(axis="x", nbins=4)
            axis.margins(x=0.12)
        labels = [net.label.replace(", ", ",\n") for net in nets]
        axes[0].set_yticks(range(len(nets)), labels)
        axes[0].set_ylim(len(nets) - 0.5, -0.5)
        axes[len(PANELS) // 2].set_xlabel(ACCURACY)
        legend(figure, _handles(), 5)
    return figure


def _draw_panel(axis: Axes, nets: Sequence[Net], attack: str, eps: float) -> None:
    for line, net in enumerate(nets):
        mean, sd, _ = summary(net.lines[attack], eps)
        if mean is None:
            continue
        if net.run == BASELINE:
            guide = {"color": "#777777", "linewidth": 0.8, "zorder": 1}
            axis.axvline(mean, linestyle=GUIDES[attack], **guide)
        look = _look(net.look.colour, net.look.marker, attack)
        where = mean, line + OFFSETS[attack]
        axis.errorbar(*where, xerr=sd, label=f"{net.run}, {attack}", **look)


def _look(colour: str, marker: str, attack: str) -> dict[str, Any]:
    face = "white" if attack == "autoattack" else colour
    marks = {"marker": marker, "markersize": 4.5, "markerfacecolor": face}
    bars = {"linestyle": "none", "elinewidth": 1, "capsize": 2}
    return {"color": colour, "markeredgewidth": 0.9} | marks | bars


def _handles() -> list:
    dots, guides = [], []
    for attack, says in (("pgd", "clean or PGD"), ("autoattack", "AutoAttack")):
        look = {**_look("#555555", "o", attack), "elinewidth": None, "capsize": None}
        look = {name: value for name, value in look.items() if value is not None}
        dots.append(handle(says, **look))
        look = {"color": "#777777", "linewidth": 0.8, "linestyle": GUIDES[attack]}
        guides.append(handle(f"baseline, {says}", **look))
    return dots + guides


def _alt(nets: Sequence[Net]) -> str:
    says = [f"{TITLE}, as dots in {len(PANELS)} panels."]
    for title, attacks, eps in PANELS:
        for attack in attacks:
            found = {x.label: summary(x.lines[attack], eps)[0] for x in nets}
            values = {label: x for label, x in found.items() if x is not None}
            name = ATTACKS[attack] + (f" at {title}" if eps else "")
            if values:
                says.append(_extremes(name, values))
            elif any(_asked(net, attack, eps) for net in nets):
                says.append(f"{name}: {NOT_MEASURED}.")
    return " ".join(says)


def _asked(net: Net, attack: str, eps: float) -> bool:
    line = net.lines[attack]
    return line is not None and any(abs(x - eps) < 1e-9 for x in line.eps)


def _extremes(name: str, values: dict[str, float]) -> str:
    top, low = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    says = f"{name[0].upper()}{name[1:]}: {top} is highest, {values[top]:.1f} %"
    if low != top:
        says += f", {low} is lowest, {values[low]:.1f} %"
    base = NETS["baseline"].label
    if base in values and base not in (top, low):
        says += f", {base} {values[base]:.1f} %"
    return f"{says}."


def _data(nets: Sequence[Net]) -> Table:
    rows: list[list[Cell]] = []
    for net in nets:
        for title, attacks, eps in PANELS:
            for attack in attacks:
                if _asked(net, attack, eps):
                    found = summary(net.lines[attack], eps)
                    at = title if eps else "0"
                    rows.append([net.label, ATTACKS[attack], at, *found])
    columns = ["net", "attack", "epsilon", "accuracy, %", "sd", "seeds"]
    return Table(f"Data of: {TITLE}", columns, rows, command=RUN)
