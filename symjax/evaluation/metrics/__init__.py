"""The metrics that `evaluate.py --metric` takes, by name.

rows = measure(run, store, figures("clever", norms=("l2",)), n=100)
"""

import inspect
from collections.abc import Callable
from typing import Any

from symjax.attacks.threat import as_norm
from symjax.evaluation import titles
from symjax.evaluation.metrics import (
    clever,
    cost,
    distance,
    generalization,
    smoothing,
    symmetry,
    tolerance,
)
from symjax.evaluation.metrics.base import Metric, measure
from symjax.names import matched

__all__ = ["METRICS", "figures", "measure"]


def _cost() -> list[Metric]:
    return [*cost.figures(), *generalization.figures()]


METRICS: dict[str, Callable[..., list[Metric]]] = {
    "clever": clever.figures,
    "cost": _cost,
    "distance": distance.figures,
    "smoothing": smoothing.figures,
    "symmetry": symmetry.figures,
    "tolerance": tolerance.figures,
}


def figures(name: str, only: str = "", **options: Any) -> list[Metric]:
    """What there is to measure of a metric.

    Args:
      name: one of `METRICS`.
      only: those whose name or title begins so, see `evaluation.titles`.
      **options: of its function.

    Raises:
      ValueError: for another metric or option, or if no figure has such a name.
    """
    name = matched("metric", name, METRICS)
    if "norms" in options:
        options["norms"] = [as_norm(x) for x in options["norms"]]
    known = inspect.signature(METRICS[name]).parameters
    if other := [option for option in options if option not in known]:
        raise ValueError(
            f"metric {name!r} takes {list(known) or 'no options'}, not {other}."
        )
    found = METRICS[name](**options)
    chosen = [each for each in found if titles.begins(each.identity, only)]
    if not chosen:
        names = sorted({each.identity["metric"] for each in found})
        raise ValueError(f"only={only!r}: expected the beginning of one of {names}.")
    return chosen
