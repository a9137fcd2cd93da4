"""Mean and deviation; bootstrap intervals: known limits, pairs kept together, NaN."""

import numpy as np
import pytest

from symjax.statistics import (
    difference,
    estimate,
    mean_and_sd,
    paired_difference,
    proportion,
    ratio_of_means,
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
    narrower = estimate(values, confidence=0.5)
    assert found.low < narrower.low < narrower.high < found.high


def test_it_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(size=(200, 50))
    found = [estimate(values, resamples=300) for values in draws]
    covered = np.mean([x.low <= 0 <= x.high for x in found])
    assert 0.88 <= covered <= 0.99


def test_images_of_a_ratio_are_drawn_together():
    below = np.random.default_rng(2).uniform(1, 9, size=30)
    found = estimate(3 * below, below, statistic=ratio_of_means)
    np.testing.assert_allclose(found[:3], 3)
    below[:3] = 0
    assert estimate(below + 1, below, statistic=ratio_of_means).high < 2
    assert np.isinf(estimate(below + 1, 0 * below, statistic=ratio_of_means).value)


def test_medians_bear_infinities_and_nan_stays():
    values = np.r_[np.arange(20.0), np.inf]
    found = estimate(values, statistic=np.median)
    assert found.value == 10 and 3 <= found.low < 10 < found.high <= 17
    assert np.isnan(estimate(np.r_[values, np.nan])[:3]).all()


def test_the_same_seed_draws_the_same():
    values = np.random.default_rng(3).normal(size=20)
    assert estimate(values) == estimate(values) != estimate(values, seed=1)


def test_other_shapes_are_refused():
    for values in ([np.ones(3), np.ones(4)], [np.ones((2, 2))], [np.ones(1)]):
        with pytest.raises(ValueError, match="expected .B. for all"):
            estimate(*values)


def test_the_difference_of_two_samples_is_that_of_its_normal_limit():
    rng = np.random.default_rng(4)
    first, second = rng.random(900) < 0.9, rng.random(300) < 0.7
    found = difference(first, second)
    variances = [share.mean() * (1 - share.mean()) for share in (first, second)]
    half = 1.96 * np.sqrt(variances[0] / 900 + variances[1] / 300)
    assert found.value == pytest.approx(first.mean() - second.mean())
    np.testing.assert_allclose(
        [found.low, found.high], found.value + np.array([-half, half]), atol=0.008
    )
    assert found.count == 1200 and half > 0.05
    assert np.isnan(difference(np.r_[1.0, np.nan], np.ones(2))[:3]).all()
    for values in ([np.ones(3), np.ones(1)], [np.ones((2, 2)), np.ones(2)]):
        with pytest.raises(ValueError, match="each of 2 or more"):
            difference(*values)


def test_the_interval_covers_what_other_images_and_seeds_would_give():
    """Normal effects of images and seeds: 95 % intervals hold the truth that often."""
    draw, hits, trials = np.random.default_rng(1), 0, 200
    for trial in range(trials):
        image = draw.normal(size=30)
        nets = [
            image + draw.normal(scale=0.3, size=(8, 1)) + draw.normal(size=(8, 30))
            for _ in range(2)
        ]
        found = paired_difference(*nets, resamples=400, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / trials <= 0.99


def test_differences_of_what_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"expected \[S, B\] and \[T, B\]"):
        paired_difference(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="no NaN"):
        paired_difference(np.full((2, 3), np.nan), np.zeros((2, 3)))


def test_wilsons_interval_of_a_proportion_is_its_closed_form():
    z, n, p = 1.959964, 1000, 0.453
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    found = proportion(453, 1000)
    assert found == pytest.approx((p, middle - half, middle + half, n), abs=1e-7)
    assert proportion(0, 10)[:2] == (0, 0) and 0.2 < proportion(0, 10).high < 0.3
    for k, n in ((11, 10), (0, 0), (-1, 10)):
        with pytest.raises(ValueError, match=f"{k} of {n} images: expected"):
            proportion(k, n)
