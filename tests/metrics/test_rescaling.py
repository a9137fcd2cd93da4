"""Errors of scale equivariance: 0 where resizing undoes itself, and told elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.metrics import rescaling
from symjax.nn.resizing import resize
from tests import symmetric_models as small

IMAGES = small.problem()[0]  # 6 by 6 pixels
KERNEL = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)


def layers_fn(images):
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = images.shape[1:3]
    blurred = sum(
        KERNEL[i, j] * padded[:, i : i + height, j : j + width]
        for i in range(3)
        for j in range(3)
    )
    return {
        "scaled": 2 * images,
        "field": jnp.stack([images, -images], axis=3),
        "convolved": blurred,
        "mean": jnp.mean(images, axis=(1, 2)),
        "size": jnp.full((len(images), 1), height * 1.0),
        "dead": 0 * images,
    }


@functools.partial(jax.jit, static_argnums=1)
def both_sides(images, method):
    """Convolved after resizing, and before."""

    def half(maps):
        return resize(maps, (3, 3), method)

    outputs = layers_fn(half(images)), layers_fn(images)
    return outputs[0]["convolved"], half(outputs[1]["convolved"])


@pytest.mark.parametrize("method", ["bicubic", "area"])
def test_each_layer_is_compared_with_its_resized_output(method):
    factors = (0.5, 2.0)
    errors = rescaling.scale_errors(layers_fn, IMAGES, factors, method)
    for name in ("scaled", "field"):  # resizing is linear, and both sides resize
        np.testing.assert_allclose(errors[name], np.zeros((2, 4)), atol=1e-10)
    output, expected = np.asarray(both_sides(IMAGES, method))
    error = ((output - expected) ** 2).sum((1, 2, 3)) / (expected**2).sum((1, 2, 3))
    np.testing.assert_allclose(errors["convolved"][0], error, rtol=1e-4)
    assert np.min(errors["convolved"]) > 1e-3
    np.testing.assert_allclose(errors["size"][0], 0.25)  # (3 - 6)^2 / 6^2
    np.testing.assert_allclose(errors["size"][1], 1.0)
    assert np.isnan(errors["dead"]).all()
    if method == "area":
        np.testing.assert_allclose(errors["mean"], np.zeros((2, 4)), atol=1e-10)


def test_a_net_averaged_over_scales():
    def net(images):
        return jnp.stack(
            [jnp.sum(images, axis=(1, 2, 3)), len(images[0]) + 0 * images[:, 0, 0, 0]],
            1,
        )

    averaged = rescaling.averaged_over_scales(net, (0.5, 1.0, 2.0), "area")
    found = jax.jit(averaged)(IMAGES)
    total = IMAGES.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found[:, 0], total * (0.25 + 1 + 4) / 3, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], (3 + 6 + 12) / 3)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="method='nearest'"):
        rescaling.scale_errors(layers_fn, IMAGES, method="nearest")
    with pytest.raises(ValueError, match="expected one or more factors"):
        rescaling.scale_errors(layers_fn, IMAGES, factors=())
    with pytest.raises(ValueError, match="leave the bounds"):
        rescaling.scale_errors(layers_fn, IMAGES - 1)
