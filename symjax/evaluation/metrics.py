"""The metrics that `evaluate.py --metric` takes, by name.

rows = measure(run, store, figures("clever", norms=("l2",)), n=100)
"""

from typing import Any

from symjax.evaluation import clever, symmetry
from symjax.evaluation.figure import Figure, measure

__all__ = ["METRICS", "figures", "measure"]

METRICS = {"clever": clever.figures, "symmetry": symmetry.figures}


def figures(name: str, only: str = "", **options: Any) -> list[Figure]:
    """What there is to measure of a metric.

    Args:
      name: one of `METRICS`.
      only: those whose name begins so.
      **options: of its function; None: as it has them.

    Raises:
      ValueError: for another metric, or if no figure has such a name.
    """
    if name not in METRICS:
        raise ValueError(f"metric {name!r}: expected one of {list(METRICS)}.")
    said = {key: value for key, value in options.items() if value is not None}
    found = METRICS[name](**said)
    chosen = [each for each in found if each.says["metric"].startswith(only)]
    if not chosen:
        names = sorted({each.says["metric"] for each in found})
        raise ValueError(f"only={only!r}: expected the beginning of one of {names}.")
    return chosen
