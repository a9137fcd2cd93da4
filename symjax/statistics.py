"""Statistics over seeds and images, with 95 % intervals; computed on the host.

mean_and_sd(values)                               # (mean, sample standard deviation)
proportion(453, 1000)                             # 0.453, and its interval
estimate(values)                                  # the mean and its interval
difference(train_values, test_values)             # of the means of two samples
paired_difference(ours, theirs)                   # of two nets on the same images
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RESAMPLES = 2000
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A statistic of N images with its interval.

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


def proportion(successes: int, count: int) -> Estimate:
    """A proportion of independent images, with Wilson's interval.

    Args:
      successes: how many images have what is counted.
      count: N, all images.

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
    found = stats.binomtest(successes, count).proportion_ci(CONFIDENCE, "wilson")
    return Estimate(successes / count, float(found.low), float(found.high), count)


def estimate(values: ArrayLike, resamples: int = RESAMPLES) -> Estimate:
    """The mean over images, with its percentile bootstrap interval.

    Args:
      values: `[B]`, one value per image.
      resamples: the number of resamples of B images with replacement.

    Returns:
      An `Estimate`. All its values are NaN if a value is NaN; remove such images first
      and report their number.

    Raises:
      ValueError: if the array has another rank or fewer than two images.
    """
    return _bootstrap([values], np.mean, resamples)


def difference(first: ArrayLike, second: ArrayLike) -> Estimate:
    """`mean(first) - mean(second)` of two independent samples, with its interval.

    Args:
      first, second: `[M]` and `[N]`, for different images; each is resampled by itself.

    Returns:
      An `Estimate` with the count M + N. All its values are NaN if a value is NaN.

    Raises:
      ValueError: if a sample has another rank or fewer than two images.
    """
    return _bootstrap([first, second], _difference_of_means, RESAMPLES)


def _difference_of_means(first, second, axis: int = -1) -> np.ndarray:
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def _bootstrap(samples, statistic, resamples: int) -> Estimate:
    arrays = [np.asarray(values, np.float64) for values in samples]
    if any(array.ndim != 1 or len(array) < 2 for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            f"values of shape {shapes}: expected one axis with two images or more."
        )
    count = sum(map(len, arrays))
    if any(np.isnan(array).any() for array in arrays):
        return Estimate(np.nan, np.nan, np.nan, count)
    with np.errstate(invalid="ignore"):
        interval = stats.bootstrap(
            arrays,
            statistic,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        value = float(statistic(*arrays, axis=-1))
    return Estimate(value, float(interval.low), float(interval.high), count)


def paired_difference(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """The mean difference of two nets on the same images, with its interval.

    Each resample draws images, which are the same for both nets, and the seeds of each
    net independently. The interval therefore includes the variation over images and
    over trainings. With few seeds it tends to be too short; with one seed it does not
    include the variation over trainings.

    Args:
      ours, theirs: `[S, B]` and `[T, B]`, values by seed and image.

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
    draw = np.random.default_rng(0)
    images = draw.integers(count, size=(RESAMPLES, count))
    means = [
        _redrawn(values, draw.integers(len(values), size=(RESAMPLES, len(values))))
        for values in (first, second)
    ]  # [RESAMPLES, B] each
    resampled = np.take_along_axis(means[0] - means[1], images, axis=1).mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(first.mean() - second.mean(), float(low), float(high), count)


def _redrawn(values: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The means over resampled seeds: values `[S, B]`, seeds `[R, S]` to `[R, B]`."""
    weights = np.apply_along_axis(np.bincount, 1, seeds, minlength=len(values))
    return weights @ values / len(values)
