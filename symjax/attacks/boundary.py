"""The decision boundary that a linearised net has nearest to each image.

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
    """Where a wrong class has the label's logit, as far as the gradient says.

    Attributes:
      logits: `[B, K]`, at x.
      gap: `[B]`, the wrong logit minus the label's, which is zero on the boundary.
      normal: `[B, H, W, C]`, the gradient of the gap.
      distance: `[B]`, of x from there in the threat's norm.
    """

    logits: Array
    gap: Array
    normal: Array
    distance: Array


def nearest(
    logits_fn: LogitsFn, x: Array, labels: Array, threat: ThreatModel
) -> Boundary:
    """Of the boundaries to all wrong classes, by the threat's norm; K backward passes.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`.
      x: `[B, H, W, C]`.
      labels: `[B]`.
      threat: its norm counts.
    """
    logits, back = jax.vjp(logits_fn, x)
    basis = jnp.eye(logits.shape[1], dtype=logits.dtype)
    is_label = jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
    (normals,) = jax.vmap(back)(basis[:, None] - is_label[None])
    normals = finite(normals)
    gaps = jnp.nan_to_num(logits - jnp.take_along_axis(logits, labels[:, None], axis=1))
    dual = jax.vmap(threat.dual_lengths)(normals)[..., 0, 0, 0].T
    distance = jnp.abs(gaps) / jnp.maximum(dual, TINY)
    distance = jnp.where(is_label > 0, jnp.inf, distance)
    which, each = jnp.argmin(distance, axis=1), jnp.arange(len(x))
    found = gaps[each, which], normals[which, each], distance[each, which]
    return Boundary(logits, *found)


def towards(
    logits_fn: LogitsFn, x: Array, labels: Array, targets: Array, threat: ThreatModel
) -> Boundary:
    """As `nearest` for one wrong class an image, `[B]`; one backward pass."""
    logits, back = jax.vjp(logits_fn, x)
    classes = logits.shape[1]
    wanted, present = (
        jax.nn.one_hot(of, classes, dtype=logits.dtype) for of in (targets, labels)
    )
    gap = targeted_margin(logits, labels, targets)
    gap, normal = jnp.nan_to_num(gap), finite(back(wanted - present)[0])
    dual = threat.dual_lengths(normal)[:, 0, 0, 0]
    return Boundary(logits, gap, normal, jnp.abs(gap) / jnp.maximum(dual, TINY))


def is_lost(logits: Array, labels: Array) -> Array:
    """Whether an image is in error by logits that are NaN or infinite, `[B]`."""
    finite = jnp.all(jnp.isfinite(logits), axis=1)
    return ~finite & (largest_margin(logits, labels) >= 0)


def finite(gradients: Array) -> Array:
    """Zero where a gradient is NaN or infinite."""
    return jnp.nan_to_num(gradients, posinf=0.0, neginf=0.0)
