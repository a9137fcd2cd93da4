"""Orbits: nets and images turned, small rotations and their tangent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.groups import C4
from symjax.metrics import orbit, symmetry
from tests import symmetric_models as small

ROUNDING = 2e-5  # float32, relative, of sums of some hundred products
IMAGES, LABELS = small.problem()


def test_a_net_of_turned_images_is_the_net_at_the_turned_image():
    net = small.net(*small.random_weights())
    for g in range(4):
        there = np.rot90(IMAGES, g, (1, 2))
        np.testing.assert_allclose(
            orbit.compose_with_rotation(net, g)(IMAGES), net(there), 1e-4
        )
    looking = orbit.compose_with_rotation(net, 1)
    norms, turned = (
        symmetry.margin_gradient_norms(x, IMAGES, LABELS, "l1") for x in (net, looking)
    )
    np.testing.assert_allclose(turned, np.roll(norms, -1, axis=0), 1e-4)
    samples = orbit.orbit(IMAGES)
    np.testing.assert_array_equal(samples[3], np.rot90(IMAGES, 3, (1, 2)))
    back = orbit.apply_inverse(samples)
    np.testing.assert_array_equal(back, np.stack([IMAGES] * 4))


def test_every_turn_is_measured_by_one_program(caplog):
    net = small.net(*small.random_weights())
    symmetry.margin_gradient_norms(
        orbit.compose_with_rotation(net, 0), IMAGES, LABELS, "l1"
    )
    with jax.log_compiles(), caplog.at_level("WARNING"):
        for g in (1, 2, 3):
            symmetry.margin_gradient_norms(
                orbit.compose_with_rotation(net, g), IMAGES, LABELS, "l1"
            )
    assert "Finished XLA compilation" not in caplog.text


def test_turns_that_cannot_be_are_refused():
    net = small.net(*small.random_weights())
    with pytest.raises(ValueError, match="g=4: expected 0 to 3"):
        orbit.compose_with_rotation(net, 4)
    with pytest.raises(ValueError, match="cannot be rotated by 90"):
        orbit.compose_with_rotation(net, 2)(IMAGES[:, 1:])


def test_an_averaged_net_is_invariant_whatever_it_is_made_of():
    net = small.net(*small.random_weights())
    averaged = orbit.orbit_average(net)
    logits = symmetry.orbit_logits(net, IMAGES)
    np.testing.assert_allclose(averaged(IMAGES), np.mean(logits, axis=0), atol=1e-4)
    assert (
        np.max(orbit.relative_spread(symmetry.orbit_logits(averaged, IMAGES)))
        < ROUNDING
    )
    turning = symmetry.gradient_equivariance(averaged, IMAGES, LABELS, "jacobian")
    assert np.max(turning.difference) < ROUNDING


def test_rotation_is_the_group_at_right_angles_and_smooth_between():
    rotate = jax.jit(orbit.rotate)
    for g in range(4):
        turned = rotate(IMAGES, g * np.pi / 2)
        np.testing.assert_allclose(turned, C4.act(g, IMAGES), atol=2e-5)
    rows, columns = np.mgrid[0:9, 0:9] - 4.0
    bump = np.exp(-((rows - 1) ** 2 + columns**2) / 8)[None, ..., None]
    angle = 0.4  # counter-clockwise: what was below the middle goes to the right
    moved = np.exp(-((rows - np.cos(angle)) ** 2 + (columns - np.sin(angle)) ** 2) / 8)
    found = rotate(jnp.asarray(bump, jnp.float32), angle)[0, ..., 0]
    inner = slice(2, -2), slice(2, -2)
    np.testing.assert_allclose(found[inner], moved[inner], atol=1e-2)


def test_the_tangent_is_the_derivative_and_turns_with_the_image():
    tangent, rotate = jax.jit(orbit.tangent), jax.jit(orbit.rotate)
    found = tangent(IMAGES)
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    right = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    y, x = np.mgrid[0 : small.SIZE, 0 : small.SIZE] - (small.SIZE - 1) / 2
    y, x = y[..., None], x[..., None]
    np.testing.assert_allclose(found, x * down - y * right, atol=1e-5)
    there = tangent(C4.act(1, IMAGES))
    np.testing.assert_allclose(there, C4.act(1, found), atol=1e-5)
    step = rotate(IMAGES, 1e-3) - rotate(IMAGES, -1e-3)
    np.testing.assert_allclose(step / 2e-3, found, atol=2e-3)
    assert (tangent(jnp.full(IMAGES.shape, 0.5)) == 0).all()


def test_deviation_is_relative_to_the_largest_value_at_the_image():
    values = jnp.array([[[1.0, -4.0], [0.0, 0.0]], [[2.0, -4.0], [0.0, 1.0]]])
    np.testing.assert_allclose(orbit.relative_spread(values), [0.25, np.inf])
    assert np.isnan(orbit.relative_spread(jnp.zeros((2, 3)))).all()
