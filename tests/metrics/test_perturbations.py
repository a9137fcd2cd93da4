"""Each perturbation does to an image what its level says."""

import functools

import jax
import numpy as np
import pytest

from symjax.metrics.perturbations import Noise, Removal, Rotation, Translation, Zoom

ALL = [Removal(), Removal(True), Noise(), Rotation(), Zoom(), Translation()]
KEY = jax.random.key(3)
SIZE = 6


@functools.cache
def program(perturbation):
    return jax.jit(perturbation)


def apply(perturbation, image, draw, level, key=KEY):
    return np.asarray(program(perturbation)(image, key, draw, np.float32(level)))


def random_image(shape=(SIZE, SIZE, 2), seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1, shape).astype(np.float32)


def ramp(down, right, rows=None, columns=None):
    """A plane over the offsets from the centre, which bilinear reading reproduces."""
    if rows is None:
        offsets = np.arange(SIZE) - (SIZE - 1) / 2
        rows, columns = np.meshgrid(offsets, offsets, indexing="ij")
    plane = 0.5 + down * rows + right * columns
    return plane[..., None].astype(np.float32), rows, columns


@pytest.mark.parametrize("perturbation", ALL, ids=str)
def test_the_mildest_level_changes_nothing(perturbation):
    image = random_image()
    for draw in range(perturbation.directions or 2):
        moved = apply(perturbation, image, draw, perturbation.identity_level)
        np.testing.assert_array_equal(moved, image)


@pytest.mark.parametrize("size", [5, 6])
def test_quarter_turns_are_copies(size):
    image = random_image((size, size, 2))
    for quarters in (1, 2, 3):
        for draw, way in ((0, 1), (1, -1)):
            turned = apply(Rotation(), image, draw, 90 * quarters)
            expected = np.rot90(image, way * quarters)
            np.testing.assert_array_equal(turned, expected)


def test_a_plane_is_turned_to_the_left():
    image, rows, columns = ramp(0.03, 0.08)
    turned = apply(Rotation(), image, 0, 30)
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    # To the left, a point comes from the place that lies as far to its right.
    expected, *_ = ramp(
        0.03, 0.08, rows * cos + columns * sin, columns * cos - rows * sin
    )
    inside = np.hypot(rows, columns) < (SIZE - 1) / 2
    np.testing.assert_allclose(turned[inside], expected[inside], atol=1e-6)
    assert turned[0, 0] < 0.5 * image.min()  # beyond the image there is black


def test_zoom_enlarges_and_shrinks_about_the_centre():
    image, rows, columns = ramp(0.03, 0.08)
    enlarged, _, _ = ramp(0.03, 0.08, rows / 2, columns / 2)
    np.testing.assert_allclose(apply(Zoom(), image, 0, 2), enlarged, atol=1e-6)
    shrunk, _, _ = ramp(0.03, 0.08, rows * 2, columns * 2)
    found = apply(Zoom(), image, 1, 2)
    inside = np.maximum(abs(rows), abs(columns)) <= 1.25  # of 2.5
    np.testing.assert_allclose(found[inside], shrunk[inside], atol=1e-6)
    outside = np.maximum(abs(rows), abs(columns)) >= 1.75  # a pixel beyond the edge
    np.testing.assert_array_equal(found[outside], 0)


@pytest.mark.parametrize(
    "draw,axis,step", [(0, 1, 1), (1, 0, 1), (2, 1, -1), (3, 0, -1)]
)
def test_whole_pixels_are_a_shift(draw, axis, step):
    image = random_image()
    for level in (1, 2, SIZE):
        expected = np.roll(image, step * level, axis)
        gone = [slice(None)] * 2
        gone[axis] = slice(0, level) if step > 0 else slice(SIZE - level, SIZE)
        expected[tuple(gone)] = 0
        np.testing.assert_array_equal(
            apply(Translation(), image, draw, level), expected
        )


def test_half_a_pixel_is_the_mean_of_two():
    image = random_image()
    moved = apply(Translation(), image, 0, 0.5)
    expected = (image[:, 1:] + image[:, :-1]) / 2
    np.testing.assert_allclose(moved[:, 1:], expected, atol=1e-6)


@pytest.mark.parametrize("whole", [False, True])
def test_removal_takes_the_share_that_it_says_and_goes_on(whole):
    image, removal = random_image(), Removal(whole)
    count = SIZE * SIZE * (1 if whole else 2)
    before = np.zeros(image.shape, bool)
    for level in np.linspace(0, 1, 11):
        left = apply(removal, image, 0, level)
        gone = left == 0
        np.testing.assert_array_equal(left[~gone], image[~gone])
        assert gone.sum() == np.round(np.float32(level) * count) * (2 if whole else 1)
        assert (gone >= before).all()
        if whole:
            np.testing.assert_array_equal(gone[..., 0], gone[..., 1])
        before = gone


def test_what_is_removed_is_uniform():
    image, draws = random_image(), 400
    gone = [apply(Removal(), image, draw, 0.25) == 0 for draw in range(draws)]
    share = np.mean(gone, axis=0)
    assert abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / draws)


def test_the_level_of_noise_is_its_standard_deviation():
    image = np.full((60, 60, 3), 0.5, np.float32)
    noise = apply(Noise(), image, 0, 0.05) - image
    assert noise.std() == pytest.approx(0.05, rel=0.03)
    assert abs(noise.mean()) < 4 * 0.05 / np.sqrt(noise.size)
    doubled = apply(Noise(), image, 0, 0.1) - image
    inside = abs(doubled) < 0.49  # not clipped
    np.testing.assert_allclose(doubled[inside], 2 * noise[inside], atol=1e-6)
    strong = apply(Noise(), image, 0, 3.0)
    assert strong.min() == 0 and strong.max() == 1


@pytest.mark.parametrize("perturbation", [Removal(), Noise()], ids=str)
def test_draws_and_keys_are_different_draws(perturbation):
    image = random_image()
    one = apply(perturbation, image, 0, 0.5)
    np.testing.assert_array_equal(one, apply(perturbation, image, 0, 0.5))
    assert (one != apply(perturbation, image, 1, 0.5)).any()
    assert (one != apply(perturbation, image, 0, 0.5, jax.random.key(4))).any()
    legacy = apply(perturbation, image, 0, 0.5, jax.random.PRNGKey(3))
    np.testing.assert_array_equal(legacy, one)
    with pytest.raises(ValueError, match="key=0: expected a random key"):
        perturbation(image, 0, 0, 0.3)
