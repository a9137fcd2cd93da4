"""A sandwich: proven below, attacked above, and CLEVER's estimates laid over it.

    python -m symjax.report.sandwich RUN [RUN ...] --out sandwich.png

One row of panels a run, one panel a norm. The distance of the nearest error lies
between the two curves, whatever the net. A CLEVER score estimates that distance; one
above the upper curve is refuted by an error that is there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from symjax.evaluation.results import Row, read

NORMS = ("linf", "l2", "l1")
ABREAST = 4  # panels, of one norm
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"  # apart for the colour-blind too


class Sandwich(NamedTuple):
    """What is known of the images of one run in one norm; seeds one after the other.

    Attributes:
      run, norm: which.
      seeds, n: how many nets, and images of each.
      bound, distance, score: `[m]`, of the images that are classified correctly and
        have an error that was found, by distance.
      wrong, open: how many images of all were misclassified, or had no error found.
    """

    run: str
    norm: str
    seeds: int
    n: int
    bound: np.ndarray
    distance: np.ndarray
    score: np.ndarray
    wrong: int
    open: int

    @property
    def refuted(self) -> int:
        """How many scores exceed the distance of an error."""
        return int(np.sum(self.score > self.distance))


def sandwiches(folder: Path) -> list[Sandwich]:
    """What a run's rows say, one sandwich a norm.

    Of several rows of a seed and norm, that with the most images counts, and of these
    the last; of both metrics the first images that both have.

    Args:
      folder: a run folder.

    Raises:
      ValueError: if a metric was not measured, or not in a norm or for a seed that the
        other has; it names the command.
    """
    rows = read([folder / "results.jsonl"])
    attacked, estimated = (_largest(rows, name) for name in ("distance", "clever"))
    for metric, there, other in (
        ("distance", attacked, estimated),
        ("clever", estimated, attacked),
    ):
        missing = sorted(set(other) - set(there)) if there else [("any norm", "any")]
        if missing:
            norm, seed = missing[0]
            option = f" --norm {norm}" if there else ""
            raise ValueError(
                f"{folder} has no {metric} rows of {norm}, seed {seed}: measure them "
                f"by `python evaluate.py --metric {metric} --run {folder}{option}`."
            )
    norms = [norm for norm in NORMS if any(norm == key[0] for key in attacked)]
    return [_of_norm(folder, norm, attacked, estimated) for norm in norms]


def draw(found: Sequence[Sequence[Sandwich]]) -> Figure:
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
    axes[0, 0].legend(loc="lower right", fontsize="small")
    return figure


def _largest(rows: Sequence[Row], metric: str) -> dict[tuple[str, int], Row]:
    """The row with the most images of each norm and seed."""
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        if row.get("metric") != metric or row.get("diverged"):
            continue
        key = row["norm"], row["seed"]
        if key not in found or row["n"] >= found[key]["n"]:
            found[key] = row
    return found


def _of_norm(folder: Path, norm: str, attacked, estimated) -> Sandwich:
    keys = sorted(key for key in attacked if key[0] == norm)
    rows = [(attacked[key], estimated[key]) for key in keys]
    n = min(row["n"] for pair in rows for row in pair)
    above, over = [], []
    for attack_row, clever_row in rows:
        above.append(_cell(folder, attack_row, ("bound", "distance", "correct"), n))
        over.append(_cell(folder, clever_row, ("score", "correct"), n))
    bound, distance, correct = (np.concatenate(x) for x in zip(*above, strict=True))
    score, predicted = (np.concatenate(x) for x in zip(*over, strict=True))
    if (correct != predicted).any():
        raise ValueError(
            f"{folder}, {norm}: CLEVER and the attack do not agree on which images are "
            "classified correctly: the rows are not of the same nets and images."
        )
    shown = correct & np.isfinite(distance)
    order = np.flatnonzero(shown)[np.argsort(distance[shown], kind="stable")]
    return Sandwich(
        run=folder.resolve().name,
        norm=norm,
        seeds=len(rows),
        n=n,
        bound=bound[order],
        distance=distance[order],
        score=score[order],
        wrong=int(np.sum(~correct)),
        open=int(np.sum(correct & ~shown)),
    )


def _cell(folder: Path, row: Row, names: Sequence[str], n: int) -> list[np.ndarray]:
    """The first n outcomes of a row."""
    path = folder / "cells" / f"{row['cell_id']}.npz"
    if not path.exists():
        raise ValueError(
            f"{path} is not there, but its row is: remove the row of cell "
            f"{row['cell_id']} from {folder / 'results.jsonl'} and measure it again."
        )
    with np.load(path) as kept:
        return [kept[name][:n] for name in names]


def _draw(axis: Axes, found: Sandwich) -> None:
    place = np.arange(len(found.distance))
    bound, score = (np.where(x > 0, x, np.nan) for x in (found.bound, found.score))
    refuted = found.score > found.distance
    axis.fill_between(place, bound, found.distance, color=GREY, alpha=0.25, lw=0)
    axis.plot(place, found.distance, color="black", label="error found (FAB)")
    axis.plot(place, bound, color=BLUE, label="proven (intervals)")
    axis.plot(place[~refuted], score[~refuted], ".", color=GREY, label="CLEVER")
    axis.plot(place[refuted], score[refuted], ".", color=ORANGE, label="refuted")
    axis.set_yscale("log")
    axis.set_xlabel("images, by distance of the error")
    axis.set_ylabel(f"{found.norm}, pixels in [0, 1]")
    left = [f"{found.wrong} misclassified"] + [f"{found.open} open"] * (found.open > 0)
    axis.set_title(
        f"{found.run}: CLEVER refuted on {found.refuted} of {len(place)}\n"
        f"({', '.join(left)} of {found.n} images x {found.seeds} seeds left out)",
        fontsize="small",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the flags, writes the figure; 2 where there is nothing to draw."""
    parser = argparse.ArgumentParser(prog="python -m symjax.report.sandwich")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, required=True, help="png, pdf or svg")
    flags = parser.parse_args(arguments)
    try:
        found = [sandwiches(folder) for folder in flags.runs]
        draw(found).savefig(flags.out, dpi=150)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for each in (sandwich for row in found for sandwich in row):
        shown = len(each.distance)
        print(f"{each.run}, {each.norm}: CLEVER refuted on {each.refuted} of {shown}")
    print(f"figure in {flags.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
