"""Small models whose worst case is known, and what every attack owes.

With two classes and `logits = x W + b`, the margin of label c is linear in x with
gradient `w_j - w_c`, so the worst margin in a ball is the margin at its centre plus eps
times the dual norm of that gradient. Images are kept so far from 0 and 1 that the
bounds do not bind.
"""

import chex
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from symjax.attacks import is_correct

SHAPE = (24, 2, 3, 2)
AXES = (1, 2, 3)


def linear(weights, bias, images):
    return images.reshape(len(images), -1) @ weights + bias


def waves(weights, bias, images):
    """Many local maxima: steps overshoot, and starts matter."""
    return jnp.sin(20 * linear(weights, bias, images))


def nan_gradient(weights, bias, images):
    """Finite logits whose gradient in the first pixel is 0 times infinity."""
    return linear(weights, bias, images) + jnp.sqrt(0 * images[:, 0, 0])[:, :1]


def nan_if_changed(net, images):
    """A net whose logits are NaN wherever an image differs from these images."""

    def nowhere(net, x):
        changed = jnp.any(x != images, axis=AXES)[:, None]
        return jnp.where(changed, jnp.nan, net(x))

    return Partial(nowhere, net)


def problem(classes=2, model=linear, seed=0):
    """A model, images and labels; half of the images or so are classified correctly."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.3, 0.7, SHAPE).astype(np.float32)
    labels = rng.integers(0, classes, len(images))
    weights = rng.normal(size=(12, classes)).astype(np.float32)
    bias = (-0.5 * weights.sum(axis=0, keepdims=True)).astype(np.float32)
    return Partial(model, weights, bias), images, labels


def towards_error(logits_fn, labels):
    """`w_j - w_c` of two classes, and its dual norms."""
    weights = logits_fn.args[0].astype(np.float64)
    uphill = weights[:, 1 - labels] - weights[:, labels]
    uphill = uphill.T.reshape(SHAPE)
    return uphill, {
        "linf": np.abs(uphill).sum(axis=(1, 2, 3)),
        "l2": np.sqrt(np.square(uphill).sum(axis=(1, 2, 3))),
        "l1": np.abs(uphill).max(axis=(1, 2, 3)),
    }


def owes(result, threat, logits_fn, images, labels, minimum_norm=False):
    """What every attack owes.

    For an image that it did not break, a minimum-norm attack returns the image itself,
    and the distance of an error outside of the ball, or infinity.
    """
    chex.assert_shape(result.images, images.shape)
    chex.assert_tree_all_finite(result.images)
    assert threat.contains(result.images, images).all()
    robust = np.asarray(is_correct(logits_fn(result.images), labels))
    np.testing.assert_array_equal(result.robust, robust)
    difference = np.asarray(result.images, np.float64) - images
    distance = {
        "linf": np.abs(difference).max(axis=(1, 2, 3)),
        "l2": np.sqrt(np.square(difference).sum(axis=(1, 2, 3))),
        "l1": np.abs(difference).sum(axis=(1, 2, 3)),
    }[threat.norm]
    if minimum_norm:
        np.testing.assert_array_equal(result.images[robust], images[robust])
        beyond = np.isposinf(result.distance) | (result.distance > threat.eps)
        np.testing.assert_array_equal(robust, beyond)
        distance = np.where(robust, result.distance, distance)
    np.testing.assert_allclose(result.distance, distance, atol=1e-5)
    for counts in (result.queries, result.gradients):
        assert counts.shape == labels.shape and counts.dtype == jnp.int32


def boundary_distance(logits_fn, images, labels, norm):
    """How far the nearest error of a linear model is, float64; 0 for an error."""
    weights, bias = (np.asarray(array, np.float64) for array in logits_fn.args)
    logits = linear(weights, bias, images.astype(np.float64))
    rows = np.arange(len(images))
    gaps = logits[rows, labels][:, None] - logits
    normals = weights.T[None] - weights.T[labels][:, None]
    dual = {
        "linf": np.abs(normals).sum(axis=-1),
        "l2": np.sqrt(np.square(normals).sum(axis=-1)),
        "l1": np.abs(normals).max(axis=-1),
    }[norm]
    gaps[rows, labels], dual[rows, labels] = np.inf, 1
    return np.maximum(gaps / dual, 0).min(axis=1)
