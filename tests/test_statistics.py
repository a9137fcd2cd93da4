"""Mean and deviation; intervals: known limits, coverage, images kept together, NaN."""

import numpy as np
import pytest

from symjax import statistics
from symjax.statistics import (
    difference,
    estimate,
    mean_and_sd,
    paired_difference,
    proportion,
)


def test_mean_and_sample_deviation_of_the_values_that_are_there():
    assert mean_and_sd([1, 2, 3, 4]) == (2.5, pytest.approx((5 / 3) ** 0.5))
    assert mean_and_sd([0.5]) == (0.5, None)
    assert mean_and_sd([1.0, np.inf]) == (np.inf, None)
    assert np.isnan(mean_and_sd([np.inf, -np.inf])[0])
    with pytest.raises(ValueError, match="expected one value or more"):
        mean_and_sd([])


def test_the_interval_of_a_mean_is_that_of_its_normal_limit():
    values = np.random.default_rng(0).normal(3, 2, size=400)
    found = estimate(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean()) and found.count == 400
    np.testing.assert_allclose(
        [found.low, found.high], found.value + np.array([-half, half]), atol=0.03
    )
    assert found == estimate(values)
    assert np.isnan(estimate([0.0, np.nan])[:3]).all()


def test_the_difference_of_two_samples_is_that_of_its_normal_limit():
    rng = np.random.default_rng(4)
    first, second = rng.random(900) < 0.9, rng.random(300) < 0.7
    found = difference(first, second)
    variances = [sample.mean() * (1 - sample.mean()) for sample in (first, second)]
    half = 1.96 * np.sqrt(variances[0] / 900 + variances[1] / 300)
    assert found.value == pytest.approx(first.mean() - second.mean())
    np.testing.assert_allclose(
        [found.low, found.high], found.value + np.array([-half, half]), atol=0.008
    )
    assert found.count == 1200 and half > 0.05
    assert np.isnan(difference(np.r_[1.0, np.nan], np.ones(2))[:3]).all()


def test_intervals_cover_the_truth_in_95_percent_of_trials(monkeypatch):
    """Paired differences have normal effects of images and of seeds."""
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    draw, found, trials = np.random.default_rng(1), [], 200
    for _ in range(trials):
        image = draw.normal(size=30)
        nets = [
            image + draw.normal(scale=0.3, size=(8, 1)) + draw.normal(size=(8, 30))
            for _ in range(2)
        ]
        found.append(paired_difference(*nets))
    found += [estimate(draw.normal(size=50), resamples=300) for _ in range(trials)]
    covered = np.array([x.low <= 0 <= x.high for x in found]).reshape(2, trials)
    assert (0.88 <= covered.mean(axis=1)).all() and (covered.mean(axis=1) <= 0.99).all()


def test_wilsons_interval_of_a_proportion_is_its_closed_form():
    z, n, p = 1.959964, 1000, 0.453
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    found = proportion(453, 1000)
    assert found == pytest.approx((p, middle - half, middle + half, n), abs=1e-7)
    assert proportion(0, 10)[:2] == (0, 0) and 0.2 < proportion(0, 10).high < 0.3


def test_values_of_other_shapes_are_refused():
    for values in ([np.ones((2, 2))], [np.ones(1)], [np.ones(3), np.ones(1)]):
        with pytest.raises(ValueError, match="expected one axis with two images"):
            (estimate if len(values) == 1 else difference)(*values)
    with pytest.raises(ValueError, match=r"expected \[S, B\] and \[T, B\]"):
        paired_difference(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="no NaN"):
        paired_difference(np.full((2, 3), np.nan), np.zeros((2, 3)))
    for k, n in ((11, 10), (0, 0), (-1, 10)):
        with pytest.raises(ValueError, match=f"{k} of {n} images: expected"):
            proportion(k, n)
