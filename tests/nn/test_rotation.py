"""Rotation layers: the docstring's formulas in plain loops, symmetry, export, scale."""

import itertools

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import nn
from symjax.groups import C2, C4
from tests.layers import normal

KEY = jax.random.key(0)
ATOL = 2e-5  # float32 sums of up to 200 products of unit normals


def turned_back(g, order, i, j, k):
    """Index of g^-1 u where (i, j) is that of u, in a window of k by k."""
    for _ in range(g * (4 // order)):  # clockwise: right of the centre goes below
        i, j = j, k - 1 - i
    return i, j


def naive(field, kernel, order, stride, pad, lifts):
    """The sum in the docstring of the layer, one product after the other."""
    field = np.pad(field, ((0, 0), (pad, pad), (pad, pad), (0, 0), (0, 0)))
    k, size = kernel.shape[0], field.shape[1]
    steps = range((size - k) // stride + 1)
    outputs = np.zeros((len(field), len(steps), len(steps), order, kernel.shape[-1]))
    inputs = 1 if lifts else order
    for x, y, i, j in itertools.product(steps, steps, range(k), range(k)):
        for g, h in itertools.product(range(order), range(inputs)):
            pixel = field[:, stride * x + i, stride * y + j, h]
            u = turned_back(g, order, i, j, k)
            weights = kernel[u] if lifts else kernel[u][(h - g) % order]
            outputs[:, x, y, g] += pixel @ weights
    return outputs


SETTINGS = [  # size, kernel, stride, padding in pixels: all exact
    (6, 3, 1, 1),
    (5, 3, 2, 1),
    (6, 4, 2, 1),
    (5, 2, 1, 0),
]


@pytest.mark.parametrize("group", [C2, C4], ids=str)
@pytest.mark.parametrize("lifts", [True, False])
@pytest.mark.parametrize(("size", "kernel", "stride", "pad"), SETTINGS)
def test_formula_symmetry_and_export(size, kernel, stride, pad, lifts, group):
    order = group.order
    use_bias = pad == 1
    axis = () if lifts else (order,)
    make = nn.LiftingConv if lifts else nn.GroupConv
    layer = make(5, kernel, stride, pad, use_bias, group=group)
    inputs = normal(0, 2, size, size, *axis, 3)
    params = {"kernel": normal(1, kernel, kernel, *axis, 3, 5)}
    if use_bias:
        params["bias"] = normal(2, 5)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        jax.eval_shape(layer.init, KEY, inputs)["params"], params
    )
    act = group.act if lifts else group.act_on_field
    turned = np.concatenate([act(g, inputs) for g in range(order)])
    outputs = np.split(jax.jit(layer.apply)({"params": params}, turned), order)

    field = inputs[..., None, :] if lifts else inputs
    expected = naive(field, params["kernel"], order, stride, pad, lifts)
    expected += params.get("bias", 0.0)
    chex.assert_trees_all_close(outputs[0], np.float32(expected), atol=ATOL)

    for g, output in enumerate(outputs):
        chex.assert_trees_all_close(
            output, np.asarray(group.act_on_field(g, outputs[0])), atol=ATOL
        )

    pads = ((pad, pad), (pad, pad))
    stock = linen.Conv(
        5 * order, (kernel, kernel), stride, padding=pads, use_bias=use_bias
    )
    flat = inputs.reshape(2, size, size, -1)
    exported = jax.jit(lambda p, x: stock.apply({"params": layer.expand(p)}, x))(
        params, flat
    )
    chex.assert_trees_all_close(
        np.reshape(exported, outputs[0].shape), outputs[0], atol=ATOL
    )


def test_half_turns_of_images_and_kernels_that_are_not_square():
    images = normal(0, 1, 5, 7, 2)
    layer = nn.LiftingConv(3, (3, 5), group=C2)
    params = {"params": {"kernel": normal(1, 3, 5, 2, 3), "bias": normal(2, 3)}}
    both = np.concatenate([images, images[:, ::-1, ::-1]])
    outputs = np.asarray(jax.jit(layer.apply)(params, both))
    turned_after = outputs[0, ::-1, ::-1, ::-1]  # of two elements, turning swaps them
    chex.assert_trees_all_close(outputs[1], turned_after, atol=ATOL)


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [
        (nn.LiftingConv(64, 5), (4, 8, 8, 32), 5 * 5 * 32),
        (nn.GroupConv(64), (4, 6, 6, 4, 32), 3 * 3 * 4 * 32),
    ],
    ids=["lifting", "group"],
)
def test_initialisation_keeps_the_variance(layer, shape, fan_in):
    inputs = normal(0, *shape)
    key = jax.random.key(0, impl="rbg")  # compiles in a fifth of the time
    outputs, variables = jax.jit(layer.init_with_output)(key, inputs)
    params = variables["params"]
    # 5e4 samples or more: the standard deviation is known to 0.3 %
    np.testing.assert_allclose(np.std(params["kernel"]), fan_in**-0.5, rtol=0.02)
    chex.assert_trees_all_equal(params["bias"], np.zeros(64, np.float32))
    border = layer.kernel_size // 2 if isinstance(layer.kernel_size, int) else 1
    inside = outputs[:, border:-border, border:-border]  # no padded zeros
    np.testing.assert_allclose(np.mean(np.square(inside)), 1.0, rtol=0.1)


@pytest.mark.parametrize("shape", [(1, 6, 6, 3), (1, 6, 6, 2, 3)])
def test_group_conv_wants_a_field_on_its_group(shape):
    with pytest.raises(ValueError, match=r"C4, \[B, H, W, 4, C\].*LiftingConv first"):
        jax.eval_shape(nn.GroupConv(4).init, KEY, jnp.zeros(shape))


@pytest.mark.parametrize("exact", [True, False])
def test_quarter_turns_want_square_kernels(exact):
    layer = nn.LiftingConv(4, (3, 5), exact=exact)
    with pytest.raises(ValueError, match=r"\(3, 5\) is not square.*use \(5, 5\)"):
        jax.eval_shape(layer.init, KEY, jnp.zeros((1, 6, 6, 3)))
