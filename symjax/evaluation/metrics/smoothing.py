"""Certified l2 radii of a trained run by randomized smoothing (Cohen et al. 2019).

    measure(run, store, smoothing.build(), n=100)

CLEVER estimates the robust radius of the net. Randomized smoothing proves a radius, but
for another classifier, which takes the majority vote of the net over noisy copies of an
image. The paper's nets are trained without noise and often misclassify noisy images, so
the radii are small: nets for digits lose many images at sigma 0.25 and few at 0.12, and
nets for CIFAR-10 lose most images at 0.12. The radius is 0 where the smoothed
classifier is wrong or abstains. With 1000 samples and alpha 0.001 no radius exceeds
2.46 sigma.
"""

import functools
from collections.abc import Sequence

import numpy as np

from symjax.evaluation.metrics.base import Metric, MetricResult, SeedContext, interval
from symjax.metrics.smoothing import ABSTAIN, certify

RADII = (0.0, 0.1, 0.25, 0.5, 1.0)
"""l2 radii, in pixel units, at which a row states the certified accuracy."""


def build(
    sigmas: Sequence[float] = (0.12, 0.25),
    samples: int = 1000,
    n0: int = 100,
    alpha: float = 0.001,
) -> list[Metric]:
    """The mean certified radius of the true class, one metric per sigma.

    Args:
      sigmas: standard deviations of the noise, in pixel units.
      samples: noisy copies per image, n of `metrics.smoothing.certify`.
      n0, alpha: as in `metrics.smoothing.certify`.
    """
    settings = {"n0": n0, "samples": samples, "alpha": alpha}
    return [
        Metric(
            {"metric": "smoothing", "norm": "l2", "sigma": sigma} | settings,
            functools.partial(_compute, sigma, samples, n0, alpha),
        )
        for sigma in sigmas
    ]


def _compute(
    sigma: float, samples: int, n0: int, alpha: float, context: SeedContext
) -> MetricResult:
    certified = certify(
        context.logits_fn,
        context.images,
        context.key,
        sigma,
        n0,
        samples,
        alpha,
        folder=context.folder,
        report=context.report,
    )
    correct = certified.classes == context.labels
    radius = np.where(correct, certified.radii, 0.0)
    accuracies = {f"{r:g}": float((radius > r).mean()) for r in RADII}
    return MetricResult(
        float(radius.mean()),
        {
            "radius": radius,
            "class": certified.classes,
            "right": correct,
            "counts": certified.counts,
        },
        {
            **interval(radius),
            "certified": accuracies,
            "abstained": float((certified.classes == ABSTAIN).mean()),
        },
    )
