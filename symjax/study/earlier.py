"""What shorter trainings say already: ten layers, matched trunk, twelve epochs.

    table = differences(read(Path("results/study")))

These runs are no part of the study, whose nets are trained for as long as the published
ones; they are the same nets, trained alike, and the seeds of each net are known, but
not what each image came to. So the interval is Welch's, over the seeds alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from symjax.evaluation import results
from symjax.evaluation.rows import Row
from symjax.formatting import attack_name, format_eps
from symjax.report.parts import Cell, Table

FILE = "cifar10_10_layers.jsonl"
BASE = "baseline"


def read(folder: Path) -> list[Row]:
    """The rows, which lie beside the study's folder; none if they are not there."""
    return results.read([Path(folder).resolve().parent / FILE])


def values(
    rows: Sequence[Row], net: str, attack: str, eps: float, n: int
) -> np.ndarray:
    """Accuracy of a net's seeds, in percent."""
    return np.array(
        [
            100 * row["value"]
            for row in rows
            if (row["model"], attack_name(row), row["n"]) == (net, attack, n)
            and np.isclose(row["eps"], eps)
            and not row["diverged"]
        ]
    )


def differences(rows: Sequence[Row]) -> Table:
    """Every net against the baseline, under every attack that both have."""
    cells = dict.fromkeys((attack_name(x), x["eps"], x["n"]) for x in rows)
    nets = [x for x in dict.fromkeys(row["model"] for row in rows) if x != BASE]
    lines: list[list[Cell]] = []
    for attack, eps, n in cells:
        base = values(rows, BASE, attack, eps, n)
        for net in nets:
            ours = values(rows, net, attack, eps, n)
            if min(len(ours), len(base)) > 1:
                words = "clean" if attack == "none" else f"{attack} {format_eps(eps)}"
                line = [words, net, n, float(base.mean()), float(ours.mean())]
                lines.append([*line, *_welch(ours, base)])
    columns = ["attack", "net", "images", "baseline", "net's"]
    columns += ["difference (95 % interval)", "against the baseline"]
    caption = (
        "CIFAR-10, 10 layers, matched trunk, 12 epochs, five seeds, sound protocol "
        "with one start of PGD. Accuracy in %, differences in points with Welch's "
        "interval over the seeds, not corrected for the number of comparisons."
    )
    command = "see results/README.md"
    return Table("Trained for twelve epochs", columns, lines, caption, command)


def _welch(ours: np.ndarray, base: np.ndarray) -> tuple[str, str]:
    gap = ours.mean() - base.mean()
    if np.ptp(ours) == np.ptp(base) == 0:
        return f"{gap:+.2f}", "open" if gap == 0 else ("above" if gap > 0 else "below")
    found = stats.ttest_ind(ours, base, equal_var=False).confidence_interval(0.95)
    words = "above" if found.low > 0 else "below" if found.high < 0 else "open"
    return f"{gap:+.2f} ({found.low:+.2f} to {found.high:+.2f})", words


def sentence(rows: Sequence[Row]) -> str:
    """How the nets compare under PGD, in words; empty without rows."""
    lines = [x for x in differences(rows).rows if str(x[0]).startswith("pgd")]
    if not lines:
        return ""
    words = [str(line[-1]) for line in lines]
    counts = ", ".join(f"{words.count(x)} {x}" for x in ("above", "below", "open"))
    return (
        f"twelve epochs, matched trunk, five seeds, sound PGD-40, {lines[0][2]:,} "
        f"images: of {len(lines)} comparisons with the baseline {counts}"
    )
