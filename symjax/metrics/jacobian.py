"""Gradients of logits, margins, and the Jacobian of a net (paper, Definition 12).

    v = cotangents(logits_fn(images), labels, "margin")        # [R, B, K]
    gradients = input_gradients(logits_fn, images, v)          # [R, B, H, W, C]
    spectral_norm(gradients)                                   # [B]

R linear functions of the logits are differentiated together: one logit, one margin, the
margins to all other classes, or all logits (the Jacobian).
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import Norm, ThreatModel
from symjax.groups import Group
from symjax.metrics.orbit import apply_inverse, orbit

Output = Literal["logit", "margin", "margins", "jacobian"]
OUTPUTS = ("logit", "margin", "margins", "jacobian")


def other_classes(labels: Array, classes: int) -> Array:
    """The classes other than the label, `label + 1, ..., label + K - 1` modulo K.

    Args:
      labels: `[B]`, class c of each image.
      classes: K, the number of classes.

    Returns:
      `[B, K - 1]`; all arrays of margins `g_cj` have this order of classes j.
    """
    return (labels[:, None] + jnp.arange(1, classes)[None]) % classes


def cotangents(logits: Array, labels: Array, output: Output) -> Array:
    """The linear functions of the logits to be differentiated, by name.

    Args:
      logits: `[B, K]`, which determine the class j of "margin".
      labels: `[B]`, class c of each image.
      output: "logit": `f_c`. "margin": `f_c - f_j`, where j is the other class with the
        largest logit. "margins": `f_c - f_j` for all other classes j, in the order of
        `other_classes`. "jacobian": all logits.

    Returns:
      `[R, B, K]`; R is 1, 1, K - 1 or K.

    Raises:
      ValueError: for an unknown `output`.
    """
    basis = jnp.eye(logits.shape[1], dtype=logits.dtype)
    own = basis[labels]
    if output == "logit":
        return own[None]
    if output == "margin":
        others = jnp.where(own > 0, -jnp.inf, logits)
        return (own - basis[jnp.argmax(others, axis=1)])[None]
    if output == "margins":
        return own[None] - basis[other_classes(labels, logits.shape[1]).T]
    if output == "jacobian":
        return jnp.repeat(basis[:, None], len(logits), axis=1)
    raise ValueError(f"output={output!r}: expected one of {OUTPUTS}.")


def input_gradients(logits_fn: LogitsFn, images: Array, cotangents: Array) -> Array:
    """The gradients of linear functions of the logits.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`.
      images: `[B, H, W, C]`.
      cotangents: `[R, B, K]`, the linear functions.

    Returns:
      `[R, B, H, W, C]`; NaN if a logit of the image is not finite.
    """
    logits, back = jax.vjp(logits_fn, images)
    gradients = jax.vmap(back)(cotangents)[0]
    finite = jnp.all(jnp.isfinite(logits), axis=1)[None, :, None, None, None]
    return jnp.where(finite, gradients, jnp.nan)


def aligned_orbit_gradients(
    logits_fn: LogitsFn, images: Array, cotangents: Array, group: Group
) -> Array:
    """Gradients at all points of the orbits, rotated back: `g^-1 grad f(g x)`.

    Args:
      logits_fn, images, cotangents: as in `input_gradients`.
      group: the group.

    Returns:
      `[G, R, B, H, W, C]`; all G entries are equal if the net is invariant.
    """
    points = orbit(images, group)
    flat = points.reshape(-1, *images.shape[1:])
    repeated = jnp.tile(cotangents, (1, group.order, 1))
    gradients = input_gradients(logits_fn, flat, repeated)
    gradients = gradients.reshape(len(cotangents), *points.shape)
    return apply_inverse(jnp.moveaxis(gradients, 0, 1), group)


def apply_group(arrays: Array, group: Group) -> Array:
    """Entry g of `[G, ..., H, W, C]` transformed by element g.

    For `aligned_orbit_gradients` this gives `grad f(g x)`.
    """
    return jnp.stack([group.act(g, arrays[g]) for g in range(group.order)])


def spectral_norm(jacobians: Array) -> Array:
    """The largest singular value of each image's Jacobian.

    It is computed from the R x R inner products of the rows.

    Args:
      jacobians: `[R, B, H, W, C]`, R rows of H W C entries for each image.

    Returns:
      `[B]`; for a single row, its Euclidean norm. NaN where an entry is NaN.
    """
    rows = jnp.moveaxis(jacobians.reshape(*jacobians.shape[:2], -1), 1, 0)
    largest = jnp.max(jnp.abs(rows), axis=(1, 2), keepdims=True)
    unit = rows / jnp.where(largest == 0, 1.0, largest)  # small squares would underflow
    products = jnp.einsum("brd,bsd->brs", unit, unit, precision="highest")
    if products.shape[-1] == 1:
        return largest[:, 0, 0] * jnp.sqrt(products[:, 0, 0])
    highest = jnp.max(jnp.linalg.eigvalsh(products), axis=-1)
    return largest[:, 0, 0] * jnp.sqrt(jnp.maximum(highest, 0.0))


def lengths(gradients: Array, norm: Norm) -> Array:
    """The norm of each gradient: `[..., H, W, C]` to `[...]`."""
    flat = gradients.reshape(-1, *gradients.shape[-3:])
    return ThreatModel(norm, 1.0).lengths(flat).reshape(gradients.shape[:-3])
