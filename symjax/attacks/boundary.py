"""The nearest decision boundary of the linearized net, for each image.

boundary = nearest(logits_fn, x, labels, threat)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from symjax.attacks.losses import largest_margin, targeted_margin
from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import ThreatModel

TINY = float(jnp.finfo(jnp.float32).tiny)


class Boundary(NamedTuple):
    """The boundary between the label and a wrong class, linearized at x.

    Attributes:
      logits: `[B, K]`, at x.
      logit_difference: `[B]`, the wrong class's logit minus the label's at x; zero on
        the boundary.
      normal: `[B, H, W, C]`, the gradient of the difference.
      distance: `[B]`, from x to the linearized boundary, in the threat's norm.
    """

    logits: Array
    logit_difference: Array
    normal: Array
    distance: Array


def nearest(
    logits_fn: LogitsFn, x: Array, labels: Array, threat: ThreatModel
) -> Boundary:
    """The nearest of the boundaries to all wrong classes; K backward passes.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`.
      x: `[B, H, W, C]`.
      labels: `[B]`.
      threat: only its norm is used.
    """
    logits, back = jax.vjp(logits_fn, x)
    basis = jnp.eye(logits.shape[1], dtype=logits.dtype)
    is_label = jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
    (normals,) = jax.vmap(back)(basis[:, None] - is_label[None])
    normals = finite(normals)
    label_logit = jnp.take_along_axis(logits, labels[:, None], axis=1)
    differences = jnp.nan_to_num(logits - label_logit)
    dual = jax.vmap(threat.dual_lengths)(normals)[..., 0, 0, 0].T
    distance = jnp.abs(differences) / jnp.maximum(dual, TINY)
    distance = jnp.where(is_label > 0, jnp.inf, distance)
    which, each = jnp.argmin(distance, axis=1), jnp.arange(len(x))
    return Boundary(
        logits, differences[each, which], normals[which, each], distance[each, which]
    )


def targeted(
    logits_fn: LogitsFn, x: Array, labels: Array, targets: Array, threat: ThreatModel
) -> Boundary:
    """The boundary to one wrong class per image, `targets` `[B]`; one backward pass."""
    logits, back = jax.vjp(logits_fn, x)
    classes = logits.shape[1]
    is_target, is_label = (
        jax.nn.one_hot(of, classes, dtype=logits.dtype) for of in (targets, labels)
    )
    difference = jnp.nan_to_num(targeted_margin(logits, labels, targets))
    normal = finite(back(is_target - is_label)[0])
    dual = threat.dual_lengths(normal)[:, 0, 0, 0]
    distance = jnp.abs(difference) / jnp.maximum(dual, TINY)
    return Boundary(logits, difference, normal, distance)


def is_lost(logits: Array, labels: Array) -> Array:
    """Whether an image is misclassified and has a NaN or infinite logit, `[B]`."""
    finite = jnp.all(jnp.isfinite(logits), axis=1)
    return ~finite & (largest_margin(logits, labels) >= 0)


def finite(gradients: Array) -> Array:
    """The gradients, with zero in place of NaN and infinite entries."""
    return jnp.nan_to_num(gradients, posinf=0.0, neginf=0.0)
