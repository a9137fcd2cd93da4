"""The one convolution: against scipy and Flax, in every lowering."""

import functools

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from symjax import nn
from symjax.nn import winograd
from symjax.nn.convolution import LOWERINGS
from tests.layers import filled, normal

KEY = jax.random.key(0)


def correlate(images, kernel, strides, padding):
    """One channel pair after the other, in float64."""
    images = np.pad(images.astype(np.float64), ((0, 0), *padding, (0, 0)))
    outputs = [
        [
            sum(
                correlate2d(image[:, :, c], kernel[:, :, c, d], mode="valid")
                for c in range(kernel.shape[2])
            )[:: strides[0], :: strides[1]]
            for d in range(kernel.shape[3])
        ]
        for image in images
    ]
    return np.moveaxis(np.array(outputs), 1, -1)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding"),
    [
        ((6, 7), (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((6, 8), (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((4, 6), (3, 3), (1, 1), ((0, 2), (0, 0))),
        ((7, 6), (3, 2), (2, 3), ((0, 2), (1, 0))),
        ((5, 8), (1, 4), (2, 1), ((0, 0), (3, 0))),
        ((3, 3), (3, 3), (2, 2), ((0, 0), (0, 0))),
    ],
)
def test_convolve_is_cross_correlation(size, kernel, strides, padding, lowering):
    images, weights = normal(0, 2, *size, 3), normal(1, *kernel, 3, 4)
    found = jax.jit(nn.convolve, static_argnums=(2, 3, 4))(
        images, weights, strides, padding, lowering
    )
    expected = correlate(images, weights, strides, padding)
    chex.assert_shape(found, expected.shape)
    chex.assert_trees_all_close(found, np.float32(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding", "use_bias"),
    [
        (8, 3, 2, "SAME", True),
        (7, (2, 3), (1, 2), "VALID", False),
        (6, (4, 4), 1, ((0, 1), (2, 1)), True),
    ],
)
def test_conv_is_flax_conv(size, kernel, strides, padding, use_bias):
    images = normal(0, 2, size, size, 3)
    ours = nn.Conv(5, kernel, strides, padding, use_bias)
    window, strides = nn.exactness.pair(kernel), nn.exactness.pair(strides)
    theirs = linen.Conv(5, window, strides, padding, use_bias=use_bias)
    variables = filled(theirs, images)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        jax.eval_shape(ours.init, KEY, images), variables
    )
    chex.assert_trees_all_close(
        jax.jit(ours.apply)(variables, images),
        jax.jit(theirs.apply)(variables, images),
        atol=1e-4,
    )
    assert ours.expand(variables["params"]) is variables["params"]


@pytest.mark.parametrize(
    ("strides", "padding"),
    [
        ((1, 1), ((1, 1), (2, 0))),
        ((2, 2), ((1, 1), (1, 1))),
    ],
)
def test_lowerings_have_the_same_first_and_second_derivatives(strides, padding):
    images, weights = normal(0, 2, 6, 6, 3), normal(1, 3, 3, 3, 4)
    moved = normal(2, 2, 6, 6, 3), normal(3, 3, 3, 3, 4)

    def derivatives(lowering):
        def energy(images, weights):
            outputs = nn.convolve(images, weights, strides, padding, lowering)
            return jnp.sum(jnp.tanh(outputs))

        def slope(images, weights):
            return jax.jvp(energy, (images, weights), moved)[1]

        reverse_over_forward = jax.grad(slope, argnums=(0, 1))(images, weights)
        gradient = jax.grad(energy, argnums=(0, 1))
        reverse, forward_over_reverse = jax.jvp(gradient, (images, weights), moved)
        first = slope(images, weights), reverse
        return *first, reverse_over_forward, forward_over_reverse

    results = [jax.jit(derivatives, static_argnums=0)(name) for name in LOWERINGS]
    chex.assert_trees_all_close(*results, atol=1e-4)
    chex.assert_trees_all_close(results[0][2], results[0][3], atol=1e-4)


def test_winograd_rounds_finely_and_turns_with_the_image():
    images = np.abs(normal(0, 1, 8, 8, 128))
    weights = normal(1, 3, 3, 128, 6) / 34
    same = ((1, 1), (1, 1))
    apply = jax.jit(functools.partial(winograd.convolve, padding=same))
    found, expected = apply(images, weights), correlate(images, weights, (1, 1), same)
    rounding = 4e-6 * np.max(np.abs(expected))  # of 1,152 products; plain sums: 2e-6
    chex.assert_trees_all_close(np.float64(found), expected, atol=rounding, rtol=0)
    turned = apply(np.rot90(images, axes=(1, 2)), np.rot90(weights))
    turned_after = np.rot90(found, axes=(1, 2))
    chex.assert_trees_all_close(turned, turned_after, atol=rounding, rtol=0)


@pytest.mark.parametrize(
    ("size", "kernel", "dtype", "expected"),
    [
        (8, (3, 3, 128, 256), "float32", "winograd"),
        (8, (3, 3, 128, 256), "bfloat16", "conv"),
        (7, (3, 3, 128, 256), "float32", "conv"),
        (8, (3, 3, 64, 256), "float32", "conv"),
        (8, (3, 3, 3, 256), "float32", "patches"),
        (8, (1, 1, 128, 256), "float32", "patches"),
        (2, (3, 3, 128, 256), "float32", "patches"),
    ],
)
def test_mixed_chooses_by_size(size, kernel, dtype, expected):
    def program(lowering):
        images = jax.ShapeDtypeStruct((1, size, size, kernel[2]), dtype)
        weights = jax.ShapeDtypeStruct(kernel, dtype)
        same = ((kernel[0] // 2,) * 2,) * 2
        apply = functools.partial(nn.convolve, padding=same, lowering=lowering)
        return jax.jit(apply).lower(images, weights).as_text()

    assert program("mixed") == program(expected)
    assert sum(program("mixed") == program(name) for name in LOWERINGS[:3]) < 3


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_vmap_over_kernels_is_a_loop(lowering):
    images, kernels = normal(0, 2, 6, 6, 3), normal(1, 3, 3, 3, 3, 4)

    def apply(kernel):
        return nn.convolve(images, kernel, lowering=lowering)

    batched = jax.jit(jax.vmap(apply))(kernels)
    expected = [correlate(images, k, (1, 1), ((0, 0), (0, 0))) for k in kernels]
    chex.assert_trees_all_close(batched, np.float32(expected), atol=1e-5)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_bfloat16_computes_in_bfloat16_and_stores_float32(lowering):
    images = normal(0, 2, 6, 6, 3)
    layer = nn.Conv(4, dtype=jnp.bfloat16, lowering=lowering)
    variables = filled(layer, images)
    outputs = jax.jit(layer.apply)(variables, images)
    assert outputs.dtype == jnp.bfloat16
    chex.assert_tree_all_finite(outputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    weights = np.asarray(variables["params"]["kernel"])
    expected = correlate(images, weights, (1, 1), ((1, 1), (1, 1)))
    expected += variables["params"]["bias"]
    rounding = 2e-2 * np.max(np.abs(expected))  # bfloat16 keeps 8 bits
    chex.assert_trees_all_close(np.float64(outputs), expected, atol=rounding, rtol=0)


@pytest.mark.parametrize(
    ("images", "kernel", "lowering", "match"),
    [
        ((1, 5, 5, 2), (3, 3, 3, 4), "patches", "2 channels.*expects 3"),
        ((1, 2, 5, 3), (3, 3, 3, 4), "conv", "does not fit.*larger images"),
        ((1, 5, 5, 3), (3, 3, 3, 4), "fft", "lowering='fft'.*'patches'"),
    ],
)
def test_errors_name_the_value_and_the_way_out(images, kernel, lowering, match):
    with pytest.raises(ValueError, match=match):
        nn.convolve(jnp.zeros(images), jnp.zeros(kernel), lowering=lowering)
