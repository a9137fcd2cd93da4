"""Randomized smoothing: a certified radius in l2 (Cohen, Rosenfeld and Kolter 2019).

    result = certify(logits_fn, images, key, sigma=0.25)
    result.classes, result.radii         # [N]; -1 and 0 where it abstains

The smoothed classifier predicts the class that the net predicts most often for
`x + sigma z`, where z is standard normal. This class does not change within the
certified radius around x. The certificate is for the smoothed classifier; CLEVER is an
estimate for the net itself. Noisy images are not clipped, so that the net gets pixels
outside of [0, 1]. Classes are counted on the device; the bounds are computed on the
host.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from symjax import compilation
from symjax.attacks.checks import check_finite, refuse_traced
from symjax.attacks.entry import is_number, whole_number
from symjax.attacks.inputs import prepare
from symjax.attacks.result import LogitsFn
from symjax.metrics._gradient_maxima import Report
from symjax.metrics.program import evaluate
from symjax.metrics.samples import at_a_time, image_by_image

ABSTAIN = -1
ON_CPU, ELSEWHERE = 100, 4000  # the number of noisy images at a time


class Certificate(NamedTuple):
    """The certificates of N images.

    Attributes:
      classes: `[N]`, the classes of the smoothed classifier; -1 where it abstains.
      radii: `[N]`, certified radii in l2, in pixel units; 0 where it abstains.
      lower: `[N]`, lower bounds of the probability of the chosen class.
      counts: `[N, K]`, how often the net predicted each class. Noisy images without a
        class, whose largest logits are equal or whose logits are not finite, are not
        counted.
    """

    classes: np.ndarray
    radii: np.ndarray
    lower: np.ndarray
    counts: np.ndarray


def certify(
    logits_fn: LogitsFn,
    images: Any,
    key: Array,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    chunk: int | None = None,
    folder: Path | None = None,
    report: Report | None = None,
) -> Certificate:
    """Computes the smoothed classifier's classes and certified radii; a host driver.

    The most frequent class of n0 samples is chosen. From n other samples follows a
    lower bound p of its probability (`certificate`). If p > 1/2, the smoothed
    classifier predicts this class for all images closer than `sigma Phi^-1(p)`.

    Args:
      logits_fn, chunk, report: as in `symjax.metrics`.
      images: `[N, H, W, C]`, float, in [0, 1].
      key: one key. Sample s of image i depends only on the key, i and s.
      sigma: standard deviation of the noise, in pixel units.
      n0, n: the numbers of samples per image.
      alpha: the probability that a certificate is wrong, for each image.
      folder: where the counts of finished images are saved; the same call resumes from
        them.

    Returns:
      A `Certificate`.

    Raises:
      ValueError: if an argument is invalid, or the folder contains the counts of
        another call.

    References:
      Cohen, Rosenfeld and Kolter, Certified Adversarial Robustness via Randomized
      Smoothing, ICML 2019, Section 3.2.2.
    """
    _check(sigma, alpha, n0=n0, n=n, chunk=1 if chunk is None else chunk)
    counts = _counts(logits_fn, images, key, sigma, (n0, n), chunk, folder, report)
    return certificate(counts[:, 0], counts[:, 1], n, sigma, alpha)


def certificate(
    chosen: np.ndarray, counted: np.ndarray, n: int, sigma: float, alpha: float
) -> Certificate:
    """The certificates for given counts, with the bound of Clopper and Pearson.

    For h hits among n samples, `lower` is the p at which h or more hits have
    probability alpha: the alpha quantile of Beta(h, n - h + 1), or `alpha^(1/n)` if
    h = n.

    Args:
      chosen: `[N, K]`, counts of the samples that choose the class.
      counted: `[N, K]`, counts of the n other samples.
      n, sigma, alpha: as in `certify`.
    """
    best = chosen.argmax(axis=1)
    hits = counted[np.arange(len(best)), best]
    bound = stats.beta.ppf(alpha, np.maximum(hits, 1), n - hits + 1)
    lower = np.where(hits > 0, bound, 0.0)
    certain = lower > 0.5
    radii = sigma * stats.norm.ppf(np.where(certain, lower, 0.5))
    return Certificate(np.where(certain, best, ABSTAIN), radii, lower, counted)


def _counts(
    logits_fn, images, key, sigma, samples, chunk, folder, report
) -> np.ndarray:
    """The counts of the classes in the first samples[0] samples and in the others.

    The shape is `[N, 2, K]`.
    """
    with jax.default_matmul_precision("highest"):  # as in `_counts_of_image`
        refuse_traced("certify", logits_fn, images, key)
        optional = "labels", "threat"
        given = prepare("certify", logits_fn, images, None, key, optional=optional)
        finite = jnp.isfinite(evaluate(given.net, given.images)).all(axis=1)
    check_finite(finite)
    net, images, key = given.net, np.asarray(given.images), given.key

    def compute(index, image):
        work = net, image, jax.random.fold_in(key, index), sigma, samples
        return {"counts": _counts_of_image(*work, chunk, given.classes)}

    settings, counts = {"sigma": sigma, "samples": samples}, []
    for outcome in image_by_image(compute, net, images, key, settings, folder):
        counts.append(outcome["counts"])
        if report:
            report(len(counts), len(images))
    return np.stack(counts)


def _counts_of_image(net, image, key, sigma, samples, chunk, classes) -> np.ndarray:
    draw, tally = _programs()
    total = sum(samples)
    most = at_a_time(chunk, ON_CPU, ELSEWHERE)
    size = -(-total // -(-total // most))  # chunks of equal size need little padding
    ends, counts = np.array([samples[0], total]), np.zeros((2, classes), np.int32)
    with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
        for first in range(0, total, size):
            noisy = draw(image, key, image.dtype.type(sigma), np.int32(first), size)
            counts = tally(net, noisy, np.int32(first), ends, counts)
    return np.asarray(counts, np.int64)


@functools.cache
def _programs():
    """The programs for draws and counts.

    In one program, the first convolution would draw its samples nine times.
    """
    return compilation.jit_fast_compile(
        _draw, static_argnums=4
    ), compilation.jit_fast_compile(_tally)


def _draw(image: Array, key: Array, sigma: Array, first: Array, count: int) -> Array:
    """Noisy images with the sample numbers from `first` on, `[count, H, W, C]`."""

    def one(index):
        own = jax.random.fold_in(key, index)
        noise = jax.random.normal(own, image.shape, image.dtype)
        return image + sigma * noise

    return jax.vmap(one)(first + jnp.arange(count))


def _tally(net, noisy: Array, first: Array, ends: Array, counts: Array) -> Array:
    """Adds the counts of sample numbers in [0, ends[0]) and in [ends[0], ends[1])."""
    logits = net(noisy)
    predicted = logits == jnp.max(logits, axis=1, keepdims=True)
    finite = jnp.all(jnp.isfinite(logits), axis=1)
    predicted &= (finite & (jnp.sum(predicted, axis=1) == 1))[:, None]
    index = first + jnp.arange(len(noisy))
    early = index < ends[0]
    parts = jnp.stack([early, ~early & (index < ends[1])])
    return counts + jnp.sum(parts[:, :, None] & predicted[None], axis=1)


def _check(sigma: float, alpha: float, **counts: int) -> None:
    if not (is_number(sigma) and 0 < sigma < np.inf):
        raise ValueError(
            f"sigma={sigma!r}: expected a positive and finite number, in pixel units."
        )
    if not (is_number(alpha) and 0 < alpha < 1):
        raise ValueError(f"alpha={alpha!r}: expected a probability between 0 and 1.")
    for name, count in counts.items():
        whole_number("certify", name, count)
