"""Randomised smoothing: a certified radius in l2 (Cohen, Rosenfeld and Kolter 2019).

    found = certify(logits_fn, images, key, sigma=0.25)
    found.classes, found.radii           # [N]; -1 and 0 where it abstains

The smoothed classifier gives the class that the net gives most often to `x + sigma z`,
z standard normal; no image nearer to x than the radius changes it. That is certain of
the smoothed classifier, where CLEVER estimates for the net itself. Noisy images are not
clipped: the net sees pixels beyond [0, 1]. Classes are counted on the device, and what
follows from the counts is computed on the host.
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
from symjax.io import BatchCheckpoint
from symjax.jaxprs import host_array
from symjax.metrics._gradient_maxima import Report
from symjax.metrics.program import evaluate

ABSTAIN = -1
ON_CPU, ELSEWHERE = 100, 4000  # noisy images at a time


class Certificate(NamedTuple):
    """What is certain of N images.

    Attributes:
      classes: `[N]`, of the smoothed classifier; -1 where it abstains.
      radii: `[N]`, in l2, pixel units; 0 where it abstains.
      lower: `[N]`, a lower bound of the probability of the class that was chosen.
      counts: `[N, K]`, how often each class was given. Noisy images that have no class,
        as their largest logits are equal or not all are finite, are missing.
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
    """The smoothed classifier's class and certified radius; driven from the host.

    The most frequent class of n0 samples is chosen; n others bound its probability
    from below by p (`certificate`). If p > 1/2 the class is that of all images nearer
    than `sigma Phi^-1(p)`.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own. Other weights of
        the same net compile nothing.
      images: `[N, H, W, C]`, float, in [0, 1].
      key: one key. Sample s of image i depends on the key, i and s alone.
      sigma: standard deviation of the noise, in pixel units.
      n0, n: numbers of samples of each image.
      alpha: probability with which a certificate may be wrong, for each image.
      chunk: samples at a time; changes nothing beyond rounding in the net. None: as
        many as suit the backend.
      folder: counts of finished images are kept here; the same call goes on from them.
      report: called after each image with the number of images done, and of all.

    Returns:
      A `Certificate`.

    Raises:
      ValueError: if arguments cannot be, or the folder holds another call's counts.

    References:
      Cohen, Rosenfeld and Kolter, Certified Adversarial Robustness via Randomized
      Smoothing, ICML 2019, Section 3.2.2.
    """
    _check(sigma, alpha, n0=n0, n=n, chunk=1 if chunk is None else chunk)
    counts = _counts(logits_fn, images, key, sigma, (n0, n), chunk, folder, report)
    return certificate(counts[:, 0], counts[:, 1], n, sigma, alpha)


def predict(
    logits_fn: LogitsFn,
    images: Any,
    key: Array,
    sigma: float,
    n: int = 1000,
    alpha: float = 0.001,
    chunk: int | None = None,
) -> np.ndarray:
    """The smoothed classifier's class, `[N]`, or -1; see `prediction`.

    Args:
      logits_fn, images, key, sigma, chunk: as in `certify`.
      n: number of samples of each image.
      alpha: probability with which a class may be wrong, for each image.

    Raises:
      ValueError: if arguments cannot be.

    References:
      Cohen et al. 2019, Section 3.2.1.
    """
    _check(sigma, alpha, n=n, chunk=1 if chunk is None else chunk)
    counts = _counts(logits_fn, images, key, sigma, (n, 0), chunk)
    return prediction(counts[:, 0], alpha)


def certificate(
    chosen: np.ndarray, counted: np.ndarray, n: int, sigma: float, alpha: float
) -> Certificate:
    """What follows from counts; `lower` is the bound of Clopper and Pearson.

    With h hits among n samples it is the p at which h or more hits have probability
    alpha: the quantile alpha of Beta(h, n - h + 1), `alpha^(1/n)` if h = n.

    Args:
      chosen, counted: `[N, K]`, of the samples that choose the class, of the n others.
      n, sigma, alpha: as in `certify`.
    """
    best = chosen.argmax(axis=1)
    hits = counted[np.arange(len(best)), best]
    bound = stats.beta.ppf(alpha, np.maximum(hits, 1), n - hits + 1)
    lower = np.where(hits > 0, bound, 0.0)
    certain = lower > 0.5
    radii = sigma * stats.norm.ppf(np.where(certain, lower, 0.5))
    return Certificate(np.where(certain, best, ABSTAIN), radii, lower, counted)


