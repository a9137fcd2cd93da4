"""Pooling: against Flax on images, against numpy on fields, and its symmetry."""

import functools

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import nn
from symjax.groups import C2, C4, C8, D4, Cosets, D
from tests.layers import asymmetry, normal

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


@pytest.mark.parametrize(
    "pool", [nn.max_pool, nn.avg_pool, nn.blur_pool, nn.antialiased_max_pool]
)
def test_fields_need_their_group(pool):
    with pytest.raises(ValueError, match=r"\(1, 8, 8, 4, 3\), needs its group"):
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


def gradient_of_sum(pool):
    return jax.jit(jax.grad(lambda x: jnp.sum(pool(x))))


def test_a_maximum_passes_its_gradient_to_one_place_alone():
    ones = np.ones((1, 4, 4, 1), np.float32)  # all ties: the first of each window
    expected = np.zeros_like(ones)
    expected[:, ::2, ::2] = 1
    chex.assert_trees_all_equal(gradient_of_sum(nn.max_pool)(ones), expected)
    field = np.ones((1, 2, 2, 4, 3), np.float32)
    expected = np.zeros_like(field)
    expected[:, :, :, 0] = 1
    chex.assert_trees_all_equal(gradient_of_sum(nn.GroupPool("max"))(field), expected)


def test_the_gradient_of_a_maximum_does_not_look_for_equal_numbers():
    x = normal(0, 1, 8, 8, 2)
    # The program has no comparison for equality but that of positions, whole numbers.
    text = str(jax.make_jaxpr(jax.grad(lambda x: jnp.sum(nn.max_first(x, 1))))(x))
    equal = [line for line in text.splitlines() if "= eq " in line]
    assert len(equal) == 1 and "f32" not in equal[0]


@pytest.mark.parametrize("place", range(4))
def test_what_is_not_a_number_stays_none(place):
    x = np.ones((1, 2, 2, 1), np.float32)
    x.reshape(-1)[place] = np.nan
    assert np.isnan(nn.max_pool(x)).all()
    assert np.isnan(nn.max_first(x.reshape(1, 4), axis=1)).all()


@pytest.mark.parametrize(("kind", "reduce"), [("max", np.max), ("mean", np.mean)])
def test_group_pool(kind, reduce):
    field = normal(0, 1, 5, 5, 4, 3)
    turned = np.concatenate([C4.act_on_field(g, field) for g in range(4)])
    pooled = jax.jit(nn.GroupPool(kind))(turned)
    for g in range(4):
        expected = np.rot90(reduce(field[0], axis=2), g)
        chex.assert_trees_all_close(pooled[g], expected, atol=1e-6)


BINOMIAL = {2: [1, 1], 3: [1, 2, 1], 4: [1, 3, 3, 1], 5: [1, 4, 6, 4, 1]}


def blurred_by_hand(images, window, stride):
    line = np.array(BINOMIAL[window]) / sum(BINOMIAL[window])
    weights, pad = np.outer(line, line), (window - 1) // 2
    rest = [(0, 0)] * (images.ndim - 3)
    padded = np.pad(images, [(0, 0), (pad, pad), (pad, pad), *rest], mode="edge")
    places = np.lib.stride_tricks.sliding_window_view(padded, (window,) * 2, (1, 2))
    return np.einsum("bhw...ij,ij->bhw...", places[:, ::stride, ::stride], weights)


def antialiased_by_hand(images, window, blur, stride):
    pad = (window - 1) // 2 if window % 2 else 0
    rest = [(0, 0)] * (images.ndim - 3)
    widths = [(0, 0), (pad, pad), (pad, pad), *rest]
    padded = np.pad(images, widths, constant_values=-np.inf)
    places = np.lib.stride_tricks.sliding_window_view(padded, (window,) * 2, (1, 2))
    return blurred_by_hand(places.max((-2, -1)), blur, stride)


@pytest.mark.parametrize("window", BINOMIAL)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_blur_pool_by_hand(window, stride):
    images = normal(0, 2, 7, 6, 3)
    found = jax.jit(lambda x: nn.blur_pool(x, window, stride))(images)
    expected = blurred_by_hand(images, window, stride)
    chex.assert_trees_all_close(found, expected.astype(np.float32), atol=1e-6)


@pytest.mark.parametrize(("window", "blur"), [(2, 3), (3, 3), (3, 4)])
def test_antialiased_max_pool_by_hand(window, blur):
    images = normal(0, 2, 7, 6, 3) - 5  # padded zeros would win
    found = jax.jit(lambda x: nn.antialiased_max_pool(x, window, blur=blur))(images)
    expected = antialiased_by_hand(images, window, blur, 2)
    chex.assert_trees_all_close(found, expected.astype(np.float32), atol=1e-5)


