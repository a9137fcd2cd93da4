"""CLEVER: estimates the distance to the nearest error (paper, Definition 5).

    result = clever(logits_fn, image, key, norm="l2", radius=2.0)
    result.score, result.scores           # the smallest score; the score of each class
    result.fit.p_value, result.masked     # diagnostics of the estimate

The score of class j is `min(g_cj(x) / L_j, radius)`, the margin divided by an estimate
of its local Lipschitz constant. This constant is the end point of a distribution that
is fitted to the largest gradients of the margin in random batches of points in the
ball. The score is an estimate, not a certificate. Gradients are computed on the device;
the distribution is fitted on the host.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from symjax.attacks.checks import refuse_traced
from symjax.attacks.entry import is_number
from symjax.attacks.inputs import prepare
from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import Norm
from symjax.metrics import weibull
from symjax.metrics._gradient_maxima import (
    Maxima,
    Report,
    gradient_maxima,
    partial_report,
)
from symjax.metrics.samples import image_by_image
from symjax.metrics.weibull import ReverseWeibull


class Clever(NamedTuple):
    """CLEVER scores and their diagnostics, `[K]` each, or `[N, K]` of N images.

    Attributes:
      scores: `min(margins / fit.end_point, radius)`, in pixel units of the ball's norm;
        0 where the margin is not positive, and infinite for class c.
      margins, vanished: as in `Maxima`.
      fit: the fitted distributions of the maxima.
      capped: whether the score is the radius, so that the estimate may be larger.
      masked: whether the score is the radius and gradients vanished; such a score is no
        evidence of robustness.
    """

    scores: np.ndarray
    margins: np.ndarray
    vanished: np.ndarray
    fit: ReverseWeibull
    capped: np.ndarray
    masked: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """The score for untargeted attacks: the smallest one over all classes but c."""
        return self.scores.min(axis=-1)

    @property
    def score_masked(self) -> np.ndarray:
        """Whether `score` is the radius and gradients vanished."""
        capped = self.capped | np.isinf(self.margins)
        return np.logical_and(capped.all(axis=-1), self.masked.any(axis=-1))

    @property
    def top_2(self) -> np.ndarray:
        """The score for the most likely of the other classes."""
        return _at(self.scores, self.margins.argmin(axis=-1))

    @property
    def least_likely(self) -> np.ndarray:
        """The score for the class with the smallest logit."""
        others = np.where(np.isinf(self.margins), -np.inf, self.margins)
        return _at(self.scores, others.argmax(axis=-1))

    @property
    def errors(self) -> np.ndarray:
        """Standard errors of `margins / fit.end_point` by the delta method, `[K]`.

        They are NaN, infinite or 0 where `fit.std_error` is, and NaN for class c.
        """
        with np.errstate(all="ignore"):
            return self.margins * self.fit.std_error / self.fit.end_point**2


def clever(
    logits_fn: LogitsFn,
    image: Any,
    key: Array,
    norm: Norm = "l2",
    radius: float = 2.0,
    label: int | None = None,
    start: float | None = None,
    report: Report | None = None,
    **sampling: Any,
) -> Clever:
    """Computes the CLEVER scores of one image; a host driver, not for use inside jit.

    The scores are `min(g_cj(x) / L_j, radius)` with `g_cj = f_c - f_j`. `L_j` is the
    end point of the distribution of `max ||grad g_cj||_q` over batches of points in the
    ball of the norm p, with `1/p + 1/q = 1`.

    Args:
      logits_fn, report: as in `symjax.metrics`.
      image: `[H, W, C]`, float, in [0, 1].
      key: one random key.
      norm: norm of the ball, "l1", "l2" or "linf".
      radius: radius of the ball, in pixel units; the upper limit of the scores.
      label: class c; None: the class that the net predicts. If the net predicts another
        class than c, the score is 0.
      start: starting point of the fit, for comparisons only; see `weibull.fit`.
      **sampling: `batches` (500), `samples` per batch (1024), `clip` and `chunk`, see
        `gradient_maxima`.

    Returns:
      A `Clever`.

    Raises:
      ValueError: if an argument is invalid, or if the logits of the image are not
        finite.
      FloatingPointError: if a gradient is not finite.

    References:
      Weng et al., Evaluating the Robustness of Neural Networks: An Extreme Value Theory
      Approach, ICLR 2018, Algorithms 1 and 2.
    """
    call = logits_fn, image, key, norm, radius, label
    maxima = gradient_maxima(*call, **sampling, report=report)
    return clever_from_maxima(maxima, radius, start)


def clever_images(
    logits_fn: LogitsFn,
    images: Any,
    key: Array,
    norm: Norm = "l2",
    radius: float = 2.0,
    labels: Any = None,
    start: float | None = None,
    folder: Path | None = None,
    report: Report | None = None,
    **sampling: Any,
) -> Clever:
    """Computes the CLEVER scores of N images; image n has the key `fold_in(key, n)`.

    Args:
      logits_fn, key, norm, radius, start, report, **sampling: as in `clever`.
      images: `[N, H, W, C]`, float, in [0, 1].
      labels: `[N]`, class c of each image; None: the classes that the net predicts.
      folder: where the maxima of finished images are saved; the same call resumes from
        them.

    Returns:
      A `Clever` with a leading axis N.

    Raises:
      ValueError: as in `clever`, or if the folder contains the maxima of another call.
      FloatingPointError: as in `clever`.
    """
    with jax.default_matmul_precision("highest"):  # as the gradients are taken
        refuse_traced("CLEVER", logits_fn, images, labels, key)
        call = logits_fn, images, labels, key
        given = prepare("CLEVER", *call, optional=("labels", "threat"))
    net, images, key = given.net, np.asarray(given.images), given.key
    known = [None] * len(images)
    if labels is not None:
        known = np.asarray(given.labels).tolist()
    settings = {"norm": norm, "radius": radius, "labels": known, **sampling}
    settings.pop("chunk", None)  # the result does not depend on it

    def compute(index, image):
        of_image = jax.random.fold_in(key, index)
        call = net, image, of_image, norm, radius, known[index]
        part = partial_report(report, index, len(images))
        return gradient_maxima(*call, **sampling, report=part)._asdict()

    scores = [
        clever_from_maxima(Maxima(**maxima), radius, start)
        for maxima in image_by_image(compute, net, images, key, settings, folder)
    ]
    return jax.tree.map(lambda *parts: np.stack(parts), *scores)


def clever_from_maxima(
    found: Maxima, radius: float, start: float | None = None
) -> Clever:
    """Computes the scores from maxima of one image, or with leading axes.

    Args:
      found: the result of `gradient_maxima`.
      radius: radius of the ball that was sampled, in pixel units.
      start: starting point of the fit, for comparisons only; see `weibull.fit`.

    Raises:
      ValueError: if `start` is not a positive number.
    """
    if not (start is None or is_number(start) and 0 < start < np.inf):
        raise ValueError(
            f"CLEVER: start={start!r}: expected a positive number or None."
        )
    law = weibull.fit(np.moveaxis(found.maxima, -2, -1), start)
    own = np.isinf(found.margins)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(found.margins > 0, found.margins / law.end_point, 0.0)
    capped = (distance >= radius) & ~own
    return Clever(
        scores=np.where(own, np.inf, np.minimum(distance, radius)),
        margins=found.margins,
        vanished=found.vanished,
        fit=law,
        capped=capped,
        masked=capped & (found.vanished > 0),
    )


def _at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, np.asarray(index)[..., None], axis=-1)[..., 0]
