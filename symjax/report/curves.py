"""Accuracy against eps, drawn from a run's rows.

pictures = curves(kinds)                 # one a norm
"""

import io
import itertools
import json
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symjax.evaluation.rows import Row
from symjax.formatting import attack_name, format_eps
from symjax.report.parts import Cell, Picture, Table
from symjax.statistics import mean_and_sd

COLOURS = (  # Okabe and Ito (2008), but for the yellow, which is faint on white
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
DASHES = ("-", "--", ":", "-.")


class Curve(NamedTuple):
    """One attack: its name, and at each eps the accuracies of the seeds in percent."""

    name: str
    points: dict[float, list[float]]


def curves(kinds: Sequence[Sequence[Row]]) -> list[Picture]:
    """One picture a norm; none of an epsilon that differs between channels.

    Args:
      kinds: rows of accuracy on clean images; those of one kind differ in the seed.
    """
    norms = dict.fromkeys(kind[0]["norm"] for kind in kinds if kind[0]["norm"])
    return [_picture(norm, found) for norm in norms if (found := _of_norm(kinds, norm))]


def draw(norm: str, found: Sequence[Curve]) -> Figure:
    """Means with markers, and a band of one standard deviation to either side."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axis = figure.subplots()
    looks = zip(
        itertools.cycle(COLOURS),
        itertools.cycle(MARKERS),
        itertools.cycle(DASHES),
        strict=False,
    )
    for curve, (colour, marker, dash) in zip(found, looks, strict=False):
        eps = sorted(curve.points)
        mean, sd = zip(*(mean_and_sd(curve.points[x]) for x in eps), strict=True)
        low, high = (
            [m + sign * (s or 0.0) for m, s in zip(mean, sd, strict=True)]
            for sign in (-1, 1)
        )
        axis.fill_between(eps, low, high, color=colour, alpha=0.2, linewidth=0)
        style = {"color": colour, "marker": marker, "linestyle": dash, "clip_on": False}
        axis.plot(eps, mean, label=curve.name, markersize=5, **style)
    _label(axis, norm, sorted({eps for curve in found for eps in curve.points}))
    return figure


def _label(axis: Axes, norm: str, eps: Sequence[float]) -> None:
    axis.set_xlabel(f"eps, {norm}, pixels in [0, 1]")
    axis.set_ylabel("accuracy in %")
    axis.set_ylim(bottom=0)
    if len(eps) <= 7 and all("/" in format_eps(x) or x == 0 for x in eps):
        axis.set_xticks(eps, [format_eps(x) for x in eps])
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize="small")


def _of_norm(kinds: Sequence[Sequence[Row]], norm: str) -> list[Curve]:
    """The curves of a norm, each from the clean accuracy at 0, if it is there."""
    found: dict[str, Curve] = {}
    for kind in kinds:
        row, values = kind[0], _values(kind)
        if row["norm"] != norm or not isinstance(row["eps"], float | int) or not values:
            continue
        settings = row.identity_without(("seed", "eps", "eps_given"))
        key = json.dumps(settings, sort_keys=True)
        if key not in found:
            name = f"{attack_name(row)}, {row['protocol']}, n={row['n']:,}"
            found[key] = Curve(name, _clean(kinds, row))
        found[key].points[row["eps"]] = values
    names = [curve.name for curve in found.values()]
    return [  # of several settings of one attack
        curve
        if names.count(curve.name) == 1
        else curve._replace(
            name=f"{curve.name} ({names[: place + 1].count(curve.name)})"
        )
        for place, curve in enumerate(found.values())
    ]


def _clean(kinds: Sequence[Sequence[Row]], row: Row) -> dict[float, list[float]]:
    """The point at eps 0, of the same images and nets."""
    alike = ("protocol", "n", "split", "epoch", "dtype", "run")
    for kind in kinds:
        clean = kind[0]
        same = all(clean.get(name) == row.get(name) for name in alike)
        if clean["attack"] == "none" and same and (values := _values(kind)):
            return {0.0: values}
    return {}


def _values(kind: Sequence[Row]) -> list[float]:
    return [100 * row["value"] for row in kind if not row.get("diverged")]


def _picture(norm: str, found: Sequence[Curve]) -> Picture:
    rows: list[list[Cell]] = []
    for curve in found:
        for eps, values in sorted(curve.points.items()):
            measured = *mean_and_sd(values), len(values)
            rows.append([curve.name, format_eps(eps), *measured])
    columns = ["attack", "eps", "mean, %", "sd", "seeds"]
    name = f"Accuracy against eps, {norm}"
    caption = "Means over seeds; the band is one sample standard deviation to either "
    caption += "side. At eps 0: clean accuracy on the same images."
    return Picture(
        name=name,
        svg=_svg(draw(norm, found), norm),
        alt=f"Accuracy in percent against eps, {norm}. {_in_words(found)}",
        caption=caption,
        data=Table(f"Data of: {name}", columns, rows),
    )


def _in_words(found: Sequence[Curve]) -> str:
    """Where each curve begins and ends."""
    says = []
    for curve in found:
        first, last = min(curve.points), max(curve.points)
        low, high = (
            f"{mean_and_sd(curve.points[x])[0]:.1f} % at {format_eps(x)}"
            for x in (first, last)
        )
        says.append(f"{curve.name}: {low}" + (f" to {high}" if last > first else ""))
    return "; ".join(says) + "."


def _svg(figure: Figure, salt: str) -> str:
    """Its text; the same for the same figure."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
