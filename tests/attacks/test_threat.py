"""Norm balls: closed forms, containment of whatever is projected, units."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax import attacks
from symjax.attacks import NORMS, Linf, ThreatModel, in_pixels

KEY = jax.random.key(0)
EPS = pytest.mark.parametrize("eps", [0.1, (0.1, 0.02, 0.3)], ids=["scalar", "channel"])
SHAPE = (4, 3, 5, 3)
# float32 rounds a pixel by at most 6e-8; a norm over 45 of them by less than this.
ROUNDING = 5e-7
PERTURBED = settings(max_examples=40, deadline=None, derandomize=True)

project = jax.jit(lambda threat, images, center: threat.project(images, center))
start = jax.jit(lambda threat, key, center: threat.start(key, center))


def centers(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def normal(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def lengths(delta):
    return np.sqrt(np.square(np.asarray(delta, np.float64)).sum(axis=(1, 2, 3)))


def overshoot(norm, eps, images, center):
    """By how much the farthest image leaves the ball, in units of its smallest eps."""
    delta = np.asarray(images, np.float64) - np.asarray(center, np.float64)
    eps = np.broadcast_to(np.asarray(eps, np.float64), delta.shape)
    if norm == "linf":
        return np.max(np.abs(delta) - eps)
    assert not delta[eps == 0].any()
    relative = np.divide(delta, eps, out=np.zeros_like(delta), where=eps > 0)
    return (lengths(relative).max() - 1) * eps.min()


@EPS
def test_linf_closed_forms(eps):
    threat, center, step = Linf(eps), centers(), np.asarray(eps)
    moved = center + normal(1)
    expected = np.clip(np.clip(moved, center - step, center + step), 0, 1)
    np.testing.assert_allclose(threat.project(moved, center), expected, atol=1e-6)
    ascended = threat.ascend(center, normal(2), eps)
    np.testing.assert_allclose(ascended, center + step * np.sign(normal(2)), atol=1e-6)
    farthest = np.abs(moved - center).max(axis=(1, 2, 3))
    np.testing.assert_allclose(threat.distance(moved, center), farthest, rtol=1e-6)


@EPS
def test_l2_closed_forms(eps):
    wide, center = attacks.L2(eps, bounds=(-9.0, 9.0)), centers()
    size = np.asarray(eps, np.float64)
    for scale in (1e-3, 1.0):  # inside the ball, and far outside
        delta = scale * normal(1)
        relative = lengths(delta / size)[:, None, None, None]
        expected = center + delta / np.maximum(relative, 1)
        assert (relative < 1).all() if scale < 1 else (relative > 1).all()
        projected = wide.project(center + delta, center)
        np.testing.assert_allclose(projected, expected, atol=1e-6)
    # Of all moves with norm(delta / eps) = 1, this one gains most along the gradient.
    gradient = normal(2)
    uphill = size**2 * gradient / lengths(size * gradient)[:, None, None, None]
    ascended = wide.ascend(center, gradient, eps)
    np.testing.assert_allclose(ascended, center + uphill, atol=1e-6)
    np.testing.assert_allclose(
        wide.distance(center + delta, center), lengths(delta), rtol=1e-5
    )


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_of_any_size_give_a_whole_step_and_none_gives_none(norm):
    threat, center = ThreatModel(norm, 0.1), centers()
    steps = [
        threat.ascend(center, jnp.float32(scale) * np.sign(normal(1)), 0.1) - center
        for scale in (1e-35, 1.0, 1e35)
    ]
    chex.assert_trees_all_close(*steps, atol=1e-6)
    assert np.abs(steps[0]).min() > 0.1 / 50  # l1: over all 45 pixels
    chex.assert_trees_all_equal(threat.ascend(center, 0 * center, 0.1), center)


@pytest.mark.parametrize("norm", NORMS)
def test_eps_0_is_the_image_itself(norm):
    center = centers()
    for eps in (0.0, (0.0, 0.0, 0.0)):
        threat = ThreatModel(norm, eps)
        chex.assert_trees_all_equal(project(threat, normal(1), center), center)
        chex.assert_trees_all_equal(start(threat, KEY, center), center)
        assert threat.contains(center, center).all()
    one = project(ThreatModel(norm, (0.0, 0.2, 0.0)), normal(1), center)
    chex.assert_trees_all_equal(one[..., ::2], center[..., ::2])
    assert (one[..., 1] != center[..., 1]).any()


@PERTURBED
@given(
    norm=st.sampled_from(NORMS),
    eps=st.one_of(
        st.floats(0, 1, width=32), st.tuples(*[st.floats(0, 1, width=32)] * 3)
    ),
    seed=st.integers(0, 10**6),
    exponent=st.integers(-8, 30),
)
def test_what_is_projected_or_drawn_lies_in_the_ball(norm, eps, seed, exponent):
    center = centers(seed)
    center[0] = np.round(center[0])  # on the bounds
    moved = center + np.float32(10.0**exponent) * normal(seed + 1)
    threat = ThreatModel(norm, jnp.asarray(eps, jnp.float32))
    for images in (
        project(threat, moved, center),
        start(threat, jax.random.key(seed), center),
    ):
        images = np.asarray(images)
        assert np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1
        assert overshoot(norm, eps, images, center) < ROUNDING
        assert threat.contains(images, center).all()


@pytest.mark.parametrize("norm", NORMS)
def test_containment_at_the_size_of_cifar(norm):
    center = centers(0, (20, 32, 32, 3))
    threat = ThreatModel(norm, 1.0, (-9.0, 9.0))
    images = project(threat, center + 3 * normal(1, center.shape), center)
    assert threat.contains(images, center).all()
    assert abs(overshoot(norm, 1.0, images, center)) < ROUNDING  # on the sphere


@pytest.mark.parametrize("norm", NORMS)
def test_contains_says_no_image_by_image(norm):
    threat = ThreatModel(norm, 0.1)
    center = np.full((6, 2, 2, 1), 0.5, np.float32)
    center[3], center[4] = 0.95, 0.05
    images = center.copy()
    images[1, 0, 0] += 0.1  # on the ball: allowed
    images[2, 0, 0] += 0.10001  # outside
    images[3, 0, 0] += 0.06  # in the ball, above 1
    images[4, 0, 0] -= 0.06  # below 0
    images[5, 1, 1] = np.nan
    expected = [True, True, False, False, False, False]
    np.testing.assert_array_equal(threat.contains(images, center), expected)
    images[1] = 0.6  # on the linf ball still, at twice the l2 radius
    assert threat.contains(images, center)[1] == (norm == "linf")
    images[1, 0, 0] = np.inf
    assert not threat.contains(images, center)[1]


@pytest.mark.parametrize("norm", NORMS)
def test_contains_knows_channels(norm):
    center = np.full((2, 1, 1, 2), 0.5, np.float32)
    images = center + np.array([[0.19, 0.0], [0.0, 0.19]], np.float32)[:, None, None]
    contained = ThreatModel(norm, (0.2, 0.1)).contains(images, center)
    np.testing.assert_array_equal(contained, [True, False])


def test_the_linf_start_is_uniform():
    center, eps = np.full((500, 8, 8, 1), 0.5, np.float32), 0.3
    noise = np.asarray(start(Linf(eps, (-9.0, 9.0)), KEY, center)) - center
    # 32000 draws: the mean errs by 0.003 eps (one sigma), the variance by 0.5 %.
    assert abs(noise.mean()) < 0.015 * eps
    assert noise.var() == pytest.approx(eps**2 / 3, rel=0.03)
    assert np.abs(noise).max() == pytest.approx(eps, rel=1e-3)


def test_the_l2_start_fills_the_ball_evenly():
    center, eps = np.full((4000, 2, 2, 1), 0.5, np.float32), 0.3
    noise = np.asarray(start(attacks.L2(eps, (-9.0, 9.0)), KEY, center)) - center
    # In 4 dimensions (radius / eps)^4 is uniform. Kolmogorov-Smirnov, 4000 draws:
    # 0.0258 is exceeded once in a hundred times.
    share = np.sort((lengths(noise) / eps) ** 4)
    assert np.abs(share - (np.arange(4000) + 0.5) / 4000).max() < 0.0258
    assert np.abs(noise.mean(axis=0)).max() < 0.05 * eps
    assert np.abs(np.corrcoef(noise.reshape(4000, 4).T) - np.eye(4)).max() < 0.05


def test_channels_start_in_balls_of_their_own():
    center = np.full((300, 4, 4, 2), 0.5, np.float32)
    noise = np.asarray(start(Linf((0.1, 0.3)), KEY, center)) - center
    farthest = np.abs(noise).max(axis=(0, 1, 2))
    np.testing.assert_allclose(farthest, [0.1, 0.3], rtol=0.01)


@pytest.mark.parametrize("norm", NORMS)
def test_another_eps_compiles_nothing(norm):
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(lambda t, x, c: t.project(x, c), n=1))
    center = centers()
    far = [
        traced(ThreatModel(norm, jnp.float32(eps)), center + 1, center) - center
        for eps in (0.0, 0.1, 0.2)
    ]
    assert np.abs(far[0]).max() < np.abs(far[1]).max() < np.abs(far[2]).max()


@pytest.mark.parametrize(
    ("eps", "unit", "std", "expected"),
    [
        (0.01, "normalized", (0.5,), 0.005),
        (0.01, "normalized", (0.5, 0.5, 0.5), 0.005),
        (0.01, "normalized", (0.5, 0.25, 0.2), (0.005, 0.0025, 0.002)),
        (8 / 255, "pixel", (0.5, 0.25, 0.2), 8 / 255),
        (0, "pixel", (0.5,), 0.0),
    ],
)
def test_in_pixels(eps, unit, std, expected):
    assert in_pixels(eps, unit, std) == pytest.approx(expected, abs=1e-12)
    assert isinstance(in_pixels(eps, unit, std), type(expected))


@pytest.mark.parametrize(
    ("eps", "unit", "match"),
    [
        (-0.1, "pixel", "eps=-0.1"),
        (np.nan, "normalized", "eps=nan"),
        (np.inf, "pixel", "eps=inf"),
        (0.1, "normalised", "'pixel' or 'normalized'"),
    ],
)
def test_in_pixels_refuses(eps, unit, match):
    with pytest.raises(ValueError, match=match):
        in_pixels(eps, unit, (0.5,))
