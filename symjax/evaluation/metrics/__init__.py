"""The metrics that `evaluate.py --metric` measures, by name.

rows = measure(run, store, build("clever", norms=("l2",)), n=100)
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

__all__ = ["METRICS", "build", "measure"]


def _cost() -> list[Metric]:
    return [*cost.build(), *generalization.build()]


METRICS: dict[str, Callable[..., list[Metric]]] = {
    "clever": clever.build,
    "cost": _cost,
    "distance": distance.build,
    "smoothing": smoothing.build,
    "symmetry": symmetry.build,
    "tolerance": tolerance.build,
}


def build(name: str, only: str = "", **options: Any) -> list[Metric]:
    """The metrics of one family, ready for `measure`.

    Args:
      name: the family, a key of `METRICS`.
      only: return only the metrics whose name or title begins with this text, see
        `evaluation.titles`.
      **options: arguments of the family's `build` function.

    Raises:
      ValueError: for another family or option, or if no name begins with `only`.
    """
    name = matched("metric", name, METRICS)
    if "norms" in options:
        options["norms"] = [as_norm(x) for x in options["norms"]]
    known = inspect.signature(METRICS[name]).parameters
    if other := [option for option in options if option not in known]:
        raise ValueError(
            f"metric {name!r} takes {list(known) or 'no options'}, not {other}."
        )
    built = METRICS[name](**options)
    chosen = [each for each in built if titles.begins(each.identity, only)]
    if not chosen:
        names = sorted({each.identity["metric"] for each in built})
        raise ValueError(f"only={only!r}: expected the beginning of one of {names}.")
    return chosen
