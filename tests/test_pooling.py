"""Pooling: against Flax on images, against numpy on fields, and its symmetry."""

import functools

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import nn
from symjax.groups import C2, C4


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


POOLS = [(nn.max_pool, linen.max_pool), (nn.avg_pool, linen.avg_pool)]
POOL_IDS = ["max", "avg"]


@pytest.mark.parametrize(("ours", "theirs"), POOLS, ids=POOL_IDS)
@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((2, 2), (2, 2), "VALID"),
        ((3, 3), (2, 2), "SAME"),
        ((3, 3), (3, 3), ((1, 1), (1, 1))),
        ((2, 3), (1, 2), ((0, 1), (2, 1))),
    ],
)
def test_pools_of_images_are_those_of_flax(ours, theirs, window, strides, padding):
    images = normal(0, 2, 7, 8, 3) - 5  # padded zeros would win a maximum
    options = (window, strides, padding)
    both = jax.jit(lambda x: (ours(x, *options), theirs(x, *options)))
    chex.assert_trees_all_close(*both(images), atol=1e-6)


@pytest.mark.parametrize("window", [(2, 2), (2, 3), (4, 1)])
def test_derivatives_of_a_max_pool_by_tiles(window):
    images = np.random.default_rng(0).permutation(2 * 8 * 6 * 3).astype(np.float32)
    images = images.reshape(2, 8, 6, 3)  # no two alike
    moved = normal(1, *images.shape)
    weights = normal(2, 2, 8 // window[0], 6 // window[1], 3)

    def derivatives(pool):
        pool = functools.partial(pool, strides=window, padding="VALID")
        outputs, transpose = jax.vjp(lambda x: pool(x, window), images)
        by_jvp = jax.jvp(lambda x: pool(x, window), (images,), (moved,))
        return outputs, transpose(weights), by_jvp

    found, expected = jax.jit(
        lambda: [derivatives(pool) for pool in (nn.max_pool, linen.max_pool)]
    )()
    chex.assert_trees_all_equal(found, expected)


def test_a_tile_passes_its_gradient_to_the_first_of_equal_values():
    images = np.array([[1, 2], [2, 2]], np.float32).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: jnp.sum(nn.max_pool(x)))
    found = np.asarray(gradient(images)).reshape(2, 2)
    np.testing.assert_array_equal(found, [[0, 1], [0, 0]])
    images[0, 1, 0, 0] = np.nan
    assert np.isnan(nn.max_pool(images)).all()


@pytest.mark.parametrize(("ours", "theirs"), POOLS, ids=POOL_IDS)
@pytest.mark.parametrize(("size", "window"), [(8, 2), (7, 3)])
def test_pools_of_fields(ours, theirs, size, window):
    field = normal(0, 2, size, size, 4, 3)

    @jax.jit
    def pooled(field):
        flat = field.reshape(2, size, size, 12)
        return (
            ours(field, window, group=C4),
            theirs(flat, (window, window), (2, 2)),
            ours(C4.act_on_field(1, field), window, group=C4),
        )

    found, flat, turned = pooled(field)
    chex.assert_trees_all_close(found, flat.reshape(found.shape), atol=1e-6)
    turned_after = np.roll(np.rot90(found, axes=(1, 2)), 1, axis=3)
    chex.assert_trees_all_close(turned, turned_after, atol=1e-6)


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_fields_need_their_group(pool):
    with pytest.raises(ValueError, match=r"\(1, 8, 8, 4, 3\) needs its group"):
        pool(jnp.zeros((1, 8, 8, 4, 3)))


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_exactness_is_guarded_for_the_group_given(pool):
    images = jnp.zeros((1, 6, 8, 3))
    for group in (None, C2):
        shape = jax.eval_shape(lambda x, group=group: pool(x, group=group), images)
        chex.assert_shape(shape, (1, 3, 4, 3))
    with pytest.raises(nn.ExactnessError, match=f"{pool.__name__} on 6x8"):
        pool(images, group=C4)
    with pytest.raises(nn.ExactnessError, match=f"{pool.__name__} on 7x7"):
        pool(jnp.zeros((1, 7, 7, 4, 3)), group=C4)


def test_window_that_does_not_fit():
    with pytest.raises(ValueError, match=r"\(3, 3\) does not fit into \(2, 5\)"):
        nn.max_pool(jnp.zeros((1, 2, 5, 3)), 3)


def gradient_of_sum(pool, ones):
    return jax.jit(jax.grad(lambda x: jnp.sum(pool(x))))(ones)


def test_a_maximum_passes_its_gradient_to_one_place_alone():
    ones = np.ones((1, 4, 4, 1), np.float32)  # all ties: the first of each window
    expected = np.zeros_like(ones)
    expected[:, ::2, ::2] = 1
    chex.assert_trees_all_equal(gradient_of_sum(nn.max_pool, ones), expected)
    field = np.ones((1, 2, 2, 4, 3), np.float32)
    expected = np.zeros_like(field)
    expected[:, :, :, 0] = 1
    chex.assert_trees_all_equal(gradient_of_sum(nn.GroupPool("max"), field), expected)


def test_the_gradient_of_a_maximum_does_not_look_for_equal_numbers():
    x = normal(0, 1, 8, 8, 2)
    found = gradient_of_sum(nn.max_pool, x)
    tiles = x.reshape(4, 2, 4, 2, 2).transpose(0, 2, 4, 1, 3).reshape(4, 4, 2, 4)
    expected = np.eye(4)[tiles.argmax(-1)].reshape(4, 4, 2, 2, 2)
    expected = expected.transpose(0, 3, 1, 4, 2).reshape(1, 8, 8, 2)
    np.testing.assert_array_equal(found, expected)
    # The program has no comparison for equality but that of positions, whole numbers.
    text = str(jax.make_jaxpr(jax.grad(lambda x: jnp.sum(nn.largest(x, 1))))(x))
    equal = [line for line in text.splitlines() if "= eq " in line]
    assert len(equal) == 1 and "f32" not in equal[0]


@pytest.mark.parametrize("place", range(4))
def test_what_is_not_a_number_stays_none(place):
    x = np.ones((1, 2, 2, 1), np.float32)
    x.reshape(-1)[place] = np.nan
    assert np.isnan(nn.max_pool(x)).all()
    assert np.isnan(nn.largest(x.reshape(1, 4), axis=1)).all()


@pytest.mark.parametrize(("kind", "reduce"), [("max", np.max), ("mean", np.mean)])
def test_group_pool(kind, reduce):
    field = normal(0, 1, 5, 5, 4, 3)
    turned = np.concatenate([C4.act_on_field(g, field) for g in range(4)])
    pooled = jax.jit(nn.GroupPool(kind))(turned)
    for g in range(4):
        expected = np.rot90(reduce(field[0], axis=2), g)
        chex.assert_trees_all_close(pooled[g], expected, atol=1e-6)


def test_group_pool_errors():
    with pytest.raises(ValueError, match="kind='median'.*'max' or 'mean'"):
        nn.GroupPool("median")(jnp.zeros((1, 2, 2, 4, 3)))
    with pytest.raises(ValueError, match=r"expected a field.*\(1, 2, 2, 3\)"):
        nn.GroupPool()(jnp.zeros((1, 2, 2, 3)))
