"""Theorem 2's two sides: equal to closed forms, and able to come out either way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.groups import C1
from symjax.metrics import curvature, orbit
from tests import symmetric_models as small

IMAGES, LABELS = small.problem()
X = small.flat(IMAGES).astype(np.float64)
KEY = jax.random.key(1)
LENGTH = 0.3
TURNS = small.turns()
TANGENT = np.asarray(small.flat(curvature.unit(orbit.tangent(IMAGES))), np.float64)


def tangent_changes(net, images=IMAGES, length=LENGTH, **options):
    call = net, images, LABELS, KEY, length
    return curvature.tangent_changes(*call, samples=3, **options)


def orbit_changes(net, **options):
    return curvature.orbit_changes(net, IMAGES, LABELS, KEY, samples=3, **options)


def spectral(jacobians):
    """The spectral norm of `[..., K, PIXELS]`."""
    return np.linalg.norm(jacobians, 2, axis=(-2, -1))


def test_changes_are_the_second_derivative_times_the_displacement():
    matrices, kernel = small.random_weights()
    net = small.net(matrices, kernel)
    found = tangent_changes(net)
    rows = np.einsum("kij,bj->bki", matrices, LENGTH * TANGENT)
    np.testing.assert_allclose(found.along, spectral(rows), rtol=1e-3)
    gradients = np.einsum("kij,bj->bki", matrices, X) + kernel
    np.testing.assert_allclose(found.gradient, spectral(gradients), rtol=1e-4)
    assert found.across.shape == (len(IMAGES), 3)

    there = orbit_changes(net)
    steps = np.einsum("gij,bj->gbi", TURNS[1:], X) - X
    np.testing.assert_allclose(there.distance, np.linalg.norm(steps, axis=-1), 1e-5)
    rows = np.einsum("kij,gbj->gbki", matrices, steps)
    np.testing.assert_allclose(there.along, spectral(rows), rtol=1e-3)
    back = np.einsum("gji,kjl,glm->gkim", TURNS, matrices, TURNS) - matrices
    shift = np.einsum("gji,kj->gki", TURNS, kernel) - kernel
    rows = np.einsum("gkij,bj->gbki", back, X) + shift[:, None]
    np.testing.assert_allclose(there.aligned, spectral(rows[1:]), rtol=1e-3)
    assert there.across.shape == (3, len(IMAGES), 3)


def test_an_invariant_function_may_change_alike_in_all_directions():
    """x^T x: Theorem 2 asks for a ratio much above 1, and it is 1."""
    net, size = small.quadratic([1.0, -2.0, 2.0]), 3.0  # of the three factors
    found = tangent_changes(net)
    np.testing.assert_allclose(found.along, size * LENGTH, rtol=1e-4)
    np.testing.assert_allclose(found.across, size * LENGTH, rtol=1e-4)
    np.testing.assert_allclose(found.ratio, 1, rtol=1e-4)
    there = orbit_changes(net)
    np.testing.assert_allclose(there.along, size * there.distance, rtol=1e-4)
    np.testing.assert_allclose(there.across / there.along[..., None], 1, rtol=1e-4)
    np.testing.assert_allclose(there.aligned, 0, atol=1e-5)
    np.testing.assert_allclose(there.ratio, 1, rtol=1e-4)


def test_the_ratio_is_large_or_small_where_it_should_be():
    line = np.outer(TANGENT[0], TANGENT[0])
    off = tangent_changes(small.net(np.stack([np.eye(small.PIXELS) - line] * 3)))
    assert off.along[0] < 1e-5 and off.ratio[0] > 1e4
    np.testing.assert_allclose(off.across[0], np.sqrt(3) * LENGTH, rtol=1e-4)
    on = tangent_changes(small.net(np.stack([line] * 3)))
    np.testing.assert_allclose(on.along[0], np.sqrt(3) * LENGTH, rtol=1e-4)
    assert on.ratio[0] < 1e-4


def test_along_the_orbit_of_an_invariant_net_the_gradient_turns():
    exact = orbit_changes(small.net(*small.averaged_weights()))
    assert np.max(exact.aligned / exact.gradient[None]) < 1e-5
    assert np.min(exact.along / exact.gradient[None]) > 0.1
    other = orbit_changes(small.net(*small.random_weights()))
    assert np.min(other.aligned / other.gradient[None]) > 0.5


def test_within_a_piece_of_a_piecewise_linear_net_nothing_changes():
    planes = np.zeros((3, small.PIXELS))
    planes[0] = TANGENT[0]
    height = TANGENT[0] @ X[0] + 0.1
    net = small.net(planes=planes, heights=np.array([height, 0, 0]))
    near, far = (tangent_changes(net, length=length) for length in (0.05, LENGTH))
    assert near.along[0] == 0 and np.isnan(near.ratio[0])
    assert far.along[0] == pytest.approx(1, 1e-4) and np.isfinite(far.ratio[0])


def test_an_image_that_is_the_same_all_round_has_no_tangent():
    images = IMAGES.copy()
    images[0] = 0.5
    net = small.net(*small.random_weights())
    found = tangent_changes(net, images)
    slope, anywhere = curvature.tangent_slopes(net, images)
    for values in (found.along, slope):
        np.testing.assert_array_equal(np.isnan(values), [True, False, False, False])
    assert np.isfinite(anywhere).all() and np.isfinite(found.across).all()


def test_slopes_of_a_linear_net():
    kernel = small.random_weights()[1]
    slope, anywhere = curvature.tangent_slopes(small.net(kernel=kernel), IMAGES)
    largest = np.linalg.norm(kernel, 2)
    expected = np.linalg.norm(kernel @ TANGENT.T, axis=0) / largest
    np.testing.assert_allclose(slope, expected, rtol=1e-4)
    expected = np.linalg.norm(kernel) / largest / np.sqrt(small.PIXELS)
    np.testing.assert_allclose(anywhere, np.full(len(IMAGES), expected), rtol=1e-4)


@pytest.mark.slow
def test_directions_are_orthogonal_and_as_smooth_as_they_are_to_be():
    rows, columns = np.mgrid[0:8, 0:8] * np.pi / 4
    slow = [np.cos(rows) + 2 * np.sin(columns), 3 * np.sin(rows) - np.cos(columns)]
    fast = [np.cos(2 * rows), np.sin(3 * rows)]
    like, other = (jnp.asarray(np.stack(x)[..., None], "f4") for x in (slow, fast))
    draw = curvature.orthogonal(jnp.stack([other, other, 0 * other]))
    keys = jax.random.split(KEY, 2)
    drawn = {noise: draw(keys, like, noise) for noise in curvature.NOISES}
    for found in drawn.values():
        np.testing.assert_allclose(np.linalg.norm(small.flat(found), axis=1), 1, 1e-5)
        assert np.max(np.abs(np.sum(found * other, axis=(1, 2, 3)))) < 1e-5
        assert np.min(np.abs(found / curvature.unit(like) - 1).mean((1, 2, 3))) > 0.1
    waves = [np.abs(np.fft.fft2(x[..., 0])) for x in (drawn["spectrum_matched"], like)]
    alike, given = (x / np.linalg.norm(x, axis=(1, 2), keepdims=True) for x in waves)
    np.testing.assert_allclose(alike, given, atol=0.05)  # the 0 costs a dimension
    power = np.abs(np.fft.fft2(drawn["white"][..., 0])) ** 2
    assert np.min(power[:, 2:7].sum(axis=(1, 2)) / power.sum(axis=(1, 2))) > 0.4
    with pytest.raises(ValueError, match="noise='pink'"):
        draw(keys, like, "pink")


def test_what_an_image_draws_does_not_depend_on_its_batch():
    net = small.net(*small.random_weights())
    keys = jax.random.split(KEY, len(IMAGES))

    def across(order):
        call = net, IMAGES[order], LABELS[order], keys[order], LENGTH
        found = curvature.tangent_changes(*call, samples=2, noise="spectrum_matched")
        return np.asarray(found.across)

    first, order = across(np.arange(4)), np.array([2, 0, 3, 1])
    np.testing.assert_allclose(across(order), first[order], rtol=1e-5)
    assert np.min(np.abs(first / np.roll(first, 1, axis=1) - 1)) > 1e-4
    with pytest.raises(ValueError, match="expected one key, or .4."):
        curvature.tangent_changes(net, IMAGES, LABELS, keys[:3], LENGTH)


def test_impossible_arguments_are_refused():
    net = small.net()
    with pytest.raises(ValueError, match="has one element: expected more"):
        orbit_changes(net, group=C1)
    with pytest.raises(ValueError, match="samples=0"):
        curvature.orbit_changes(net, IMAGES, LABELS, KEY, samples=0)