def prediction(counted: np.ndarray, alpha: float) -> np.ndarray:
    """The most frequent class, `[N]`, or -1.

    -1 where such counts of it and of the second, or counts further apart, would have a
    probability above alpha if both classes were equally likely.

    Args:
      counted: `[N, K]`.
      alpha: as in `predict`.
    """
    second, first = np.sort(counted, axis=1)[:, -2:].T
    at_least = stats.binom.sf(first - 1, first + second, 0.5)
    certain = np.minimum(2 * at_least, 1.0) <= alpha
    return np.where(certain, counted.argmax(axis=1), ABSTAIN)


def _counts(
    logits_fn, images, key, sigma, samples, chunk, folder=None, report=None
) -> np.ndarray:
    """How often each class was given, by samples[0] and the others: `[N, 2, K]`."""
    with jax.default_matmul_precision("highest"):  # as in `_counts_of_image`
        refuse_traced("certify", logits_fn, images, key)
        optional = "labels", "threat"
        given = prepare("certify", logits_fn, images, None, key, optional=optional)
        finite = jnp.isfinite(evaluate(given.net, given.images)).all(axis=1)
    check_finite(finite)
    net, images, key = given.net, np.asarray(given.images), given.key
    identity = {"sigma": sigma, "samples": samples}
    identity |= {"arrays": (images, *map(host_array, (key, *jax.tree.leaves(net))))}
    fingerprint = (
        np.zeros(0) if folder is None else np.asarray(evaluate(net, images[:1]))
    )
    checkpoint = BatchCheckpoint(folder and Path(folder), identity, fingerprint)
    found = []
    for index, image in enumerate(images):
        kept = checkpoint.load(f"{index:06d}")
        if kept is None:
            work = net, image, jax.random.fold_in(key, index), sigma, samples
            kept = {"counts": _counts_of_image(*work, chunk, given.classes)}
            checkpoint.save(f"{index:06d}", kept)
        found.append(kept["counts"])
        if report:
            report(index + 1, len(images))
    return np.stack(found)


def _counts_of_image(net, image, key, sigma, samples, chunk, classes) -> np.ndarray:
    draw, tally = _programs()
    total = sum(samples)
    most = chunk or (ON_CPU if jax.default_backend() == "cpu" else ELSEWHERE)
    size = -(-total // -(-total // most))  # even chunks: little to pad
    ends, counts = np.array([samples[0], total]), np.zeros((2, classes), np.int32)
    with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
        for first in range(0, total, size):
            noisy = draw(image, key, image.dtype.type(sigma), np.int32(first), size)
            counts = tally(net, noisy, np.int32(first), ends, counts)
    return np.asarray(counts, np.int64)


@functools.cache
def _programs():
    """Two, since a first convolution would draw its samples nine times over."""
    return compilation.jit_fast_compile(
        _draw, static_argnums=4
    ), compilation.jit_fast_compile(_tally)


def _draw(image: Array, key: Array, sigma: Array, first: Array, count: int) -> Array:
    """Noisy images `[count, H, W, C]`, from the first-th sample on."""

    def one(index):
        own = jax.random.fold_in(key, index)
        noise = jax.random.normal(own, image.shape, image.dtype)
        return image + sigma * noise

    return jax.vmap(one)(first + jnp.arange(count))


def _tally(net, noisy: Array, first: Array, ends: Array, counts: Array) -> Array:
    """Adds the classes of samples below ends[0], and of those from there to ends[1]."""
    logits = net(noisy)
    given = logits == jnp.max(logits, axis=1, keepdims=True)
    finite = jnp.all(jnp.isfinite(logits), axis=1)
    given &= (finite & (jnp.sum(given, axis=1) == 1))[:, None]
    index = first + jnp.arange(len(noisy))
    early = index < ends[0]
    parts = jnp.stack([early, ~early & (index < ends[1])])
    return counts + jnp.sum(parts[:, :, None] & given[None], axis=1)


def _check(sigma: float, alpha: float, **counts: int) -> None:
    if not (is_number(sigma) and 0 < sigma < np.inf):
        raise ValueError(f"sigma={sigma!r}: expected pixel units, positive and finite.")
    if not (is_number(alpha) and 0 < alpha < 1):
        raise ValueError(f"alpha={alpha!r}: expected a probability between 0 and 1.")
    for name, count in counts.items():
        whole_number("certify", name, count)
