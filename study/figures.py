"""The study's figures, for the page and as files; what is not measured says so.

    pictures(evidence)                            # for symjax.report.page
    save(evidence, Path("docs/figures/study"))    # PNG and SVG

Figures 1, 2, 5 and 6 hold the paper's numbers and are always there; the others are left
out until something of them is measured.
"""

from pathlib import Path

from symjax.report.parts import Picture
from symjax.study.ablation_figure import bars
from symjax.study.accuracy_figures import curves
from symjax.study.attribution_figure import attribution
from symjax.study.controlled_figure import controlled
from symjax.study.drawing import Drawn
from symjax.study.evidence import Evidence
from symjax.study.tolerance_figure import tolerance

DEPTHS = {1: 4, 2: 10}
"""Layers of the nets of Figures 1 and 2."""


def pictures(evidence: Evidence) -> list[Picture]:
    """The figures with what they show in words and numbers.

    Args:
      evidence: the study's rows.
    """
    return [each.picture for each in drawn(evidence)]


def save(evidence: Evidence, folder: Path) -> list[Path]:
    """Writes the figures as `<name>.png` and `<name>.svg`.

    Args:
      evidence: the study's rows.
      folder: made if it is not there.

    Returns:
      The files, in the order of `drawn`.
    """
    return [path for each in drawn(evidence) for path in each.save(folder)]


def drawn(evidence: Evidence) -> list[Drawn]:
    """The figures that there are: both of a picture and of its files.

    Args:
      evidence: the study's rows.
    """
    every = [
        *(curves(evidence, number, depth, "published") for number, depth in _depths()),
        *(curves(evidence, number, depth, "sound") for number, depth in _depths()),
        bars(evidence),
        tolerance(evidence),
        attribution(evidence),
        controlled(evidence),
    ]
    return [each for each in every if each is not None]


def _depths() -> list[tuple[int, int]]:
    return list(DEPTHS.items())
