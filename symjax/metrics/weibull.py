"""The reverse Weibull law of maxima that have a finite end point (Weng et al. 2018).

    law = weibull.fit(maxima)      # [..., N] -> end point, shape, scale, each [...]

Maxima x below an end point L follow `F(x) = exp(-((L - x) / scale)^shape)`. Below shape
1 the likelihood grows without bound as L comes down to the largest maximum, and beyond
shape 100 the law is a Gumbel law, without an end point, for all that a sample can tell:
it is maximised over the shapes between. NumPy in float64, on the host.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.optimize import elementwise

SHAPES = (1.0, 100.0)
REGULAR = 2.0  # at shapes above it the likelihood is regular (Smith 1985)
GAPS = np.geomspace(1e-6, 1e3, 37)  # from the largest maximum to L, in sample ranges
ROWS = 64  # samples at a time
NEWTON_STEPS = 60  # a handful; bisections, at worst
PRECISION = 1e-8  # of the last step but one, whose error Newton's method squares
ROUNDING = 1e-6  # maxima that differ by less, in float32, are one: 16 roundings


class ReverseWeibull(NamedTuple):
    """Fitted laws, an array `[...]` each, float64.

    Attributes:
      end_point: L, the least value that no maximum exceeds, in the maxima's unit.
      shape: 1 or 100 where the likelihood has its maximum at the limit; NaN where all
        maxima are one value, which is then the end point.
      scale: in the maxima's unit.
      p_value: of the Kolmogorov-Smirnov distance between the law and the maxima. The
        law was fitted to them, so that it is too large: a small one speaks against the
        fit, a large one does not speak for it. NaN where all maxima are one value.
      std_error: of `end_point`, from the observed information of all three parameters.
        That is regular for shapes above 2 alone: NaN for others; infinite where the
        shape is at its upper limit, since the sample does not say that there is an end
        point; 0 where all maxima are one value. The end point's own law is skewed: of
        500 maxima, 1.96 errors to both sides hold it nine times in ten.
      distinct: how many different values there are among the maxima.
    """

    end_point: np.ndarray
    shape: np.ndarray
    scale: np.ndarray
    p_value: np.ndarray
    std_error: np.ndarray
    distinct: np.ndarray


def fit(maxima: np.ndarray, start: float | None = None) -> ReverseWeibull:
    """Maximum likelihood for `L`, shape and scale of samples of maxima.

    For each L, scale and shape are solved for; the likelihood is then a function of L
    alone, looked at from 1e-6 to 1e3 sample ranges above the largest maximum and
    refined around the best of these starts. With shape 1 the best L is the largest
    maximum itself. Of all that, the most likely is taken.

    Args:
      maxima: `[..., N]`, finite, not negative.
      start: for comparisons alone: instead, one local search by SciPy's
        `weibull_min.fit` and `fmin` from this shape, in the dtype of `maxima`, as
        ART's `clever_t` does from 1. It may end at a shape below 1 with L at the
        largest maximum, or anywhere on the way.

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
        raise ValueError("a maximum is negative or not finite: expected norms.")
    rows = maxima.reshape(-1, maxima.shape[-1])
    exact = rows.astype(np.float64)
    largest = exact.max(axis=1)
    law = np.stack([largest, np.full(len(exact), np.nan), np.zeros(len(exact))])
    left = np.flatnonzero(np.ptp(exact, axis=1) > ROUNDING * largest)
    if start is None:
        for part in np.array_split(left, len(left) // ROWS + 1):
            law[:, part] = _most_likely(exact[part])
    else:
        for row in left:
            law[:, row] = _local_search(rows[row], start)
    end_point, shape, scale = law
    p_value = _goodness(exact, end_point, shape, scale)
    std_error = _standard_error(exact, end_point, shape, scale)
    distinct = np.array([len(np.unique(row)) for row in rows])
    whole = end_point, shape, scale, p_value, std_error, distinct
    return ReverseWeibull(*(part.reshape(maxima.shape[:-1]) for part in whole))


def _local_search(row: np.ndarray, start: float) -> tuple[Any, Any, Any]:
    with np.errstate(all="ignore"):
        found: Any = stats.weibull_min.fit(-row, start, optimizer=optimize.fmin)
    shape, location, scale = found
    return -location, shape, scale


def _most_likely(rows: np.ndarray) -> np.ndarray:
    """End point, shape and scale, `[3, M]`, of `[M, N]` maxima that are not all one."""
    largest, spread = rows.max(axis=1), np.ptp(rows, axis=1)
    depth = (largest[:, None] - rows) / spread[:, None]
    best = _profile(depth[:, None], GAPS)[0].argmax(axis=1)
    place = np.clip(best, 1, len(GAPS) - 2)
    found = elementwise.find_minimum(
        lambda x, row: -_profile(depth[row], np.exp(x))[0],
        tuple(np.log(GAPS[place + step]) for step in (-1, 0, 1)),
        args=(np.arange(len(rows)),),
    )
    # There is no success where the best is at an end of GAPS.
    gap = np.where(found.success, np.exp(found.x), GAPS[best])
    likelihood, shape, scale = _profile(depth, gap)
    mean = depth.mean(axis=1)  # the scale of shape 1, an exponential law
    exponential = -np.log(mean) - 1 >= likelihood
    gap = np.where(exponential, 0.0, gap)
    shape = np.where(exponential, SHAPES[0], shape)
    scale = np.where(exponential, mean, scale)
    return np.stack([largest + gap * spread, shape, scale * spread])


def _profile(depth: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, ...]:
    """Log-likelihood per maximum, and the shape and scale that maximise it.

    Args:
      depth: `[..., N]`, how far each maximum lies below the largest.
      gap: `[...]`, how far the end point lies above it, positive.
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
    """The most likely shape within `SHAPES` of logarithms z `[..., N]`, the largest 0.

    With weights `w = exp(shape z)` it solves `E_w[z] - E[z] = 1 / shape`. The excess
    of the left side falls in `1 / shape` and is nearly linear: Newton's method, with
    bisection where it leaves the bracket, at first `0 < 1 / shape <= -E[z]`.
    """
    mean = below.mean(axis=-1)
    low, high = np.zeros_like(mean), -mean
    inverse = np.minimum(below.std(axis=-1) * 6**0.5 / np.pi, high)
    for _ in range(NEWTON_STEPS):
        weight = np.exp(below / inverse[..., None])
        weight /= weight.sum(axis=-1, keepdims=True)
        centre = (weight * below).sum(axis=-1)
        variance = (weight * np.square(below - centre[..., None])).sum(axis=-1)
        excess = centre - mean - inverse
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
        share = np.exp(-(np.maximum(depth, 0) ** shape[:, None]))
    above = (np.arange(1, count + 1) / count - share).max(axis=1)
    below = (share - np.arange(count) / count).max(axis=1)
    return stats.kstwo.sf(np.maximum(above, below), count)


def _standard_error(rows, end_point, shape, scale) -> np.ndarray:
    """Of the end point, `[M]`, by the observed information on L, shape c and scale s.

    Those are minus the second derivatives of the log-likelihood, the sum over a row of
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
