"""The metrics that `evaluate.py --metric` takes, by name.

rows = measure(run, store, figures("clever", norms=("l2",)), n=100)
"""

from typing import Any

from symjax.evaluation import clever, symmetry
from symjax.evaluation.figure import Figure, measure

__all__ = ["METRICS", "figures", "measure"]

METRICS = {"clever": clever.figures, "symmetry": symmetry.figures}


def figures(name: str, **options: Any) -> list[Figure]:
    """What there is to measure of a metric.

    Args:
      name: one of `METRICS`.
      **options: of its function; None: as it has them.

    Raises:
      ValueError: for another metric.
    """
    if name not in METRICS:
        raise ValueError(f"metric {name!r}: expected one of {list(METRICS)}.")
    said = {key: value for key, value in options.items() if value is not None}
    return METRICS[name](**said)
