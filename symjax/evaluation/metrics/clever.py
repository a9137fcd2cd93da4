"""CLEVER scores of a trained run (paper, Definition 5).

measure(run, store, clever.build(("l2",)), n=100)
"""

from collections.abc import Sequence

import numpy as np

from symjax.attacks import NORMS, Norm
from symjax.evaluation.metrics.base import Metric, MetricResult, SeedContext
from symjax.metrics import clever_images

RADII: dict[Norm, float] = {"l1": 40.0, "l2": 2.0, "linf": 0.1}
"""Radius of the balls that are sampled, in pixel units, for each norm."""


def build(
    norms: Sequence[Norm] = NORMS,
    radius: float | None = None,
    batches: int = 100,
    samples: int = 256,
) -> list[Metric]:
    """CLEVER, one metric per norm; its value is the mean untargeted score.

    Args:
      norms: the norms of the balls.
      radius: radius of the balls, in pixel units; None: `RADII`.
      batches, samples: as in `metrics.clever`.
    """
    return [
        _metric(norm, RADII[norm] if radius is None else radius, batches, samples)
        for norm in norms
    ]


def _metric(norm: Norm, radius: float, batches: int, samples: int) -> Metric:
    settings = {"norm": norm, "radius": radius, "batches": batches, "samples": samples}

    def compute(context: SeedContext) -> MetricResult:
        result = clever_images(
            context.logits_fn,
            context.images,
            context.key,
            **settings,
            folder=context.folder,
            report=context.report,
        )
        own = np.isinf(result.margins)  # the predicted class has no score
        law = result.fit
        return MetricResult(
            float(result.score.mean()),
            {
                "score": result.score,
                "top_2": result.top_2,
                "least_likely": result.least_likely,
                "scores": result.scores,
                "errors": result.errors,
                "shape": law.shape,
                "p_value": law.p_value,
                "distinct": law.distinct,
                "vanished": result.vanished,
                "correct": own.argmax(axis=1) == context.labels,
            },
            {
                "capped": float(result.capped[~own].mean()),
                "masked": int(result.score_masked.sum()),
                "median_shape": float(np.median(law.shape[~own])),
                "fits_rejected": float((law.p_value[~own] < 0.05).mean()),
                "least_distinct": int(law.distinct[~own].min()),
            },
        )

    return Metric({"metric": "clever", **settings}, compute)
