"""The paper's Figures 1, 2 and 6: accuracy against epsilon, of nets beside nets.

curves(evidence, 2, 10, "published")     # Figure 2, ten layers
curves(evidence, 2, 10, "sound")         # the same nets; None if nothing is there
bars(evidence)                           # Figure 6
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from symjax.evaluation.protocol import SOUND
from symjax.report.parts import Cell, Table
from symjax.study import published
from symjax.study.drawing import (
    ACCURACY,
    ATTACKS,
    DATASETS,
    NETS,
    NOT_MEASURED,
    PIXEL_EPS,
    PUBLISHED_EPS,
    WIDTH,
    Drawn,
    band,
    coverage,
    handle,
    highest,
    legend,
    measured,
    style,
    summary,
)
from symjax.study.evidence import Evidence, Line
from symjax.study.tables import RUN

TWO = ("fgsm", "pgd")
TICKS = (0.01, 0.03, 0.05, 0.07, 0.09, 0.11, 0.13, 0.15)
SPREAD = "one sample standard deviation over the seeds to either side"


@dataclasses.dataclass(frozen=True)
class Panel:
    """One data set and attack.

    Attributes:
      dataset, attack: in words.
      printed: by net, the paper's epsilons and percent, NaN where it has none.
      ours: by net.
    """

    dataset: str
    attack: str
    printed: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ours: Mapping[str, Line | None]

    @property
    def name(self) -> str:
        """Its heading."""
        return f"{self.dataset}, {self.attack}"

    @property
    def eps(self) -> list[float]:
        """Those of the paper."""
        return sorted({x for eps, _ in self.printed.values() for x in eps.tolist()})


def curves(evidence: Evidence, number: int, depth: int, protocol: str) -> Drawn | None:
    """Figure 1 or 2: two data sets by two attacks, five nets.

    Args:
      evidence: the study's rows.
      number, depth: 1 and 4, or 2 and 10.
      protocol: "published", beside the paper's numbers, or "sound", by itself.

    Returns:
      None if it is sound and nothing is measured.
    """
    artefact = f"figure {number}"
    panels = [
        panel_of(
            evidence, artefact, protocol, published.run(dataset, depth, "{}"), attack
        )
        for dataset, attack in itertools.product(DATASETS, TWO)
    ]
    is_sound = protocol == "sound"
    if is_sound and not any_measured(panels):
        return None
    says = "sound" if is_sound else "published"
    title = f"Figure {number}: nets of {depth} layers, {says} protocol"
    return Drawn(
        f"figure-{number}" + ("-sound" if is_sound else ""),
        title,
        _draw_curves(panels, is_sound),
        in_words(f"{title}: accuracy against epsilon.", panels, is_sound),
        _caption(evidence, panels, is_sound),
        data(title, panels, is_sound),
    )


def panel_of(evidence, artefact: str, protocol: str, run: str, attack: str) -> Panel:
    """`run` is a run's name, with {} in place of its net."""
    nets = [
        net
        for net in NETS
        if any(
            (cell.artefact, cell.training) == (artefact, run.format(net))
            for cell in published.cells()
        )
    ]
    printed = {net: _printed(artefact, run.format(net), attack) for net in nets}
    ours = {net: evidence.line(run.format(net), protocol, attack) for net in nets}
    return Panel(DATASETS[run.split("-")[0]], ATTACKS[attack], printed, ours)


def _printed(artefact: str, run: str, attack: str) -> tuple[np.ndarray, np.ndarray]:
    wanted = artefact, run, attack
    cells = [
        cell
        for cell in published.cells()
        if (cell.artefact, cell.training, cell.attack) == wanted
    ]
    percent = [np.nan if cell.percent is None else cell.percent for cell in cells]
    return np.array([cell.eps for cell in cells]), np.array(percent, float)


def any_measured(panels: Sequence[Panel]) -> bool:
    return any(measured(line) for panel in panels for line in panel.ours.values())


def _draw_curves(panels: Sequence[Panel], is_sound: bool) -> Figure:
    with style():
        figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True, sharey="row")
        for axis, panel in zip(axes.flat, panels, strict=True):
            _draw_panel(axis, panel, is_sound)
        for axis in axes[:, 0]:
            axis.set_ylabel(ACCURACY)
            axis.set_ylim(bottom=0)
        for axis in axes[-1]:
            axis.set_xlabel(PIXEL_EPS if is_sound else PUBLISHED_EPS)
        handles = _curve_handles(panels, is_sound)
        legend(figure, handles, 4 if len(handles) > 6 else 3)
    return figure