def test_blur_pools_of_a_field_are_those_of_each_element():
    field = normal(0, 2, 5, 5, 8, 3)
    pools = (nn.blur_pool, nn.antialiased_max_pool)
    found = jax.jit(lambda x: [pool(x, 3, group=D4) for pool in pools])(field)
    expected = [blurred_by_hand(field, 3, 2), antialiased_by_hand(field, 3, 3, 2)]
    expected = [x.astype(np.float32) for x in expected]
    chex.assert_trees_all_close(found, expected, atol=1e-6)


BLURS = {  # and the size on which each is exact
    "blur 2": (functools.partial(nn.blur_pool, window=2), 6),
    "blur 3": (functools.partial(nn.blur_pool, window=3), 5),
    "blur 4": (functools.partial(nn.blur_pool, window=4), 6),
    "max 2, blur 3": (functools.partial(nn.antialiased_max_pool, window=2), 6),
    "max 3, blur 3": (functools.partial(nn.antialiased_max_pool, window=3), 5),
}
MOVES = [(C4, True), (D4, True), (D4, False), (C8, True)]  # of fields or images


def shape_for(group, is_field, size):
    return (1, size, size, group.order, 2) if is_field else (1, size, size, 2)


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize(("group", "is_field"), MOVES, ids=str)
def test_blur_pools_commute_on_the_sizes_that_are_exact(name, group, is_field):
    pool, size = BLURS[name]
    pool = functools.partial(pool, group=group)
    assert asymmetry(pool, group, shape_for(group, is_field, size)) < 1e-5


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize(("group", "is_field"), MOVES, ids=str)
def test_blur_pools_are_refused_where_they_do_not_commute(name, group, is_field):
    pool, size = BLURS[name]
    shape = shape_for(group, is_field, 11 - size)  # 5 for 6, 6 for 5
    with pytest.raises(nn.ExactnessError, match=f"does not commute with {group}"):
        jax.eval_shape(lambda x: pool(x, group=group), jnp.zeros(shape))
    inexact = functools.partial(pool, group=group, exact=False)
    assert asymmetry(inexact, group, shape) > 0.3


PARTS = {  # the elements that are pooled into one, by hand
    D4.mod_reflection: [[0, 4], [1, 5], [2, 6], [3, 7]],
    C8.subgroup(4): [[0, 1], [2, 3], [4, 5], [6, 7]],
    D4.subgroup(4): [[0, 4], [1, 5], [2, 6], [3, 7]],
    D(8).subgroup(4, reflections=True): [  # mirrored, 45 degrees go the other way
        *([0, 1], [2, 3], [4, 5], [6, 7]),
        *([8, 15], [10, 9], [12, 11], [14, 13]),
    ],
}


@pytest.mark.parametrize("to", PARTS, ids=str)
@pytest.mark.parametrize(("kind", "reduce"), [("max", np.max), ("mean", np.mean)])
def test_group_pool_to_parts(to, kind, reduce):
    parts = np.array(PARTS[to])
    field = normal(0, 1, 3, 3, parts.size, 2)
    found = jax.jit(nn.GroupPool(kind, to))(field)
    expected = reduce(field[:, :, :, parts], axis=4)
    chex.assert_trees_all_close(found, expected, atol=1e-6)


@pytest.mark.parametrize("to", PARTS, ids=str)
@pytest.mark.parametrize("kind", ["max", "mean"])
def test_group_pool_to_parts_turns_with_its_field(to, kind):
    if isinstance(to, Cosets):  # moved by all the group
        group, elements = to.group, np.arange(to.group.order)
        act = functools.partial(group.act_on_field, over=to)
    else:
        group, elements, act = to.parent, to.elements, to.group.act_on_field

    @jax.jit
    def pooled(field):
        moved = [group.act_on_field(g, field) for g in elements]
        after = nn.GroupPool(kind, to)(jnp.concatenate(moved))
        return after, [act(g, after[:1]) for g in range(len(elements))]

    after, expected = pooled(normal(0, 1, 3, 3, group.order, 2))
    chex.assert_trees_all_close(after, np.concatenate(expected), atol=1e-6)


def test_group_pool_to_one_coset_is_that_over_the_group():
    field = normal(0, 1, 3, 3, 8, 2)
    found = nn.GroupPool("mean", D4.trivial)(field)
    chex.assert_trees_all_equal(found, nn.GroupPool("mean")(field))


def test_group_pool_errors():
    field = jnp.zeros((1, 2, 2, 4, 3))
    with pytest.raises(ValueError, match="kind='median'.*'max' or 'mean'"):
        nn.GroupPool("median")(field)
    for to, name in ((C8.subgroup(4), "C8"), (D4.regular, "D4")):
        message = rf"on {name}, \[B, H, W, 8, C\], got \(1, 2, 2, 4, 3\)"
        with pytest.raises(ValueError, match=message):
            nn.GroupPool(to=to)(field)
