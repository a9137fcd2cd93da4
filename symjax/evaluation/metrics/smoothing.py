"""Certified l2 radii of a trained run, smoothed at random (Cohen et al. 2019).

    measure(run, store, smoothing.figures(), n=100)

What CLEVER estimates is certain here, of another classifier: the one that votes over
noisy images. The paper's nets are trained without noise, so expect little: where a net
is wrong about noisy images, no vote helps. Nets of digits bear sigma 0.12 and lose many
images at 0.25; those of CIFAR-10 lose most at 0.12. A radius of 0 is an image on which
the smoothed classifier is wrong or abstains; with 1000 samples and alpha 0.001 none is
above 2.46 sigma.
"""

import functools
from collections.abc import Sequence

import numpy as np

from symjax.evaluation.metrics.base import Metric, MetricResult, SeedContext, interval
from symjax.metrics.smoothing import ABSTAIN, certify

RADII = (0.0, 0.1, 0.25, 0.5, 1.0)
"""At which the certified accuracy is said, l2, pixel units."""


def figures(
    sigmas: Sequence[float] = (0.12, 0.25),
    samples: int = 1000,
    n0: int = 100,
    alpha: float = 0.001,
) -> list[Metric]:
    """The mean certified radius of the true class, one figure a sigma.

    Args:
      sigmas: of the noise, in pixel units.
      samples: n of `metrics.smoothing.certify`, of each image.
      n0, alpha: as there.
    """
    settings = {"n0": n0, "samples": samples, "alpha": alpha}
    return [
        Metric(
            {"metric": "smoothing", "norm": "l2", "sigma": sigma} | settings,
            functools.partial(_find, sigma, samples, n0, alpha),
        )
        for sigma in sigmas
    ]


def _find(
    sigma: float, samples: int, n0: int, alpha: float, subject: SeedContext
) -> MetricResult:
    found = certify(
        subject.logits_fn,
        subject.images,
        subject.key,
        sigma,
        n0,
        samples,
        alpha,
        folder=subject.folder,
        report=subject.report,
    )
    correct = found.classes == subject.labels
    radius = np.where(correct, found.radii, 0.0)
    certified = {f"{r:g}": float((radius > r).mean()) for r in RADII}
    return MetricResult(
        float(radius.mean()),
        {
            "radius": radius,
            "class": found.classes,
            "right": correct,
            "counts": found.counts,
        },
        {
            **interval(radius),
            "certified": certified,
            "abstained": float((found.classes == ABSTAIN).mean()),
        },
    )
