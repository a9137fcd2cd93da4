"""CLEVER scores of a trained run (paper, Definition 5).

measure(run, store, clever.figures(("l2",)), n=100)
"""

from collections.abc import Sequence

import numpy as np

from symjax.attacks import NORMS, Norm
from symjax.evaluation.metrics.base import Metric, MetricResult, SeedContext
from symjax.metrics import clever_images

RADII: dict[Norm, float] = {"l1": 40.0, "l2": 2.0, "linf": 0.1}
"""Of the balls that are sampled, pixel units."""


def figures(
    norms: Sequence[Norm] = NORMS,
    radius: float | None = None,
    batches: int = 100,
    samples: int = 256,
) -> list[Metric]:
    """The mean untargeted score in balls of each norm.

    Args:
      norms: of the balls.
      radius: pixel units; None: `RADII`.
      batches, samples: as in `metrics.clever`.
    """
    return [
        _figure(norm, RADII[norm] if radius is None else radius, batches, samples)
        for norm in norms
    ]


def _figure(norm: Norm, radius: float, batches: int, samples: int) -> Metric:
    settings = {"norm": norm, "radius": radius, "batches": batches, "samples": samples}

    def find(subject: SeedContext) -> MetricResult:
        found = clever_images(
            subject.logits_fn,
            subject.images,
            subject.key,
            **settings,
            folder=subject.folder,
            report=subject.report,
        )
        own = np.isinf(found.margins)  # the predicted class has no score
        law = found.fit
        return MetricResult(
            float(found.score.mean()),
            {
                "score": found.score,
                "top_2": found.top_2,
                "least_likely": found.least_likely,
                "scores": found.scores,
                "errors": found.errors,
                "shape": law.shape,
                "p_value": law.p_value,
                "distinct": law.distinct,
                "vanished": found.vanished,
                "correct": own.argmax(axis=1) == subject.labels,
            },
            {
                "capped": float(found.capped[~own].mean()),
                "masked": int(found.score_masked.sum()),
                "median_shape": float(np.median(law.shape[~own])),
                "fits_rejected": float((law.p_value[~own] < 0.05).mean()),
                "least_distinct": int(law.distinct[~own].min()),
            },
        )

    return Metric({"metric": "clever", **settings}, find)
