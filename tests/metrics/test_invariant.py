"""Invariant boxes: the linear program in closed form, and boxes that do hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from linear_models import linear

from symjax.metrics._invariant_box import Box, invariant_box, verified_fraction

KEY = jax.random.key(1)
SHAPE = 5, 2, 3, 2
PIXELS = 12
LARGEST = 0.05


def knapsack(margin, costs, room):
    """The greatest sum of `0 <= x <= room` with `costs x <= margin`: cheapest first."""
    total = 0.0
    for place in np.argsort(costs):
        afford = margin / costs[place] if costs[place] > 0 else np.inf
        taken = min(room[place], afford)
        total, margin = total + taken, margin - taken * costs[place]
    return total


def images_near(middle, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(middle - 0.1, middle + 0.1, SHAPE).astype(np.float32)


def two_classes(images, share=0.4, seed=1):
    """A linear net; its margins are so small that a share of the costs uses them up."""
    weights = np.random.default_rng(seed).normal(size=(PIXELS, 2)).astype(np.float32)
    flat = images.reshape(len(images), -1)
    slope = weights[:, 0] - weights[:, 1]
    wanted = share * LARGEST * abs(slope).sum()
    bias = np.zeros((1, 2), np.float32)
    bias[0, 0] = wanted - (flat @ slope).mean()
    net = Partial(linear, weights, bias)
    return net, slope.astype(np.float64), flat.astype(np.float64) @ slope + bias[0, 0]


@pytest.mark.parametrize("middle", [0.5, 0.1])  # at 0.1 black is near for some
def test_two_classes_are_a_knapsack(middle):
    images = images_near(middle)
    net, slope, margins = two_classes(images)
    labels = (margins < 0).astype(int)
    box = invariant_box(net, images, labels, LARGEST, chunk=2)
    costs = np.concatenate([np.maximum(slope, 0), np.maximum(-slope, 0)])
    for i, image in enumerate(images.reshape(len(images), -1).astype(np.float64)):
        room = np.clip(np.concatenate([image, 1 - image]), 0, LARGEST)
        sign = 1 if labels[i] == 0 else -1
        own = costs if sign > 0 else np.roll(costs, PIXELS)
        expected = knapsack(sign * margins[i], own, room) / (2 * PIXELS)
        assert box.size[i] == pytest.approx(expected, rel=1e-5)
    low, high = images - box.lower_width, images + box.upper_width
    assert low.min() >= -1e-7 and high.max() <= 1 + 1e-7
    assert max(box.lower_width.max(), box.upper_width.max()) <= LARGEST * (1 + 1e-6)


def test_classes_that_see_other_pixels_are_knapsacks_of_their_own():
    images = images_near(0.5)[:1]
    weights = np.zeros((PIXELS, 3), np.float32)
    rng = np.random.default_rng(3)
    weights[:6, 1], weights[6:, 2] = rng.normal(size=(2, 6))
    flat = images.reshape(PIXELS).astype(np.float64)
    margins = 0.4 * LARGEST * abs(weights[:, 1:]).sum(axis=0).astype(np.float64)
    bias = np.zeros((1, 3), np.float32)
    bias[0, 1:] = -margins - flat @ weights[:, 1:]
    box = invariant_box(Partial(linear, weights, bias), images, np.array([0]), LARGEST)
    expected = 0.0
    for margin, slope in zip(
        margins, -weights[:, 1:].T.astype(np.float64), strict=True
    ):
        seen = slope[slope != 0]
        costs = np.concatenate([np.maximum(seen, 0), np.maximum(-seen, 0)])
        expected += knapsack(margin, costs, np.full(12, LARGEST))
    assert box.size[0] == pytest.approx(expected / (2 * PIXELS), rel=1e-4)


def test_a_linear_net_holds_in_its_box_and_in_as_much_of_a_larger_one():
    images = images_near(0.5)
    net, slope, margins = two_classes(images)
    labels = (margins < 0).astype(int)
    box = invariant_box(net, images, labels, LARGEST)
    once = verified_fraction(net, images, labels, KEY, box, halvings=5)
    assert (once >= 1 - 2**-5).all()  # the corner is a tie, up to rounding
    large = box.times(np.full(5, 3))
    downhill = np.sign(margins)[:, None] * slope
    below, above = (array.reshape(5, -1) for array in large)
    costs = below * np.maximum(downhill, 0) + above * np.maximum(-downhill, 0)
    exact = abs(margins) / costs.sum(axis=1)
    assert 0.3 < exact.min() < 0.34 and exact.max() < 1
    found = verified_fraction(net, images, labels, KEY, large, halvings=8)
    assert (exact - 2**-8 - 1e-5 <= found).all() and (found <= exact + 1e-5).all()


def test_the_misclassified_have_no_box():
    images = images_near(0.5)
    net, _, margins = two_classes(images)
    labels = (margins > 0).astype(int)
    box = invariant_box(net, images, labels)
    assert (box.size == 0).all()
    np.testing.assert_array_equal(verified_fraction(net, images, labels, KEY, box), 0)


def valley(curvature, centre, bias, images):
    """Class 1 grows with the squared distance from the image in the middle."""
    far = jnp.square(images - centre).sum(axis=(1, 2, 3))
    return jnp.stack([bias + 0 * far, curvature * far], axis=1)


def test_a_net_that_the_linear_program_cannot_see_holds_in_less():
    images = np.full((2, 2, 3, 2), 0.5, np.float32)
    reach = 0.3 * LARGEST  # of every pixel: there is the boundary
    net = Partial(valley, 1.0, images[:1], np.float32(reach**2 * PIXELS))
    labels = np.zeros(2, int)
    box = invariant_box(net, images, labels, LARGEST)
    np.testing.assert_allclose(box.size, LARGEST, rtol=1e-6)  # its gradient is zero
    factor = verified_fraction(net, images, labels, KEY, box)
    assert (abs(factor - 0.3) <= 2**-7).all()


def near(place, reach, images):
    """Class 1 lies in a ball, and an attack has one way to go: towards its centre."""
    far = jnp.sqrt(jnp.square(images - place).sum(axis=(1, 2, 3)))
    return jnp.stack([far, reach + 0 * far], axis=1)


def test_no_point_leaves_the_class_in_what_holds():
    images = images_near(0.5)
    rng = np.random.default_rng(4)
    place = (0.5 + rng.choice([-0.3, 0.3], size=(1, *SHAPE[1:]))).astype(np.float32)
    net, labels = Partial(near, place, np.float32(0.75)), np.zeros(5, int)
    sides = rng.uniform(0.1, 0.3, size=(2, *SHAPE)).astype(np.float32)
    sides[0][rng.uniform(size=SHAPE) < 0.3] = 0  # many pixels can go one way alone
    sides[1][rng.uniform(size=SHAPE) < 0.3] = 0
    box = Box(*sides)
    found = verified_fraction(net, images, labels, KEY, box)

    def breaks(factor):
        """Whether the point of the box that is nearest to the centre is in the ball."""
        wide = box.times(np.full(5, factor))
        near = np.clip(place, images - wide.lower_width, images + wide.upper_width)
        return np.square(near - place).sum(axis=(1, 2, 3)) < 0.75**2

    broken = [breaks(factor) for factor in np.arange(2**7 + 1) / 2**7]
    first = np.where(np.any(broken, axis=0), np.argmax(broken, axis=0), 2**7 + 1)
    np.testing.assert_array_equal(found, (first - 1) / 2**7)
    assert 0 < found.min() < found.max() <= 1


def test_nothing_depends_on_how_many_are_attacked_at_a_time():
    images = images_near(0.5)
    net, _, margins = two_classes(images)
    labels = (margins < 0).astype(int)
    box = Box(*(np.full(SHAPE, 0.1, np.float32),) * 2)
    whole = verified_fraction(net, images, labels, KEY, box, steps=3, halvings=4)
    told = []
    by_twos = verified_fraction(
        net, images, labels, KEY, box, 3, 4, chunk=2, report=lambda *x: told.append(x)
    )
    np.testing.assert_array_equal(by_twos, whole)
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert 0 < whole.min() < whole.max() < 1


def test_what_cannot_be_is_refused():
    images = images_near(0.5)
    net, *_ = two_classes(images)
    labels = np.zeros(5, int)
    with pytest.raises(ValueError, match="max_radius=0: expected a finite number"):
        invariant_box(net, images, labels, max_radius=0)
    box = Box(*np.full((2, *SHAPE), 0.1, np.float32))
    with pytest.raises(ValueError, match="steps=0: expected 1 or more"):
        verified_fraction(net, images, labels, KEY, box, steps=0)

    def undefined(images):
        return linear(*net.args, images) * jnp.nan

    with pytest.raises(FloatingPointError, match="not finite, so that there is no box"):
        invariant_box(undefined, images, labels)
    found = verified_fraction(undefined, images, labels, KEY, box, steps=3)
    np.testing.assert_array_equal(found, 0)
