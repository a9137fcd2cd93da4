"""Scaling, flips, crops and rotations of image batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import data
from symjax.groups import C4

KEY = jax.random.key(0)
AUGMENTATIONS = [data.flip_and_crop, data.quarter_turns]


def squares(count, size=4, dtype=np.uint8):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    return images > 127 if dtype is bool else images.astype(dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_to_unit_covers_0_to_1(dtype):
    ramp = np.arange(256, dtype=np.uint8)
    tolerance = {jnp.float32: 1e-7, jnp.bfloat16: 2**-8}[dtype]
    for scale in (data.to_unit, jax.jit(data.to_unit, static_argnums=1)):
        unit = scale(ramp, dtype)
        assert unit.dtype == dtype
        assert unit[0] == 0 and unit[-1] == 1 and unit.max() <= 1
        np.testing.assert_allclose(
            np.asarray(unit, np.float64), ramp / 255, atol=tolerance
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_output_is_a_crop_of_its_own_padded_image_or_its_mirror(dtype):
    padding = 2
    images = squares(64, 6, dtype)[:, :5]
    out = np.asarray(data.flip_and_crop(KEY, images, padding))
    assert out.shape == images.shape and out.dtype == dtype
    height, width = images.shape[1:3]
    seen = set()
    for image, result in zip(images, out, strict=True):
        matches = []
        for flip in (False, True):
            sides = ((padding, padding), (padding, padding), (0, 0))
            padded = np.pad(image[:, ::-1] if flip else image, sides)
            for row in range(2 * padding + 1):
                for column in range(2 * padding + 1):
                    crop = padded[row : row + height, column : column + width]
                    if np.array_equal(crop, result):
                        matches.append((flip, row, column))
        assert len(matches) == 1
        seen.update(matches)
    flips, rows, columns = map(set, zip(*seen, strict=True))
    assert flips == {False, True}
    assert rows == columns == set(range(2 * padding + 1))


def turns_of(images, out):
    """`[B]`: by how many quarters each image was rotated."""
    rotated = np.stack([np.rot90(images, quarters, (1, 2)) for quarters in range(4)])
    matches = (rotated == np.asarray(out)).all((2, 3, 4))
    np.testing.assert_array_equal(matches.sum(axis=0), 1)
    return matches.argmax(axis=0)


@pytest.mark.parametrize(("size", "dtype"), [(4, np.uint8), (5, np.float32), (4, bool)])
def test_every_output_is_one_of_the_four_rotations_of_its_own_image(dtype, size):
    images = squares(64, size, dtype)
    out = np.asarray(data.quarter_turns(KEY, images))
    assert out.shape == images.shape and out.dtype == dtype
    drawn = turns_of(images, out)
    assert set(drawn) == set(range(4))
    by_the_group = np.stack([C4.act(int(g), images[i]) for i, g in enumerate(drawn)])
    np.testing.assert_array_equal(out, by_the_group)


def test_all_outcomes_have_the_same_probability():
    """Counts are within five standard deviations of a binomial distribution."""
    count = 4000
    images = np.repeat(squares(1), count, axis=0)
    flipped = np.asarray(data.flip_and_crop(KEY, images, padding=0)) != images
    flips = flipped.any((1, 2, 3)).sum()
    assert abs(flips - count / 2) < 5 * np.sqrt(count / 4)
    drawn = np.bincount(turns_of(images, data.quarter_turns(KEY, images)), minlength=4)
    assert (abs(drawn - count / 4) < 5 * np.sqrt(count * 3 / 16)).all()


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_random_numbers_depend_on_the_key_alone(augment):
    images, keys = squares(32), jax.random.split(KEY, 2)
    first = augment(keys[0], images)
    np.testing.assert_array_equal(first, jax.jit(augment)(keys[0], images))
    other = augment(keys[1], images)
    assert not np.array_equal(first, other)
    together = jax.vmap(augment, (0, None))(keys, images)
    np.testing.assert_array_equal(together, [first, other])
    legacy = augment(jax.random.PRNGKey(0), images)
    np.testing.assert_array_equal(legacy, augment(KEY, images))
    assert augment(KEY, images[:0]).shape == (0, 4, 4, 3)


def test_a_rotation_does_not_depend_on_the_other_images():
    images = squares(32)
    others = np.concatenate([images[:10], images[:9:-1]])
    drawn = turns_of(images, data.quarter_turns(KEY, images))
    fewer = turns_of(images[:10], data.quarter_turns(KEY, images[:10]))
    np.testing.assert_array_equal(fewer, drawn[:10])
    moved = turns_of(others, data.quarter_turns(KEY, others))
    np.testing.assert_array_equal(moved, drawn)


def test_wrong_arguments_are_named():
    images = squares(1)
    for wrong in (0, None, np.zeros(2)):
        for augment in AUGMENTATIONS:
            with pytest.raises(ValueError, match="key=.*expected a random key"):
                augment(wrong, images)
    for shape in ((4, 4, 3), (2, 4, 5, 3), (1, 2, 4, 4, 3)):
        with pytest.raises(ValueError, match=r"quarter_turns.*expected \[B, H, W, C\]"):
            data.quarter_turns(KEY, np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"\[4, 4, 3\], expected \[B, H, W, C\]"):
        data.flip_and_crop(KEY, images[0])
    for padding in (-1, 1.5):
        with pytest.raises(ValueError, match=f"padding={padding}, expected an integer"):
            data.flip_and_crop(KEY, images, padding)
    with pytest.raises(TypeError, match="float32, expected uint8"):
        data.to_unit(images.astype(np.float32))
    with pytest.raises(TypeError, match="dtype=int32: expected a floating-point dtype"):
        data.to_unit(images, "int32")
