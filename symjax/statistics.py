"""Statistics over seeds and images, with bootstrap intervals; computed on the host.

mean_and_sd(values)                               # (mean, sample standard deviation)
proportion(453, 1000)                             # 0.453, and its 95 % interval
estimate(values)                                  # the mean and its 95 % interval
estimate(across, along, statistic=ratio_of_means)
difference(train_values, test_values)             # of the means of two samples
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A statistic of N images with its bootstrap interval.

    Attributes:
      value: the statistic of the given images.
      low, high: the ends of the interval.
      count: the number of images, N.
    """

    value: float
    low: float
    high: float
    count: int


def mean_and_sd(values: ArrayLike) -> tuple[float, float | None]:
    """The mean and the sample standard deviation (`ddof=1`) of some values.

    Args:
      values: `[S]`, one value or more.

    Returns:
      The mean and the standard deviation. The latter is None if it is not defined,
      which is so for a single value and if a value is not finite.

    Raises:
      ValueError: if there are no values.
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        raise ValueError("values are empty: expected one value or more.")
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
    """`mean(above) / mean(below)`, which stays finite if some values below are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean(above, axis=axis) / np.mean(below, axis=axis)


def estimate(
    *values: ArrayLike,
    statistic: Callable[..., np.ndarray] = np.mean,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic with its percentile bootstrap interval; images are resampled.

    Args:
      *values: one or more arrays `[B]` for the same images, which are resampled
        together.
      statistic: a function of the arrays with an argument `axis`, such as `np.mean`,
        `np.median` or `ratio_of_means`.
      confidence: confidence level of the interval.
      resamples: the number of resamples of B images with replacement.
      seed: seed of the resampling.

    Returns:
      An `Estimate`. All its values are NaN if one of `values` is NaN; remove such
      images first and report their number.

    Raises:
      ValueError: if the arrays have different or other shapes, or fewer than two
        images.
    """
    arrays = [np.asarray(value, np.float64) for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1 or len(arrays[0]) < 2:
        raise ValueError(
            f"values of shapes {shapes}: expected [B] for all, with B of 2 or more."
        )
    return _bootstrap(arrays, statistic, True, confidence, resamples, seed)


def difference(
    first: ArrayLike,
    second: ArrayLike,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """`mean(first) - mean(second)` of two independent samples, with its interval.

    Args:
      first, second: `[M]` and `[N]`, for different images; each is resampled by itself.
      confidence, resamples, seed: as in `estimate`.

    Returns:
      An `Estimate` with the count M + N. All its values are NaN if a value is NaN.

    Raises:
      ValueError: if a sample has another rank or fewer than two images.
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
        interval = stats.bootstrap(
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
    return Estimate(value, float(interval.low), float(interval.high), count)


def paired_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The mean difference of two nets on the same images, with its interval.

    Each resample draws images, which are the same for both nets, and the seeds of each
    net independently. The interval therefore includes the variation over images and
    over trainings. With few seeds it tends to be too short; with one seed it does not
    include the variation over trainings.

    Args:
      ours, theirs: `[S, B]` and `[T, B]`, values by seed and image.
      confidence, resamples, seed: as in `estimate`.

    Returns:
      An `Estimate` of `mean(ours) - mean(theirs)` with the count B.

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
            f"values of shapes {shapes}: expected two images or more and no NaN. "
            "Remove images with NaN first, and report their number."
        )
    draw = np.random.default_rng(seed)
    images = draw.integers(count, size=(resamples, count))
    means = [
        _redrawn(values, draw.integers(len(values), size=(resamples, len(values))))
        for values in (first, second)
    ]  # [resamples, B] each
    resampled = np.take_along_axis(means[0] - means[1], images, axis=1).mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(first.mean() - second.mean(), float(low), float(high), count)


def _redrawn(values: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The means over resampled seeds: values `[S, B]`, seeds `[R, S]` to `[R, B]`."""
    weights = np.apply_along_axis(np.bincount, 1, seeds, minlength=len(values))
    return weights @ values / len(values)
