"""Suprema in balls: closed forms, and what must be told."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.attacks import L2, NORMS, Linf, ThreatModel
from symjax.groups import C1
from symjax.metrics import jacobian, lipschitz
from tests import symmetric_models as small

IMAGES, LABELS = small.problem()
TARGETS = ((LABELS + 1) % 3).astype(np.int32)
KEY = jax.random.key(3)
FACTORS = np.array([1.0, -2.0, 3.0])
RADIUS = 0.2
BALL = Linf(RADIUS)

suprema = functools.partial(lipschitz.ball_suprema, samples=20)


def largest_of_the_quadratic(norm, rivals):
    """At the image, and in the ball around it, whose pixels stay positive."""
    x = small.flat(IMAGES).astype(np.float64)
    factors = np.abs(FACTORS[LABELS] - FACTORS[rivals])
    center, more = {
        "linf": (x.sum(axis=1), x.shape[1] * RADIUS),
        "l2": (np.linalg.norm(x, axis=1), RADIUS),
        "l1": (x.max(axis=1), RADIUS),
    }[norm]
    return factors * center, factors * (center + more)


def test_a_linear_net_is_as_steep_everywhere():
    kernel = small.random_weights()[1]
    net = small.net(kernel=kernel)
    found = suprema(net, IMAGES, LABELS, KEY, BALL)
    np.testing.assert_allclose(found.ratio, 1, rtol=1e-5)
    lengths = np.abs(kernel[LABELS] - kernel[TARGETS]).sum(axis=1)
    np.testing.assert_allclose(found.largest[2, :, 0], lengths, rtol=1e-5)


def test_the_last_line_of_the_proof_fails_for_an_invariant_net():
    """Suprema are alike over the orbit, and more than the norm at the center."""
    call = IMAGES, LABELS, KEY, BALL
    exact = suprema(small.net(*small.averaged_weights()), *call)
    change = np.abs(exact.largest / exact.largest[:1] - 1)
    assert np.max(change) < 1e-4 and np.min(exact.ratio) > 1.001
    net = small.net(*small.random_weights())
    other = suprema(net, *call)
    change = np.abs(other.largest / other.largest[:1] - 1)
    assert np.min(np.max(change, axis=0)) > 1e-2
    alone = suprema(net, *call, group=C1, chunk=3)
    np.testing.assert_allclose(alone.largest, other.largest[:1], rtol=1e-4)


def test_samples_stay_below_the_supremum():
    center, largest = largest_of_the_quadratic("linf", TARGETS)
    found = suprema(small.quadratic(FACTORS), IMAGES, LABELS, KEY, BALL)
    np.testing.assert_allclose(found.center[0, :, 0], center, rtol=1e-4)
    assert np.all(found.largest[0, :, 0] <= largest * (1 + 1e-5))
    assert np.all(found.largest > found.center)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.slow
def test_ascent_reaches_the_supremum(norm):
    threat, net = ThreatModel(norm, RADIUS), small.quadratic(FACTORS)
    rivals = np.array([2, 2, 0])[LABELS]  # the largest of the other logits
    center, largest = largest_of_the_quadratic(norm, rivals)
    call = net, IMAGES, LABELS, KEY, threat
    found = lipschitz.steepest(*call, steps=40)
    np.testing.assert_allclose(found.center, center, rtol=1e-4)
    assert np.all(found.constant <= largest * (1 + 1e-5))
    assert np.min((found.constant - center) / (largest - center)) > 0.98
    assert threat.contains(found.images, IMAGES).all() and (found.flat == 0).all()
    flat = lipschitz.steepest(small.net(), *call[1:], steps=40)
    assert (flat.constant == 0).all() and (flat.flat == 1).all()
    broken = small.net(np.full((3, small.PIXELS, small.PIXELS), np.nan))
    found = lipschitz.steepest(broken, *call[1:], steps=40)
    assert np.isnan(found.constant).all()


def test_ascent_reaches_the_next_piece_of_a_net():
    """A slope w that becomes 4 w beyond a plane a sixth of the radius away."""
    kernel = np.zeros((3, small.PIXELS))
    w = np.random.default_rng(5).normal(size=small.PIXELS)
    kernel[0] = w / np.linalg.norm(w)
    height = 3 * (small.flat(IMAGES)[0] @ kernel[0] + 0.05)
    heights = np.array([height, 0, 0])
    net = small.net(kernel=kernel, planes=3 * kernel, heights=heights)
    images = np.stack([IMAGES[0]] * 4)
    call = net, images, 0 * LABELS, KEY, L2(0.3)
    found = lipschitz.steepest(*call, steps=40)
    np.testing.assert_allclose(found.center, 1, rtol=1e-5)
    np.testing.assert_allclose(found.constant, 4, rtol=1e-5)
    assert np.all(found.flat < 1)


def test_nan_in_a_ball_and_the_absence_of_gradients_are_told():
    matrices = small.random_weights()[0]
    matrices[1, 2, 3] = np.nan
    call = IMAGES, LABELS, KEY, BALL
    assert np.isnan(suprema(small.net(matrices), *call).largest).all()
    assert np.isnan(suprema(small.net(), *call).ratio).all()


def test_what_is_differentiated():
    logits = jnp.array([[1.0, 3.0, 2.0], [5.0, 0.0, 4.0]])
    labels = jnp.array([1, 2])

    def of(name):
        return np.asarray(jacobian.cotangents(logits, labels, name)).tolist()

    assert of("logit") == [[[0, 1, 0], [0, 0, 1]]]
    assert of("margin") == [[[0, 1, -1], [-1, 0, 1]]]
    assert of("margins") == [[[0, 1, -1], [-1, 0, 1]], [[-1, 1, 0], [0, -1, 1]]]
    assert of("jacobian") == [[[k == j for j in range(3)]] * 2 for k in range(3)]
    assert jacobian.other_classes(labels, 3).tolist() == [[2, 0], [0, 1]]
