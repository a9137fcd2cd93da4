"""The reverse Weibull fit: known laws, SciPy's likelihood, samples without a law."""

import numpy as np
import pytest
from scipy import stats

from symjax.metrics import weibull

MAXIMA = 500


def drawn(shape, end_point=3.0, scale=0.2, rows=20, seed=0):
    """Maxima of that law, `[rows, MAXIMA]`."""
    rng = np.random.default_rng(seed)
    size = rows, MAXIMA
    return end_point - stats.weibull_min.rvs(
        shape, scale=scale, size=size, random_state=rng
    )


def log_likelihood(law, maxima):
    """SciPy's, `[rows]`."""
    return np.array(
        [
            np.sum(stats.weibull_min.logpdf(-row, shape, -end_point, scale))
            for row, end_point, shape, scale in zip(maxima, *law[:3], strict=True)
        ]
    )


@pytest.mark.parametrize("shape", [3.0, 6.0])
def test_finds_the_law_and_says_how_well_it_knows_the_end_point(shape):
    """1.96 errors hold the end point in nine of ten samples: its law is skewed yet."""
    law = weibull.fit(drawn(shape, rows=200))
    away = (law.end_point - 3.0) / law.std_error
    assert abs(np.median(away)) < 0.25
    assert 0.85 < np.mean(np.abs(away) < 1.96) < 0.95
    assert np.median(law.std_error) == pytest.approx(law.end_point.std(), rel=0.15)
    assert np.median(law.shape) == pytest.approx(shape, rel=0.05)
    assert np.median(law.scale) == pytest.approx(0.2, rel=0.05)
    assert np.mean(law.p_value < 0.05) < 0.02  # the law was fitted: rarer than 5 %
    np.testing.assert_array_equal(law.distinct, MAXIMA)


@pytest.mark.parametrize("shape", [1.3, 2.5, 5.0, 10.0])
def test_no_local_search_of_scipy_finds_a_more_likely_admissible_law(shape):
    maxima = drawn(shape, rows=3)
    ours = log_likelihood(weibull.fit(maxima), maxima)
    for start in (1.0, 5.0, 20.0):
        law = weibull.fit(maxima, start)
        admissible = (law.shape >= weibull.SHAPES[0]) & (law.shape <= weibull.SHAPES[1])
        theirs = np.where(admissible, log_likelihood(law, maxima), -np.inf)
        assert (ours >= theirs - 1e-6).all()
        if start == 20:
            assert admissible.all()
            np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_p_value_is_that_of_kolmogorov_and_smirnov():
    maxima = drawn(4.0, rows=3)
    law = weibull.fit(maxima)
    for row in range(3):
        end_point, shape, scale = (part[row] for part in law[:3])
        test = stats.kstest(
            -maxima[row], stats.weibull_min(shape, -end_point, scale).cdf
        )
        assert law.p_value[row] == pytest.approx(test.pvalue, rel=1e-9)


def test_standard_error_is_the_curvature_of_the_likelihood():
    """Of the sum over the maxima, by second differences in all three parameters."""
    maxima = drawn(4.0, rows=1)
    law = weibull.fit(maxima)
    best = np.array([part[0] for part in law[:3]])
    step = 1e-4 * np.array([law.scale[0], *best[1:]])

    def value(move):
        end_point, shape, scale = best + move
        return np.sum(stats.weibull_min.logpdf(-maxima[0], shape, -end_point, scale))

    hessian, axes = np.empty((3, 3)), np.diag(step)
    for i in range(3):
        for j in range(3):
            signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
            terms = [a * b * value(a * axes[i] + b * axes[j]) for a, b in signs]
            hessian[i, j] = np.sum(terms) / (4 * step[i] * step[j])
    expected = np.sqrt(np.linalg.inv(-hessian)[0, 0])
    assert law.std_error[0] == pytest.approx(expected, rel=1e-3)


def test_the_unit_does_not_matter():
    maxima = drawn(4.0, rows=4)
    one = weibull.fit(maxima)
    for unit in (1e-12, 1e12):
        other = weibull.fit(unit * maxima)
        for name in ("end_point", "scale", "std_error"):
            scaled = getattr(one, name) * unit
            np.testing.assert_allclose(getattr(other, name), scaled, rtol=1e-5)
        np.testing.assert_allclose(other.shape, one.shape, rtol=1e-5)


def test_rows_are_fitted_alone():
    maxima = drawn(4.0, rows=6)
    together = weibull.fit(maxima.reshape(2, 3, -1))
    assert together.end_point.shape == (2, 3)
    for row in range(6):
        alone = weibull.fit(maxima[row])
        assert alone.end_point.shape == ()
        for part, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(part.reshape(6)[row], single, rtol=1e-6)


@pytest.mark.parametrize("start", [None, 1.0])
def test_one_value_is_the_end_point(start):
    """Up to rounding of float32: gradients of a linear net."""
    value, count = np.float32(2.7), 50
    noise = np.where(np.arange(count) % 2, value, np.nextafter(value, np.float32(3)))
    law = weibull.fit(np.stack([np.full(count, value), noise, np.zeros(count)]), start)
    np.testing.assert_allclose(law.end_point, [value, value, 0], rtol=2e-7)
    np.testing.assert_array_equal(law.std_error, 0)
    assert np.isnan(law.shape).all() and np.isnan(law.p_value).all()
    np.testing.assert_array_equal(law.distinct, [1, 2, 1])
    assert weibull.fit(np.array([1.5])).end_point == 1.5


def test_a_value_that_most_batches_reach_is_the_end_point():
    """As of a net that is linear on large pieces: the law of shape 1 is at the edge."""
    rng = np.random.default_rng(0)
    maxima = np.where(rng.random((5, MAXIMA)) < 0.03, 1.0, 2.0)
    law = weibull.fit(maxima)
    np.testing.assert_array_equal(law.end_point, 2)
    np.testing.assert_array_equal(law.shape, 1)
    assert np.isnan(law.std_error).all() and (law.p_value < 1e-6).all()


def test_the_error_is_told_only_where_the_likelihood_is_regular():
    edge, steep = (weibull.fit(drawn(shape, 9.0)) for shape in (0.7, 1.4))
    for law in (edge, steep):
        assert (law.shape < 2).all() and np.isnan(law.std_error).all()
    assert (edge.end_point < 9 + 1e-9).all() and (edge.shape == 1).all()


def test_tails_without_an_end_point_are_at_the_limit_and_say_so():
    rng = np.random.default_rng(0)
    law = weibull.fit(10 + rng.pareto(3.0, (5, MAXIMA)))
    np.testing.assert_allclose(law.shape, weibull.SHAPES[1])
    assert np.isinf(law.std_error).all() and (law.p_value < 0.01).all()
    gumbel = weibull.fit(rng.gumbel(10, 0.1, (40, MAXIMA)))
    at_limit = np.isinf(gumbel.std_error)
    assert 0.2 < at_limit.mean() < 0.8  # for all that a sample can tell, half of them
    np.testing.assert_allclose(gumbel.shape[at_limit], weibull.SHAPES[1])
    assert np.isfinite(gumbel.end_point).all()


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [1.0, np.inf], [1.0, -1.0]])
def test_refuses(bad):
    with pytest.raises(ValueError, match="expected"):
        weibull.fit(np.array(bad))
