"""Gradients of logits, of margins, of all of them at once (paper, Definition 12).

    v = cotangents(logits_fn(images), labels, "margin")        # [R, B, K]
    gradients = input_gradients(logits_fn, images, v)                # [R, B, H, W, C]
    spectral_norm(gradients)                                   # [B]

R scalar functions of the logits are differentiated together: one logit, one margin, the
margins to all other classes, or every logit, which gives the Jacobian.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import Norm, ThreatModel
from symjax.groups import Group
from symjax.metrics.orbit import apply_inverse, orbit

Of = Literal["logit", "margin", "margins", "jacobian"]
OF = ("logit", "margin", "margins", "jacobian")


def other_classes(labels: Array, classes: int) -> Array:
    """The classes other than the label, `label + 1, ..., label + K - 1` modulo K.

    Args:
      labels: `[B]`, c.
      classes: K.

    Returns:
      `[B, K - 1]`; the order of every array of margins `g_cj`.
    """
    return (labels[:, None] + jnp.arange(1, classes)[None]) % classes


def cotangents(logits: Array, labels: Array, of: Of) -> Array:
    """The linear functions of the logits that are differentiated.

    Args:
      logits: `[B, K]`; the class that a single margin is to is chosen from them.
      labels: `[B]`, c.
      of: "logit": `f_c`. "margin": `f_c - f_j`, j the largest of the others at these
        logits. "margins": to each of the others, as `rivals` has them. "jacobian":
        every logit.

    Returns:
      `[R, B, K]`; R is 1, 1, K - 1, K.

    Raises:
      ValueError: for another `of`.
    """
    basis = jnp.eye(logits.shape[1], dtype=logits.dtype)
    own = basis[labels]
    if of == "logit":
        return own[None]
    if of == "margin":
        others = jnp.where(own > 0, -jnp.inf, logits)
        return (own - basis[jnp.argmax(others, axis=1)])[None]
    if of == "margins":
        return own[None] - basis[other_classes(labels, logits.shape[1]).T]
    if of == "jacobian":
        return jnp.repeat(basis[:, None], len(logits), axis=1)
    raise ValueError(f"of={of!r}: expected one of {OF}.")


def input_gradients(logits_fn: LogitsFn, images: Array, cotangents: Array) -> Array:
    """The gradients of linear functions of the logits.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`.
      images: `[B, H, W, C]`.
      cotangents: `[R, B, K]`.

    Returns:
      `[R, B, H, W, C]`; NaN where a logit is not finite, though its gradient may be.
    """
    logits, back = jax.vjp(logits_fn, images)
    gradients = jax.vmap(back)(cotangents)[0]
    finite = jnp.all(jnp.isfinite(logits), axis=1)[None, :, None, None, None]
    return jnp.where(finite, gradients, jnp.nan)


def aligned_orbit_gradients(
    logits_fn: LogitsFn, images: Array, cotangents: Array, group: Group
) -> Array:
    """Gradients at every point of the orbits, turned back: `g^-1 grad f(g x)`.

    Args:
      logits_fn, images, cotangents: as in `input_gradients`.
      group: the group.

    Returns:
      `[G, R, B, H, W, C]`; all G entries are alike if the net is invariant.
    """
    points = orbit(images, group)
    flat = points.reshape(-1, *images.shape[1:])
    same = jnp.tile(cotangents, (1, group.order, 1))
    gradients = input_gradients(logits_fn, flat, same)
    gradients = gradients.reshape(len(cotangents), *points.shape)
    return apply_inverse(jnp.moveaxis(gradients, 0, 1), group)


def apply_group(back: Array, group: Group) -> Array:
    """Undoes the turning back: entry g of `[G, ...]`, turned by g; `grad f(g x)`."""
    return jnp.stack([group.act(g, back[g]) for g in range(group.order)])


def spectral_norm(jacobians: Array) -> Array:
    """The largest singular value, from the R x R products of the rows.

    Args:
      jacobians: `[R, B, H, W, C]`, R rows of H W C entries for each image.

    Returns:
      `[B]`; of a single row, its Euclidean length. NaN where an entry is NaN.
    """
    rows = jnp.moveaxis(jacobians.reshape(*jacobians.shape[:2], -1), 1, 0)
    largest = jnp.max(jnp.abs(rows), axis=(1, 2), keepdims=True)
    unit = rows / jnp.where(largest == 0, 1.0, largest)  # squares of tiny ones vanish
    products = jnp.einsum("brd,bsd->brs", unit, unit, precision="highest")
    if products.shape[-1] == 1:
        return largest[:, 0, 0] * jnp.sqrt(products[:, 0, 0])
    highest = jnp.max(jnp.linalg.eigvalsh(products), axis=-1)
    return largest[:, 0, 0] * jnp.sqrt(jnp.maximum(highest, 0.0))


def lengths(gradients: Array, norm: Norm) -> Array:
    """The norm of each gradient: `[..., H, W, C]` to `[...]`."""
    flat = gradients.reshape(-1, *gradients.shape[-3:])
    found = ThreatModel(norm, 1.0).lengths(flat)
    return found.reshape(gradients.shape[:-3])
