"""Directions at random, orthogonal to given ones (paper, Theorem 2's delta_perp).

draw = orthogonal(tangent(images)[None])
delta = draw(keys, tangent(images), "alike")               # [B, H, W, C], length 1
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from symjax.metrics.jacobian import lengths
from symjax.seeds import as_key

Noise = Literal["white", "alike"]
NOISES = ("white", "alike")


def orthogonal(directions: Array) -> Callable[[Array, Array, Noise], Array]:
    """Draws of what is orthogonal to some directions.

    Args:
      directions: `[T, B, H, W, C]`, T for each image; those that depend on others, or
        are 0, cost a dimension and no more.

    Returns:
      A function of keys `[B]`, images to be like `[B, H, W, C]`, and a noise: "white",
      uniform on the sphere; or "alike", with the power spectrum of those images and
      random phases. It gives `[B, H, W, C]`, each of length 1.
    """
    flat = jnp.moveaxis(directions.reshape(*directions.shape[:2], -1), 0, -1)
    basis = jnp.linalg.qr(flat)[0]  # [B, H W C, T]

    def draw(keys: Array, like: Array, noise: Noise) -> Array:
        one = functools.partial(jax.random.normal, shape=like.shape[1:])
        values = jax.vmap(one)(as_key(keys, "keys"))
        if noise == "alike":
            values = _with_spectrum(like, values)
        elif noise != "white":
            raise ValueError(f"noise={noise!r}: expected one of {NOISES}.")
        rows = values.reshape(len(values), -1)
        for _ in range(2):  # once more for what rounding leaves
            parts = jnp.einsum("bdt,bd->bt", basis, rows, precision="highest")
            rows = rows - jnp.einsum("bdt,bt->bd", basis, parts, precision="highest")
        return unit(rows.reshape(like.shape))

    return draw


def unit(images: Array) -> Array:
    """Each of `[B, H, W, C]` divided by its Euclidean length; 0 stays 0."""
    length = lengths(images, "l2")[:, None, None, None]
    return images / jnp.where(length == 0, 1.0, length)


def _with_spectrum(images: Array, noise: Array) -> Array:
    """The amplitudes of the images' waves, and the phases of the noise's."""
    phases = jnp.exp(1j * jnp.angle(jnp.fft.rfft2(noise, axes=(1, 2))))
    waves = jnp.abs(jnp.fft.rfft2(images, axes=(1, 2))) * phases
    return jnp.fft.irfft2(waves, images.shape[1:3], axes=(1, 2))
