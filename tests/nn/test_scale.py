"""Scale convolution: resizing against Pillow, shared weights, aggregates."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from symjax import nn
from symjax.nn import resizing, scale
from tests.layers import filled, normal

KEY = jax.random.key(0)
resize = jax.jit(nn.resize, static_argnums=(1, 2, 3))
PILLOW = {
    "bicubic": PIL.Image.Resampling.BICUBIC,
    "bilinear": PIL.Image.Resampling.BILINEAR,
    "area": PIL.Image.Resampling.BOX,
}


def pillow(images, sizes, method):
    """Channel by channel in 32-bit floats, antialiased when shrinking."""
    size, channels = sizes[::-1], range(images.shape[-1])
    return np.stack(
        [
            np.stack(
                [
                    PIL.Image.fromarray(image[:, :, c]).resize(size, PILLOW[method])
                    for c in channels
                ],
                axis=-1,
            )
            for image in images
        ]
    )


@pytest.mark.parametrize(
    ("method", "sizes"),
    [
        ("bicubic", (4, 5)),
        ("bicubic", (16, 20)),
        ("bicubic", (6, 13)),
        ("bilinear", (4, 5)),
        ("bilinear", (16, 20)),
        ("area", (4, 5)),
    ],
)
def test_resize_is_that_of_pillow(method, sizes):
    images = normal(0, 2, 8, 10, 2)
    found = resize(images, sizes, method)
    chex.assert_trees_all_close(found, pillow(images, sizes, method), atol=1e-5)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_weights_are_those_of_jax(method, antialias):
    theirs = method.removeprefix("bi")
    for size, new_size in ((16, 32), (16, 8), (7, 12), (12, 5), (3, 1)):
        expected = jax.image.resize(
            np.eye(size, dtype=np.float32), (new_size, size), theirs, antialias
        )
        found = resizing.weights(size, new_size, method, antialias)
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_resize_in_closed_form():
    images = normal(0, 2, 8, 6, 3)
    blocks = images.reshape(2, 4, 2, 3, 2, 3).mean((2, 4))
    chex.assert_trees_all_close(resize(images, (4, 3), "area"), blocks, atol=1e-6)
    uneven = np.asarray(resize(images, (5, 4), "area"))
    chex.assert_trees_all_close(uneven.mean((1, 2)), images.mean((1, 2)), atol=1e-6)
    assert nn.resize(images, (8, 6)) is images
    assert resize(images.astype(jnp.bfloat16), (4, 3), "area").dtype == jnp.bfloat16


@pytest.mark.parametrize("method", resizing.METHODS)
def test_resize_commutes_with_quarter_turns(method):
    for size, new_size in ((8, 4), (7, 4), (5, 10)):
        images = normal(0, 1, size, size, 2)
        both = np.concatenate([images, np.rot90(images, axes=(1, 2))])
        resized, turned = resize(both, (new_size, new_size), method)
        chex.assert_trees_all_close(turned, np.rot90(resized), atol=1e-5)


def test_sizes_are_rounded_to_whole_pixels():
    sizes = scale.rescaled_sizes((16, 15), (0.5, 1, 2))
    assert sizes == [(8, 8), (16, 15), (32, 30)]
    assert scale.rescaled_sizes((1, 3), (0.5,)) == [(1, 2)]


def test_scales_share_one_kernel():
    images = normal(0, 2, 6, 6, 3)
    layer = nn.ScaleConv(4, scales=(1.0, 0.5, 1.0))
    params = filled(layer, images)["params"]
    conv = nn.Conv(4)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        params, {"conv": jax.eval_shape(conv.init, KEY, images)["params"]}
    )
    outputs = jax.jit(layer.apply)({"params": params}, images)
    first, half, last = np.split(outputs, 3, axis=-1)
    weights = {"params": params["conv"]}
    chex.assert_trees_all_close(first, conv.apply(weights, images), atol=1e-5)
    chex.assert_trees_all_equal(first, last)
    small = conv.apply(weights, pillow(images, (3, 3), "bicubic"))
    by_hand = pillow(np.asarray(small), (6, 6), "bicubic")
    chex.assert_trees_all_close(half, by_hand, atol=1e-4)


def test_scales_may_have_filters_of_their_own():
    images = normal(0, 2, 6, 6, 3)
    layer = nn.ScaleConv(4, scales=(1.0, 1.0, 2.0), shared=False)
    params = filled(layer, images)["params"]
    assert sorted(params) == ["conv_0", "conv_1", "conv_2"]
    outputs = jax.jit(layer.apply)({"params": params}, images)
    for index in (0, 1):
        chex.assert_trees_all_close(
            outputs[..., 4 * index : 4 * index + 4],
            nn.Conv(4).apply({"params": params[f"conv_{index}"]}, images),
            atol=1e-5,
        )
    assert np.max(np.abs(outputs[..., :4] - outputs[..., 4:8])) > 0.1


def test_weights_of_scales_start_equal():
    layer = nn.ScaleConv(1, 1, scales=(0.5, 1.0, 2.0), aggregate="weighted")
    key = jax.random.key(0, impl="rbg")  # compiles in a fifth of the time
    params = jax.jit(layer.init)(key, jnp.zeros((1, 2, 2, 1)))
    chex.assert_trees_all_close(
        params["params"]["weights"], np.full(3, 1 / 3, np.float32), atol=1e-7
    )


def test_aggregates_follow_from_the_concatenation():
    images = normal(0, 2, 6, 6, 3)
    scales = (0.5, 1.0, 2.0)
    kinds = ("concat", "mean", "max", "weighted")
    layers = {kind: nn.ScaleConv(4, scales=scales, aggregate=kind) for kind in kinds}
    conv = filled(layers["mean"], images)["params"]
    weights = np.array([0.5, -2.0, 3.0], np.float32)

    @jax.jit
    def outputs(images):
        return {
            kind: layers[kind].apply(
                {"params": conv | ({"weights": weights} if kind == "weighted" else {})},
                images,
            )
            for kind in kinds
        }

    found = outputs(images)
    a, b, c = np.split(found["concat"], 3, axis=-1)
    expected = {
        "concat": found["concat"],
        "mean": (a + b + c) / 3,
        "max": np.maximum(np.maximum(a, b), c),
        "weighted": 0.5 * a - 2 * b + 3 * c,
    }
    chex.assert_trees_all_close(found, expected, atol=1e-5)


CONVOLUTIONS = {
    "same": {},
    "strided": {"strides": 2, "kernel_size": (3, 2), "shared": False},
    "bilinear": {"method": "bilinear", "antialias": False, "padding": "VALID"},
    "area": {"method": "area", "use_bias": True, "padding": ((2, 0), (1, 3))},
    "own": {"shared": False, "use_bias": True},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_few_channels_take_another_way_to_the_same(options, monkeypatch):
    images = normal(0, 2, 8, 6, 3)
    layer = nn.ScaleConv(4, scales=(0.5, 1.5, 2.0), **{"use_bias": False} | options)
    params = filled(layer, images)
    weights = normal(1, *jax.eval_shape(layer.apply, params, images).shape)

    def outputs_and_gradients():
        def total(params, images):
            outputs = layer.apply(params, images)
            return jnp.sum(weights * outputs), outputs

        return jax.jit(jax.grad(total, (0, 1), has_aux=True))(params, images)

    found = outputs_and_gradients()
    monkeypatch.setattr(scale, "FEW_CHANNELS", 0)
    resized = outputs_and_gradients()
    chex.assert_trees_all_close(found, resized, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"strides": 2}, (4, 4)),
        ({"padding": "VALID"}, (6, 5)),
        ({"strides": 2, "padding": ((0, 1), (1, 0)), "kernel_size": 2}, (4, 4)),
    ],
)
def test_output_has_the_size_of_the_plain_convolution(options, sizes):
    images = jnp.zeros((2, 8, 7, 3))
    shapes = [
        jax.eval_shape(layer.init_with_output, KEY, images)[0].shape
        for layer in (nn.ScaleConv(4, **options), nn.Conv(12, **options))
    ]
    assert shapes[0] == shapes[1] == (2, *sizes, 12)


def test_bfloat16_outputs():
    layer = nn.ScaleConv(4, dtype=jnp.bfloat16, aggregate="weighted")
    shapes = jax.eval_shape(layer.init_with_output, KEY, jnp.zeros((1, 6, 6, 3)))
    assert shapes[0].dtype == jnp.bfloat16
    assert shapes[1]["params"]["weights"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "nearest"}, "method='nearest'.*bicubic"),
        ({"aggregate": "sum"}, "aggregate='sum'.*concat"),
        ({"scales": ()}, "one or more factors"),
        ({"scales": (1.0, 0.0)}, r"\(1.0, 0.0\).*> 0"),
    ],
)
def test_errors(options, match):
    with pytest.raises(ValueError, match=match):
        layer = nn.ScaleConv(4, **options)
        jax.eval_shape(layer.init, KEY, jnp.zeros((1, 6, 6, 3)))
