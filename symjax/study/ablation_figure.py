"""The paper's Figure 6: what the branches of the parallel nets bring, on CIFAR-100.

bars(evidence)                 # the paper's bars beside ours
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from symjax.study import published
from symjax.study.accuracy_figures import (
    SPREAD,
    TWO,
    Panel,
    any_measured,
    coverage_of,
    data,
    in_words,
    panel_of,
)
from symjax.study.drawing import (
    ACCURACY,
    NETS,
    PUBLISHED_EPS,
    WIDTH,
    Drawn,
    legend,
    place,
    seeds,
    style,
)
from symjax.study.evidence import Evidence


def bars(evidence: Evidence) -> Drawn:
    """Figure 6: what the branches of the parallel nets bring, on CIFAR-100.

    Args:
      evidence: the study's rows.
    """
    says = published.numbers()["figure6_ablation"]
    run = published.run(says["dataset"], says["depth"], "{}")
    panels = [
        panel_of(evidence, "figure 6", "published", run, attack) for attack in TWO
    ]
    title = "Figure 6: rotation, scale and both, CIFAR-100, 10 layers"
    caption = (
        "Accuracy, mean over the seeds, in groups of one epsilon. Hatched: the paper's "
        "numbers. "
    )
    if any_measured(panels):
        caption += (
            "Filled: ours under each net's published protocol, "
            f"{evidence.size.n:,} test images, with {SPREAD}. The scale-only net's "
            "protocol is not published and is taken from the net of both. "
        )
    return Drawn(
        "figure-6",
        title,
        _draw_bars(panels),
        in_words(f"{title}: bars of accuracy.", panels, False),
        caption + coverage_of(panels),
        data(title, panels, False),
    )


def _draw_bars(panels: Sequence[Panel]) -> Figure:
    with style():
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, sharey=True)
        for axis, panel in zip(axes, panels, strict=True):
            _draw_groups(axis, panel)
            axis.set(title=panel.name, ylabel=ACCURACY)
            axis.grid(visible=False, axis="x")
        eps = panels[0].eps
        axes[-1].set_xticks(range(len(eps)), [f"{x:g}" for x in eps])
        axes[-1].set_xlabel(PUBLISHED_EPS)
        handles = [
            Patch(color=NETS[net].colour, label=NETS[net].label)
            for net in panels[0].printed
        ]
        handles.append(Patch(**_outline("#777777"), label="published"))
        if any_measured(panels):
            handles.append(Patch(color="#777777", label="ours, ± 1 sd"))
        legend(figure, handles, 3)
    return figure


def _draw_groups(axis: Axes, panel: Panel) -> None:
    width = 0.8 / (2 * len(panel.printed))
    for number, (net, (_, percent)) in enumerate(panel.printed.items()):
        colour, line = NETS[net].colour, panel.ours[net]
        left = np.arange(len(percent)) - 0.4 + (2 * number + 0.5) * width
        axis.bar(left, percent, 0.9 * width, **_outline(colour), label=f"{net}, paper")
        there = [(x, at) for x, eps in zip(left, panel.eps, strict=True)
                 if (at := place(line, eps)) is not None]  # fmt: skip
        if line is None or not there:
            continue
        where, at = np.array([x for x, _ in there]), [at for _, at in there]
        look: dict[str, Any] = {"color": colour, "label": f"{net}, ours"}
        axis.bar(where + width, line.mean[at], 0.9 * width, **look)
        several = seeds(line)[at] > 1
        shown = (where + width)[several], line.mean[at][several]
        bar: dict[str, Any] = {
            "fmt": "none",
            "ecolor": "#555555",
            "capsize": 2,
            "elinewidth": 1,
        }
        axis.errorbar(*shown, yerr=line.sd[at][several], **bar)


def _outline(colour: str) -> dict[str, Any]:
    hatch = {"hatch": "/////", "linewidth": 0.9}
    return {"facecolor": "white", "edgecolor": colour, **hatch}
