"""CLEVER: how near an error may be, estimated from gradients (paper, Definition 5).

    found = clever(logits_fn, image, key, norm="l2", radius=2.0)
    found.score, found.scores             # the least over the classes; of each class
    found.fit.p_value, found.masked       # can it be believed?

The score of class j is `min(g_cj(x) / L_j, radius)`: the margin over the end point of
the law of the largest gradients of that margin in the ball. It is an estimate, not a
certificate. Gradients are taken on the device; the law is fitted on the host.
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
from symjax.io import BatchCheckpoint
from symjax.jaxprs import host_array
from symjax.metrics import weibull
from symjax.metrics._gradient_maxima import (
    Maxima,
    Report,
    gradient_maxima,
    share,
)
from symjax.metrics.program import evaluate
from symjax.metrics.weibull import ReverseWeibull
from symjax.seeds import fold_in


class Clever(NamedTuple):
    """Scores and how they came about, `[K]` each; further axes, S and N, lead.

    Attributes:
      scores: `min(margins / fit.end_point, radius)`, 0 where the margin is not
        positive, infinite at class c; in pixel units, by the ball's norm.
      margins, vanished: as in `Maxima`.
      fit: the laws of the maxima.
      capped: where the score is the radius: the estimate is at least that.
      masked: where it is the radius and gradients vanished: no sign of robustness.
    """

    scores: np.ndarray
    margins: np.ndarray
    vanished: np.ndarray
    fit: ReverseWeibull
    capped: np.ndarray
    masked: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """Of an untargeted attack: the least over all classes but c."""
        return self.scores.min(axis=-1)

    @property
    def score_masked(self) -> np.ndarray:
        """Whether `score` is the radius where gradients vanished."""
        capped = self.capped | np.isinf(self.margins)
        return np.logical_and(capped.all(axis=-1), self.masked.any(axis=-1))

    @property
    def top_2(self) -> np.ndarray:
        """Of an attack towards the most likely of the other classes."""
        return _at(self.scores, self.margins.argmin(axis=-1))

    @property
    def least_likely(self) -> np.ndarray:
        """Of an attack towards the class with the lowest logit."""
        others = np.where(np.isinf(self.margins), -np.inf, self.margins)
        return _at(self.scores, others.argmax(axis=-1))

    def targeted(self, target: int) -> np.ndarray:
        """Of an attack towards one class; infinite if that is c."""
        return self.scores[..., target]

    @property
    def errors(self) -> np.ndarray:
        """Standard errors of `margins / fit.end_point`, `[K]`, not capped.

        By the delta method; NaN, infinite or 0 where `fit.std_error` is; NaN at c.
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
    """The CLEVER scores of one image; driven from the host, not for use inside jit.

    `min(g_cj(x) / L_j, radius)` with `g_cj = f_c - f_j`, and `L_j` the end point of the
    law of `max ||grad g_cj||_q` over batches of points of the ball, `1/p + 1/q = 1`.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      image: `[H, W, C]`, float, in [0, 1].
      key: one key; or `[S]` keys, and a leading axis S on every leaf of `logits_fn`.
      norm: of the ball, "l1", "l2" or "linf".
      radius: of the ball, in pixel units; no score is above it.
      label: c; None: the class that the net predicts. Where it predicts another class
        than c the score is 0.
      start: of the fit, for comparisons alone; see `weibull.fit`.
      report: called with the number of samples done, and of all.
      **sampling: `batches` (500), `samples` of a batch (1024), `clip` and `chunk`, see
        `gradient_maxima`.

    Returns:
      A `Clever`; leading axis S if there were S keys.

    Raises:
      ValueError: if settings, the image or the label cannot be, or if the logits of
        the image are not finite.
      FloatingPointError: if a gradient is not finite.

    References:
      Weng et al., Evaluating the Robustness of Neural Networks: An Extreme Value Theory
      Approach, ICLR 2018, Algorithms 1 and 2.
    """
    call = logits_fn, image, key, norm, radius, label
    found = gradient_maxima(*call, **sampling, report=report)
    return clever_from_maxima(found, radius, start)


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
    """The CLEVER scores of N images; image n draws from `fold_in(key, n)`.

    Args:
      logits_fn, key, norm, radius, start, **sampling: as in `clever`.
      images: `[N, H, W, C]`, float, in [0, 1].
      labels: `[N]`, c of each; None: the classes that the net predicts.
      folder: the maxima of finished images are kept here; the same call goes on from
        them.
      report: called with the number of samples done, and of those of all images.

    Returns:
      A `Clever` with a leading axis N; `[S, N]` if there were S keys.

    Raises:
      ValueError: as `clever`, or if the folder holds the maxima of another call.
      FloatingPointError: as `clever`.
    """
    with jax.default_matmul_precision("highest"):  # as the gradients are taken
        refuse_traced("CLEVER", logits_fn, images, labels, key)
        call = logits_fn, images, labels, key
        given = prepare("CLEVER", *call, optional=("labels", "threat"), seeds=True)
    nets, images, key = given.net, np.asarray(given.images), given.key
    known = [None] * len(images)
    if labels is not None:
        known = np.asarray(given.labels).tolist()
    identity = {"norm": norm, "radius": radius, "labels": known, **sampling}
    identity |= {"arrays": (images, *map(host_array, (key, *jax.tree.leaves(nets))))}
    identity.pop("chunk", None)  # changes nothing
    scores, fingerprint = [], np.zeros(0)
    if folder is not None:  # another kind of device may round otherwise
        ask = jax.vmap(evaluate, (0, None)) if key.ndim else evaluate
        fingerprint = np.asarray(ask(nets, images[:1]))
    checkpoint = BatchCheckpoint(folder and Path(folder), identity, fingerprint)
    for index, image in enumerate(images):
        kept = checkpoint.load(f"{index:06d}")
        if kept is None:
            call = nets, image, fold_in(key, index), norm, radius, known[index]
            part = share(report, index, len(images))
            found = gradient_maxima(*call, **sampling, report=part)
            checkpoint.save(f"{index:06d}", found._asdict())
        else:
            found = Maxima(**kept)
        scores.append(clever_from_maxima(found, radius, start))
    return jax.tree.map(lambda *parts: np.stack(parts, axis=key.ndim), *scores)


def clever_from_maxima(
    found: Maxima, radius: float, start: float | None = None
) -> Clever:
    """The scores that follow from maxima, of one image or with leading axes.

    Args:
      found: as `gradient_maxima` returns it.
      radius: of the ball that was sampled.
      start: of the fit, for comparisons alone; see `weibull.fit`.
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