def _draw_panel(axis: Axes, panel: Panel, is_sound: bool) -> None:
    for net, (eps, percent) in panel.printed.items():
        if not is_sound:
            axis.plot(eps, percent, label=f"{net}, published", **NETS[net].published())
        line = panel.ours[net]
        if line is not None and measured(line):
            looks = NETS[net].alone() if is_sound else NETS[net].ours()
            band(axis, line, label=f"{net}, ours", **looks)
    axis.set_title(panel.name)
    axis.set_xticks(TICKS)


def _curve_handles(panels: Sequence[Panel], is_sound: bool) -> list[Any]:
    nets = [NETS[net] for net in panels[0].printed]
    if is_sound:
        return [
            *(handle(look.label, **look.alone()) for look in nets),
            Patch(color="#777777", alpha=0.3, linewidth=0, label="± 1 sd over seeds"),
        ]
    grey = dataclasses.replace(nets[0], colour="#777777")
    if not any_measured(panels):
        return [
            *(handle(look.label, **look.published()) for look in nets),
            handle("published", **grey.published()),
        ]
    return [
        *(handle(look.label, **look.ours()) for look in nets),
        handle("published", **grey.published()),
        handle("ours, mean", **grey.ours()),
        Patch(color="#777777", alpha=0.3, linewidth=0, label="ours, ± 1 sd"),
    ]


def in_words(begin: str, panels: Sequence[Panel], is_sound: bool) -> str:
    """Which net is highest in every panel."""
    says = [begin]
    for panel in panels:
        parts = []
        if not is_sound:
            printed = {NETS[net].label: x for net, (_, x) in panel.printed.items()}
            parts.append(f"published, {highest(panel.eps, printed)}")
        parts.append(_ours_in_words(panel, "" if is_sound else "ours, "))
        says.append(f"{panel.name}: {'; '.join(parts)}.")
    if not any_measured(panels):
        says = [part.replace(f"; ours, {NOT_MEASURED}", "") for part in says]
        says.append(f"Ours: {NOT_MEASURED}.")
    return " ".join(says)


def _ours_in_words(panel: Panel, begin: str) -> str:
    values = {}
    for net, line in panel.ours.items():
        found = [summary(line, x)[0] for x in panel.eps]
        values[NETS[net].label] = [np.nan if x is None else x for x in found]
    return begin + highest(panel.eps, values)


def coverage_of(panels: Sequence[Panel]) -> str:
    return coverage(
        {
            (f"{panel.dataset} {NETS[net].label}", panel.attack): line
            for panel in panels
            for net, line in panel.ours.items()
        }
    )


def _caption(evidence: Evidence, panels: Sequence[Panel], is_sound: bool) -> str:
    says = f"Accuracy, mean over the seeds; ours on {evidence.size.n:,} test images. "
    if is_sound:
        says += (
            "Epsilons are radii in pixel units, about twice those that the paper's "
            f"numbers stand for: valid pixels, running averages, PGD-40, best iterate "
            f"of {SOUND.n_restarts} random starts. The band is {SPREAD}. "
        )
    else:
        says += (
            "Hollow markers, dotted: the paper's numbers, read off its plots to about "
            f"{published.READ_OFF:g} points; where a marker was hidden there is none. "
        )
        if any_measured(panels):
            says += "Filled, solid: ours under each net's published protocol; the "
            says += f"band is {SPREAD}. "
    return says + coverage_of(panels)


def data(title: str, panels: Sequence[Panel], is_sound: bool) -> Table:
    rows: list[list[Cell]] = []
    for panel in panels:
        for net, (radii, percent) in panel.printed.items():
            for eps, value in zip(radii.tolist(), percent.tolist(), strict=True):
                printed = value if np.isfinite(value) else None
                found = summary(panel.ours[net], eps)
                names = [NETS[net].label, panel.dataset, panel.attack, eps]
                rows.append([*names, *([] if is_sound else [printed]), *found])
    columns = ["net", "data set", "attack", "epsilon"]
    columns += [] if is_sound else ["published, %"]
    columns += ["ours, %", "sd", "seeds"]
    return Table(f"Data of: {title}", columns, rows, command=RUN)
