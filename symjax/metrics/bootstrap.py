"""Statistics over images, with intervals by the bootstrap; on the host.

estimate(ratio)                                   # mean, and its 95 % interval
estimate(across, along, statistic=ratio_of_means)
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
    count = len(arrays[0])
    if any(np.isnan(array).any() for array in arrays):
        return Estimate(np.nan, np.nan, np.nan, count)
    with np.errstate(invalid="ignore"):
        found = stats.bootstrap(
            arrays,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        value = float(statistic(*arrays, axis=-1))
    return Estimate(value, float(found.low), float(found.high), count)
