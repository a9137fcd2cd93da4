"""Accuracy against eps, drawn from a run's rows.

pictures = curves(rows)                  # one per norm
"""

import io
import itertools
import json
from collections.abc import Iterable
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symjax.evaluation.rows import Row
from symjax.formatting import attack_name, format_eps
from symjax.report.metric_rows import by_setting
from symjax.report.parts import Picture, Table

COLOURS = (  # Okabe and Ito (2008), but for the yellow, which is faint on white
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
DASHES = ("-", "--", ":", "-.")
OF_POINT = ("seed", "eps", "eps_given")
"""Entries in which the points of a curve differ."""
IMAGES = ("protocol", "n", "split", "epoch", "dtype", "run")
"""Entries in which a curve and its point at eps 0 agree."""


def curves(rows: Iterable[Row]) -> list[Picture]:
    """One picture per norm; none of an epsilon that differs between channels.

    Args:
      rows: of accuracy on clean images; diverged seeds are left out.
    """
    alive = [row for row in rows if not row["diverged"]]
    attacked = [x for x in alive if x["norm"] and not isinstance(x["eps"], list)]
    lines = [_point(row, row) for row in attacked]
    for curve in by_setting(attacked, OF_POINT):
        lines += [
            _point(curve[0], row)
            for row in alive
            if row["attack"] == "none" and all(row[x] == curve[0][x] for x in IMAGES)
        ]
    if not lines:
        return []
    of_norms = pd.DataFrame(lines).groupby("norm", sort=False)
    return [_picture(str(norm), _statistics(points)) for norm, points in of_norms]


def _point(row: Row, measured: Row) -> dict[str, Any]:
    """A point of the curve that a row is of."""
    return {
        "norm": row["norm"],
        "setting": json.dumps(row.identity_without(OF_POINT), sort_keys=True),
        "curve": f"{attack_name(row)}, {row['protocol']}, n={row['n']:,}",
        "eps": measured["eps"],
        "percent": 100 * measured["value"],
    }


def _statistics(points: pd.DataFrame) -> pd.DataFrame:
    """The seeds' "mean", "sd" and number by curve and eps; curves have one name each.

    Several settings of one attack are numbered.
    """
    settings: Any = points.groupby("curve")["setting"]
    number = settings.transform(lambda x: pd.factorize(x)[0] + 1).astype(str)
    several = settings.transform("nunique") > 1
    names = points["curve"] + (" (" + number + ")").where(several, "")
    ordered = points.assign(curve=pd.Categorical(names, names.unique()))
    by_eps = ordered.groupby(["curve", "eps"], observed=True)["percent"]
    return by_eps.agg(mean="mean", sd="std", seeds="count").reset_index()


def draw(norm: str, points: pd.DataFrame) -> Figure:
    """Means with markers, and bands of one standard deviation to either side.

    Args:
      norm: for the label.
      points: the columns "curve", "eps", "mean" and "sd", which is NaN of one seed.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axis = figure.subplots()
    looks = zip(*map(itertools.cycle, (COLOURS, MARKERS, DASHES)), strict=False)
    parts = points.groupby("curve", observed=True)
    for (name, part), (color, marker, dash) in zip(parts, looks, strict=False):
        eps, mean, sd = part["eps"], part["mean"], part["sd"].fillna(0)
        axis.fill_between(
            eps, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0
        )
        style = {"color": color, "marker": marker, "linestyle": dash, "clip_on": False}
        axis.plot(eps, mean, label=name, markersize=5, **style)
    _label(axis, norm, sorted(set(points["eps"])))
    return figure


def _label(axis: Axes, norm: str, eps: list[float]) -> None:
    axis.set_xlabel(f"eps, {norm}, pixels in [0, 1]")
    axis.set_ylabel("accuracy in %")
    axis.set_ylim(bottom=0)
    if len(eps) <= 7 and all("/" in format_eps(x) or x == 0 for x in eps):
        axis.set_xticks(eps, [format_eps(x) for x in eps])
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize="small")


def _picture(norm: Any, points: pd.DataFrame) -> Picture:
    name = f"Accuracy against eps, {norm}"
    text = io.StringIO()  # the same for the same rows
    with matplotlib.rc_context({"svg.hashsalt": norm, "svg.fonttype": "path"}):
        draw(norm, points).savefig(text, format="svg", metadata={"Date": None})
    words = []
    for curve, part in points.groupby("curve", observed=True):
        ends = part.iloc[[0, -1]].drop_duplicates("eps")[["mean", "eps"]].to_numpy()
        texts = [f"{mean:.1f} % at {format_eps(eps)}" for mean, eps in ends]
        words.append(f"{curve}: {' to '.join(texts)}")
    shown = points.astype(object).where(points.notna(), None)
    shown["eps"] = shown["eps"].map(format_eps)
    return Picture(
        name=name,
        svg=text.getvalue(),
        alt=f"Accuracy in percent against eps, {norm}. {'; '.join(words)}.",
        caption="Means over seeds; the band is one sample standard deviation to either "
        "side. At eps 0: clean accuracy on the same images.",
        data=Table(
            f"Data of: {name}",
            ["attack", "eps", "mean, %", "sd", "seeds"],
            shown.to_numpy().tolist(),
        ),
    )
