"""Statistics over seeds and images, with intervals by the bootstrap; on the host.

mean_and_sd(of_seeds)                             # (mean, sample standard deviation)
proportion(453, 1000)                             # 0.453, and its 95 % interval
estimate(ratio)                                   # mean, and its 95 % interval
estimate(across, along, statistic=ratio_of_means)
difference(of_training_images, of_test_images)    # of two means, of other images each
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A statistic of N images, and where it would lie for other images like them.

    Attributes:
      value: of the images at hand.
      low, high: the ends of the interval.
      count: N.
    """

    value: float
    low: float
    high: float
    count: int


def mean_and_sd(values: ArrayLike) -> tuple[float, float | None]:
    """The mean and the sample standard deviation (`ddof=1`) of some values.

    Args:
      values: `[S]`, of one or more.

    Returns:
      Both, as floats. The standard deviation is None where it is not defined: of one
      value, or if one is not finite.

    Raises:
      ValueError: if there are no values.
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        raise ValueError("no values: expected one or more.")
    defined = array.size > 1 and np.isfinite(array).all()
    with np.errstate(invalid="ignore"):
        return float(array.mean()), float(array.std(ddof=1)) if defined else None


def proportion(successes: int, count: int, confidence: float = 0.95) -> Estimate:
    """A proportion of independent images, with Wilson's interval.

    Args:
      successes: how many images have what is counted.
      count: N, all images.
      confidence: of the interval.

    Raises:
      ValueError: if there are no images, or more successes than images.

    References:
      Wilson, Probable Inference, the Law of Succession, and Statistical Inference,
      JASA 1927.
    """
    if not 0 <= successes <= count or count < 1:
        raise ValueError(
            f"{successes} of {count} images: expected 1 image or more, and from 0 "
            "to all of them."
        )
    found = stats.binomtest(successes, count).proportion_ci(confidence, "wilson")
    return Estimate(successes / count, float(found.low), float(found.high), count)


def ratio_of_means(above: np.ndarray, below: np.ndarray, axis: int = -1) -> np.ndarray:
    """`mean(above) / mean(below)`; single zeros below do no harm, unlike in a ratio."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean(above, axis=axis) / np.mean(below, axis=axis)


def estimate(
    *values: ArrayLike,
    statistic: Callable[..., np.ndarray] = np.mean,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The percentile bootstrap of a statistic, images drawn with replacement.

    Args:
      *values: `[B]` each, of the same images, which are drawn together.
      statistic: of arrays, along `axis`, like `np.mean`, `np.median`, `ratio_of_means`.
      confidence: of the interval.
      resamples: how many draws of B images.
      seed: of the draws.

    Returns:
      An `Estimate`; NaN throughout if a value is NaN: leave such images out by hand,
      and say how many they were.

    Raises:
      ValueError: for arrays of other shapes, or of fewer than two images.
    """
    arrays = [np.asarray(value, np.float64) for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1 or len(arrays[0]) < 2:
        raise ValueError(
            f"values of shapes {shapes}: expected [B] each, B of 2 or more."
        )
    return _bootstrap(arrays, statistic, True, confidence, resamples, seed)


def difference(
    first: ArrayLike,
    second: ArrayLike,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """`mean(first) - mean(second)` of two samples, each drawn from on its own.

    Args:
      first, second: `[M]` and `[N]`, of images that have nothing to do with each other.
      confidence, resamples, seed: as in `estimate`.

    Returns:
      An `Estimate`, its count M + N; NaN throughout if a value is NaN.

    Raises:
      ValueError: for another rank, or fewer than two images on a side.
    """
    arrays = [np.asarray(value, np.float64) for value in (first, second)]
    if any(array.ndim != 1 or len(array) < 2 for array in arrays):
        raise ValueError(
            f"values of shapes {[array.shape for array in arrays]}: expected [M] and "
            "[N], each of 2 or more."
        )
    return _bootstrap(arrays, _difference_of_means, False, confidence, resamples, seed)


def _difference_of_means(first, second, axis: int = -1) -> np.ndarray:
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def _bootstrap(arrays, statistic, paired, confidence, resamples, seed) -> Estimate:
    count = len(arrays[0]) if paired else sum(map(len, arrays))
    if any(np.isnan(array).any() for array in arrays):
        return Estimate(np.nan, np.nan, np.nan, count)
    with np.errstate(invalid="ignore"):
        found = stats.bootstrap(
            arrays,
            statistic,
            paired=paired,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        value = float(statistic(*arrays, axis=-1))
    return Estimate(value, float(found.low), float(found.high), count)


def paired_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The mean difference of two nets on the same images, images and seeds redrawn.

    Each resample draws images, the same for both nets, and seeds, for each net its own:
    what other images, and training again, would change. Of few seeds, such an interval
    is too short rather than too long; of one, it knows nothing of training again.

    Args:
      ours, theirs: `[S, B]` and `[T, B]`, of seeds and images.
      confidence, resamples, seed: as in `estimate`.

    Returns:
      An `Estimate` of `mean(ours) - mean(theirs)`; count is B.

    Raises:
      ValueError: for arrays of other shapes, fewer than two images, or a NaN.
    """
    first, second = (np.asarray(x, np.float64) for x in (ours, theirs))
    shapes = first.shape, second.shape
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"values of shapes {shapes}: expected [S, B] and [T, B].")
    count = first.shape[1]
    if count < 2 or np.isnan(first).any() or np.isnan(second).any():
        raise ValueError(
            f"values of shapes {shapes}: expected two images or more and no NaN: leave "
            "such images out by hand, and say how many they were."
        )
    draw = np.random.default_rng(seed)
    images = draw.integers(count, size=(resamples, count))
    means = [
        _redrawn(values, draw.integers(len(values), size=(resamples, len(values))))
        for values in (first, second)
    ]  # [resamples, B] each
    found = np.take_along_axis(means[0] - means[1], images, axis=1).mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Estimate(first.mean() - second.mean(), float(low), float(high), count)


def _redrawn(values: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The mean over drawn seeds: `[S, B]` and `[R, S]` to `[R, B]`."""
    weights = np.apply_along_axis(np.bincount, 1, seeds, minlength=len(values))
    return weights @ values / len(values)
