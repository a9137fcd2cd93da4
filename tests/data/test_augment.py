"""Scaling, flips, crops and turns of image batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import data
from symjax.groups import C4

KEY = jax.random.key(0)


def pixels(count, size=5, dtype=np.uint8):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, size, size + 1, 3)).astype(dtype)


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


def test_to_unit_refuses_what_may_be_scaled_already():
    with pytest.raises(TypeError, match="float32, expected uint8"):
        data.to_unit(np.zeros((1, 2, 2, 3), np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_output_is_a_crop_of_its_own_padded_image_or_its_mirror(dtype):
    padding = 2
    images = pixels(64, dtype=dtype)
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
    assert {flip for flip, _, _ in seen} == {False, True}
    assert {row for _, row, _ in seen} == set(range(2 * padding + 1))
    assert {column for _, _, column in seen} == set(range(2 * padding + 1))


def test_flip_rate_is_one_half():
    count = 4000
    image = pixels(1)
    images = np.repeat(image, count, axis=0)
    out = np.asarray(data.flip_and_crop(KEY, images, padding=0))
    flipped = (out == image[:, :, ::-1]).all((1, 2, 3))
    assert (flipped | (out == image).all((1, 2, 3))).all()
    # Five standard deviations of a binomial count.
    assert abs(flipped.sum() - count / 2) < 5 * np.sqrt(count / 4)


def test_the_key_decides():
    images = pixels(16)
    first = data.flip_and_crop(KEY, images)
    again = jax.jit(data.flip_and_crop)(KEY, images)
    other = data.flip_and_crop(jax.random.key(1), images)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
def test_vmap_over_keys_equals_one_by_one():
    images = pixels(8)
    keys = jax.random.split(KEY, 3)
    together = jax.vmap(data.flip_and_crop, (0, None))(keys, images)
    for key, result in zip(keys, together, strict=True):
        np.testing.assert_array_equal(result, data.flip_and_crop(key, images))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"\[5, 6, 3\], expected \[B, H, W, C\]"):
        data.flip_and_crop(KEY, pixels(1)[0])
    with pytest.raises(ValueError, match="padding=-1"):
        data.flip_and_crop(KEY, pixels(1), padding=-1)


def squares(count, size=4, dtype=np.uint8):
    return pixels(count, size, dtype)[:, :, :size]


def turns(images):
    """`[4, B, H, W, C]`: each image turned by 0, 90, 180 and 270 degrees."""
    return np.stack([np.rot90(images, quarters, (1, 2)) for quarters in range(4)])


def turns_of(images, out):
    """`[B]`: by how many quarters each image was turned."""
    matches = (turns(images) == np.asarray(out)).all((2, 3, 4))
    np.testing.assert_array_equal(matches.sum(axis=0), 1)
    return matches.argmax(axis=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
@pytest.mark.parametrize("size", [4, 5])
def test_every_output_is_one_of_the_four_turns_of_its_own_image(dtype, size):
    images = squares(64, size, np.uint8)
    images = images > 127 if dtype is bool else images.astype(dtype)
    out = np.asarray(data.quarter_turns(KEY, images))
    assert out.shape == images.shape and out.dtype == dtype
    drawn = turns_of(images, out)
    assert set(drawn) == set(range(4))
    by_the_group = np.stack([C4.act(int(g), images[i]) for i, g in enumerate(drawn)])
    np.testing.assert_array_equal(out, by_the_group)


def test_each_turn_is_drawn_a_quarter_of_the_time():
    count = 4000
    images = np.repeat(squares(1), count, axis=0)
    drawn = np.bincount(turns_of(images, data.quarter_turns(KEY, images)), minlength=4)
    # Five standard deviations of a binomial count.
    assert (abs(drawn - count / 4) < 5 * np.sqrt(count * 3 / 16)).all()


def test_the_key_decides_the_turns():
    images = squares(32)
    first = data.quarter_turns(KEY, images)
    again = jax.jit(data.quarter_turns)(KEY, images)
    other = data.quarter_turns(jax.random.key(1), images)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_images_turn_does_not_depend_on_its_neighbours():
    images = squares(32)
    others = np.concatenate([images[:10], images[:9:-1]])
    drawn = turns_of(images, data.quarter_turns(KEY, images))
    fewer = turns_of(images[:10], data.quarter_turns(KEY, images[:10]))
    np.testing.assert_array_equal(fewer, drawn[:10])
    moved = turns_of(others, data.quarter_turns(KEY, others))
    np.testing.assert_array_equal(moved, drawn)


def test_turns_of_several_seeds_equal_those_one_by_one():
    images = squares(8)
    keys = jax.random.split(KEY, 3)
    together = jax.vmap(data.quarter_turns, (0, None))(keys, images)
    for key, result in zip(keys, together, strict=True):
        np.testing.assert_array_equal(result, data.quarter_turns(key, images))


@pytest.mark.parametrize("shape", [(4, 4, 3), (2, 4, 5, 3), (1, 2, 4, 4, 3)])
def test_only_square_images_are_turned(shape):
    with pytest.raises(ValueError, match=r"quarter_turns.*expected \[B, H, W, C\]"):
        data.quarter_turns(KEY, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("augment", [data.flip_and_crop, data.quarter_turns])
def test_legacy_keys_draw_the_same_and_what_is_no_key_is_refused(augment):
    images = np.random.default_rng(0).integers(0, 255, (8, 6, 6, 3)).astype(np.uint8)
    legacy = augment(jax.random.PRNGKey(3), images)
    np.testing.assert_array_equal(legacy, augment(jax.random.key(3), images))
    assert augment(jax.random.PRNGKey(3), images[:0]).shape == (0, 6, 6, 3)
    for wrong in (0, None, np.zeros(2)):
        with pytest.raises(ValueError, match="key=.*expected a random key"):
            augment(wrong, images)


def test_values_between_0_and_1_need_a_floating_type():
    with pytest.raises(TypeError, match="dtype=int32: expected a floating-point dtype"):
        data.to_unit(np.zeros((1, 2, 2, 3), np.uint8), "int32")
    with pytest.raises(ValueError, match="padding=1.5, expected an integer of"):
        data.flip_and_crop(KEY, np.zeros((1, 2, 2, 3), np.uint8), 1.5)
