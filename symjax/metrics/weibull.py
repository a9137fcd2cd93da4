"""Fits the reverse Weibull distribution to maxima with an end point (Weng et al. 2018).

    law = weibull.fit(maxima)      # [..., N] -> end point, shape, scale, each [...]

Maxima x below an end point L have the distribution
`F(x) = exp(-((L - x) / scale)^shape)`. The likelihood is maximized over shapes from 1
to 100: below shape 1 it is unbounded as L approaches the largest maximum, and above
shape 100 a sample cannot distinguish the distribution from a Gumbel distribution, which
has no end point. Computed with NumPy in float64 on the host.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.optimize import elementwise

SHAPES = (1.0, 100.0)
REGULAR = 2.0  # at shapes above it the likelihood is regular (Smith 1985)
GAPS = np.geomspace(1e-6, 1e3, 37)  # from the largest maximum to L, in sample ranges
ROWS = 64  # the number of samples at a time
NEWTON_STEPS = 60  # upper limit, for bisections; Newton steps need only a few
PRECISION = 1e-8  # relative size of a step after which Newton's method has converged
ROUNDING = 1e-6  # maxima that differ by less than 16 float32 roundings count as equal


class ReverseWeibull(NamedTuple):
    """Fitted distributions; each attribute is a float64 array `[...]`.

    Attributes:
      end_point: L, the smallest value that no maximum exceeds, in the maxima's unit.
      shape: 1 or 100 if the likelihood has its maximum at the limit; NaN if all maxima
        are equal, and L is then this value.
      scale: in the maxima's unit.
      p_value: p-value of the Kolmogorov-Smirnov distance between the distribution and
        the maxima. It is too large, because the distribution was fitted to the maxima:
        a small p-value is evidence against the fit, but a large one is no evidence for
        it. NaN if all maxima are equal.
      std_error: standard error of `end_point`, from the observed information of all
        three parameters. It is defined for shapes above 2 only and NaN for others. It
        is infinite if the shape is at its upper limit, because the sample does not
        imply an end point; 0 if all maxima are equal. The distribution of the end point
        is skewed: for 500 maxima, an interval of 1.96 standard errors to both sides
        covers it in about 90 % of cases.
      distinct: the number of different values among the maxima.
    """

    end_point: np.ndarray
    shape: np.ndarray
    scale: np.ndarray
    p_value: np.ndarray
    std_error: np.ndarray
    distinct: np.ndarray


def fit(maxima: np.ndarray, start: float | None = None) -> ReverseWeibull:
    """Fits `L`, shape and scale to samples of maxima, by maximum likelihood.

    For a given L, scale and shape are solved for, which gives the likelihood as a
    function of L. It is evaluated from 1e-6 to 1e3 sample ranges above the largest
    maximum, and refined around the best of these points. With shape 1, the best L is
    the largest maximum itself. The most likely of all these solutions is returned.

    Args:
      maxima: `[..., N]`, finite, not negative.
      start: for comparisons only: use one local search by SciPy's `weibull_min.fit` and
        `fmin` from this shape instead, in the dtype of `maxima`, as ART's `clever_t`
        does from 1. It may stop at a shape below 1 with L at the largest maximum, or
        before it has converged.

    Returns:
      A `ReverseWeibull`.

    Raises:
      ValueError: if there are no maxima, or one is negative or not finite.

    References:
      Weng et al., Evaluating the Robustness of Neural Networks: An Extreme Value Theory
      Approach, ICLR 2018, Section 4.
      Smith, Maximum Likelihood Estimation in a Class of Nonregular Cases, Biometrika
      1985.
    """
    maxima = np.asarray(maxima)
    if maxima.ndim < 1 or 0 in maxima.shape:
        raise ValueError(f"maxima of shape {maxima.shape}: expected [..., N], N > 0.")
    if not (np.isfinite(maxima).all() and (maxima >= 0).all()):
        raise ValueError(
            f"maxima from {maxima.min()} to {maxima.max()}: expected norms, which are "
            "finite and not negative."
        )
    rows = maxima.reshape(-1, maxima.shape[-1])
    exact = rows.astype(np.float64)
    largest = exact.max(axis=1)
    law = np.stack([largest, np.full(len(exact), np.nan), np.zeros(len(exact))])
    varied = np.flatnonzero(np.ptp(exact, axis=1) > ROUNDING * largest)
    if start is None:
        for part in np.array_split(varied, len(varied) // ROWS + 1):
            law[:, part] = _most_likely(exact[part])
    else:
        for row in varied:
            law[:, row] = _local_search(rows[row], start)
    end_point, shape, scale = law
    p_value = _goodness(exact, end_point, shape, scale)
    std_error = _standard_error(exact, end_point, shape, scale)
    distinct = np.array([len(np.unique(row)) for row in rows])
    whole = end_point, shape, scale, p_value, std_error, distinct
    return ReverseWeibull(*(part.reshape(maxima.shape[:-1]) for part in whole))


def _local_search(row: np.ndarray, start: float) -> tuple[Any, Any, Any]:
    with np.errstate(all="ignore"):
        fitted: Any = stats.weibull_min.fit(-row, start, optimizer=optimize.fmin)
    shape, location, scale = fitted
    return -location, shape, scale


def _most_likely(rows: np.ndarray) -> np.ndarray:
    """End point, shape and scale, `[3, M]`, of maxima `[M, N]` that are not equal."""
    largest, spread = rows.max(axis=1), np.ptp(rows, axis=1)
    depth = (largest[:, None] - rows) / spread[:, None]
    best = _profile(depth[:, None], GAPS)[0].argmax(axis=1)
    place = np.clip(best, 1, len(GAPS) - 2)
    minimum = elementwise.find_minimum(
        lambda x, row: -_profile(depth[row], np.exp(x))[0],
        tuple(np.log(GAPS[place + step]) for step in (-1, 0, 1)),
        args=(np.arange(len(rows)),),
    )
    # The search fails if the best point is the first or the last one of GAPS.
    gap = np.where(minimum.success, np.exp(minimum.x), GAPS[best])
    likelihood, shape, scale = _profile(depth, gap)
    mean = depth.mean(axis=1)  # the scale of shape 1, an exponential law
    exponential = -np.log(mean) - 1 >= likelihood
    gap = np.where(exponential, 0.0, gap)
    shape = np.where(exponential, SHAPES[0], shape)
    scale = np.where(exponential, mean, scale)
    return np.stack([largest + gap * spread, shape, scale * spread])


def _profile(depth: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, ...]:
    """The largest log-likelihood per maximum for an end point, with shape and scale.

    Args:
      depth: `[..., N]`, the largest maximum minus each maximum.
      gap: `[...]`, the end point minus the largest maximum, positive.
    """
    logs = np.log(depth + gap[..., None])
    top = logs.max(axis=-1)
    below = logs - top[..., None]
    shape = _shape(below)
    power = np.log(np.exp(shape[..., None] * below).mean(axis=-1))
    scale = np.exp(top + power / shape)
    likelihood = (
        np.log(shape) - shape * top - power + (shape - 1) * logs.mean(axis=-1) - 1
    )
    return likelihood, shape, scale


def _shape(below: np.ndarray) -> np.ndarray:
    """The most likely shape within `SHAPES`, for logarithms z `[..., N]` of maximum 0.

    With weights `w = exp(shape z)`, the shape solves `E_w[z] - E[z] = 1 / shape`. The
    difference of the two sides decreases in `1 / shape` and is nearly linear. It is
    solved by Newton's method, with bisection where a step leaves the bracket, which is
    `0 < 1 / shape <= -E[z]` at first.
    """
    mean = below.mean(axis=-1)
    low, high = np.zeros_like(mean), -mean
    inverse = np.minimum(below.std(axis=-1) * 6**0.5 / np.pi, high)
    for _ in range(NEWTON_STEPS):
        weight = np.exp(below / inverse[..., None])
        weight /= weight.sum(axis=-1, keepdims=True)
        center = (weight * below).sum(axis=-1)
        variance = (weight * np.square(below - center[..., None])).sum(axis=-1)
        excess = center - mean - inverse
        low = np.where(excess > 0, inverse, low)
        high = np.where(excess > 0, high, inverse)
        newton = inverse + excess / (variance / inverse**2 + 1)
        inside = (newton >= low) & (newton <= high)
        before, inverse = inverse, np.where(inside, newton, (low + high) / 2)
        if (np.abs(inverse - before) <= PRECISION * inverse).all():
            break
    return np.clip(1 / inverse, *SHAPES)


def _goodness(rows, end_point, shape, scale) -> np.ndarray:
    """The p-value of the Kolmogorov-Smirnov distance, `[M]`."""
    count = rows.shape[1]
    with np.errstate(all="ignore"):
        depth = (end_point[:, None] - np.sort(rows, axis=1)) / scale[:, None]
        cumulative = np.exp(-(np.maximum(depth, 0) ** shape[:, None]))
    above = (np.arange(1, count + 1) / count - cumulative).max(axis=1)
    below = (cumulative - np.arange(count) / count).max(axis=1)
    return stats.kstwo.sf(np.maximum(above, below), count)


def _standard_error(rows, end_point, shape, scale) -> np.ndarray:
    """The standard error of the end point, `[M]`, from the observed information.

    The information on L, shape c and scale s is minus the second derivatives of the
    log-likelihood, which is the sum over a row of
    `log c - c log s + (c - 1) log y - (y / s)^c`, with `y = L - x`.
    """
    c, s = shape[:, None], scale[:, None]
    with np.errstate(all="ignore"):
        y = end_point[:, None] - rows
        log = np.log(y / s)
        power = np.exp(c * log)
        second = {
            (0, 0): -(c - 1) * (1 + c * power) / y**2,
            (0, 1): (1 - power - c * power * log) / y,
            (0, 2): c**2 * power / (s * y),
            (1, 1): -1 / c**2 - power * log**2,
            (1, 2): (power - 1 + c * power * log) / s,
            (2, 2): c * (1 - power - c * power) / s**2,
        }
        information = np.empty((len(rows), 3, 3))
        for (row, column), terms in second.items():
            total = -terms.sum(axis=1)
            information[:, row, column] = information[:, column, row] = total
        regular = (shape > REGULAR) & np.isfinite(information).all(axis=(1, 2))
        information[~regular] = np.eye(3)
        variance = np.linalg.inv(information)[:, 0, 0]
        error = np.where(regular & (variance > 0), np.sqrt(variance), np.nan)
    error = np.where(shape >= SHAPES[1] * (1 - 1e-9), np.inf, error)
    return np.where(np.isnan(shape), 0.0, error)
