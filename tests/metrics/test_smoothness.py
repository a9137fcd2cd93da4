"""Lemma 5's left side, and variance and spectrum of gradients, against closed forms."""

import functools

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax.attacks import L2, Linf
from symjax.metrics import curvature, smoothness
from tests import symmetric_models as small

IMAGES, LABELS = small.problem()
X = small.flat(IMAGES).astype(np.float64)
KEY = jax.random.key(2)
TURNS = small.turns()
UNBOUNDED = (-1e6, 1e6)


def by_hand(matrices, kernel):
    """`||mean_g phi(g x) - phi(x)||`, as it is and turned back; and `||phi(x)||`."""
    there = np.einsum("gij,bj->gbi", TURNS, X)
    gradients = np.einsum("bij,gbj->gbi", matrices[LABELS], there) + kernel[LABELS]
    back = np.einsum("gji,gbj->gbi", TURNS, gradients)
    means = gradients.mean(axis=0), back.mean(axis=0), 2 * gradients[0]
    return [np.linalg.norm(mean - gradients[0], axis=1) for mean in means]


@pytest.mark.parametrize("weights", [small.random_weights, small.averaged_weights])
def test_both_readings_of_the_orbit_average(weights):
    found = smoothness.orbit_average(small.net(*weights()), IMAGES, LABELS)
    as_written, turned_back, gradient = by_hand(*weights())
    np.testing.assert_allclose(found.as_written, as_written, rtol=1e-3)
    np.testing.assert_allclose(found.aligned, turned_back, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-4)


def test_as_written_lemma_5_fails_for_an_invariant_net_and_small_steps():
    """Its left side does not depend on delta, and its right side vanishes with it."""
    net = small.net(*small.averaged_weights())
    left = smoothness.orbit_average(net, IMAGES, LABELS).as_written
    call = net, IMAGES, LABELS, KEY
    right = curvature.tangent_changes(*call, 1e-2, samples=3, output="logit").across
    assert np.all(left[:, None] > 5 * right)


variance = functools.partial(smoothness.gradient_variance, samples=2000, chunk=500)


@pytest.mark.parametrize(
    ("threat", "of_coordinate"),
    [(L2(0.5, UNBOUNDED), 0.25 / (small.PIXELS + 2)), (Linf(0.5, UNBOUNDED), 0.25 / 3)],
)
def test_the_variance_is_that_of_a_matrix_times_the_draws(threat, of_coordinate):
    matrices, kernel = small.random_weights()
    net = small.net(matrices, kernel)
    found = variance(net, IMAGES, LABELS, KEY, threat)
    squares = (matrices**2).sum(axis=(1, 2))[LABELS]
    np.testing.assert_allclose(found.variance, of_coordinate * squares, rtol=0.03)
    means = np.einsum("bij,bj->bi", matrices[LABELS], X) + kernel[LABELS]
    expected = (means**2).sum(axis=1)
    np.testing.assert_allclose(found.mean_square, expected, rtol=0.05)
    np.testing.assert_allclose(found.relative, found.variance / found.mean_square)


def test_a_constant_gradient_has_no_variance_and_nan_is_told():
    matrices, kernel = small.random_weights()
    call = IMAGES, LABELS, KEY, L2(0.5, UNBOUNDED)
    found = variance(small.net(kernel=kernel), *call)
    assert (found.variance == 0).all() and (found.relative == 0).all()
    squares = (kernel**2).sum(axis=1)[LABELS]
    np.testing.assert_allclose(found.mean_square, squares, rtol=1e-5)
    matrices[0, 0, 0] = np.nan  # one class: whatever its gradient, the net has broken
    assert np.isnan(variance(small.net(matrices, kernel), *call).variance).all()
    assert np.isnan(variance(small.net(), *call).relative).all()
    with pytest.raises(ValueError, match="expected 2 or more"):
        variance(small.net(), *call, samples=1)


def test_nothing_depends_on_the_chunk():
    threat = Linf(0.5, UNBOUNDED)
    call = small.net(*small.random_weights()), IMAGES, LABELS, KEY, threat
    one, other = (variance(*call, chunk=chunk) for chunk in (500, 300))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4)


def linear(kernel, images):
    return small.flat(images) @ kernel


def waves(*amplitudes):
    """A linear net whose gradients are waves of 1/8 and 3/8 a pixel along the rows."""
    places = np.arange(8)[:, None, None] * np.ones((8, 8, 1))
    kernel = sum(
        amplitude * np.cos(2 * np.pi * frequency * places)
        for amplitude, frequency in zip(amplitudes, (1 / 8, 3 / 8), strict=True)
    )
    return Partial(linear, np.stack([kernel.ravel()] * 2, axis=1).astype(np.float32))


@pytest.mark.parametrize(
    ("net", "cutoff", "share"),
    [
        (waves(1, 0), 0.5, 0),
        (waves(0, 1), 0.5, 1),
        (waves(3, 4), 0.5, 16 / 25),
        (waves(3e-25, 4e-25), 0.5, 16 / 25),  # squares vanish in float32
        (waves(3, 4), 0.2, 1),
        (waves(3, 4), 0.8, 0),
        (waves(0, 0), 0.5, np.nan),
    ],
)
def test_the_share_of_fine_waves(net, cutoff, share):
    images, labels = np.full((1, 8, 8, 1), 0.5, np.float32), np.array([1])
    found = smoothness.high_frequency_fraction(net, images, labels, cutoff)
    np.testing.assert_allclose(found, share, atol=1e-5)


def test_the_share_of_white_noise_is_that_of_the_area():
    kernel = np.random.default_rng(6).normal(size=(64 * 64, 2)).astype(np.float32)
    images = np.full((2, 64, 64, 1), 0.5, np.float32)
    net = Partial(linear, kernel)
    found = smoothness.high_frequency_fraction(net, images, np.array([0, 1]), 0.5)
    np.testing.assert_allclose(found, 1 - np.pi / 16, atol=0.03)
