"""Random directions orthogonal to given ones (paper, Theorem 2's delta_perp).

draw = orthogonal(tangent(images)[None])
delta = draw(keys, tangent(images), "spectrum_matched")    # [B, H, W, C], norm 1
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from symjax.metrics.jacobian import lengths
from symjax.seeds import as_key

Noise = Literal["white", "spectrum_matched"]
NOISES = ("white", "spectrum_matched")


def orthogonal(directions: Array) -> Callable[[Array, Array, Noise], Array]:
    """A function that draws random directions orthogonal to the given ones.

    Args:
      directions: `[T, B, H, W, C]`, T directions for each image. They may be zero or
        linearly dependent; the draws are then also orthogonal to some other directions.

    Returns:
      A function of keys `[B]`, images `[B, H, W, C]` and a noise, which returns
      directions `[B, H, W, C]` of norm 1. The noise "white" is uniform on the sphere;
      "spectrum_matched" has the power spectrum of the images and random phases.
    """
    flat = jnp.moveaxis(directions.reshape(*directions.shape[:2], -1), 0, -1)
    basis = jnp.linalg.qr(flat)[0]  # [B, H W C, T]

    def draw(keys: Array, like: Array, noise: Noise) -> Array:
        one = functools.partial(jax.random.normal, shape=like.shape[1:])
        values = jax.vmap(one)(as_key(keys, "keys"))
        if noise == "spectrum_matched":
            values = _with_spectrum(like, values)
        elif noise != "white":
            raise ValueError(f"noise={noise!r}: expected one of {NOISES}.")
        rows = values.reshape(len(values), -1)
        for _ in range(2):  # the second time removes the rounding error of the first
            parts = jnp.einsum("bdt,bd->bt", basis, rows, precision="highest")
            rows = rows - jnp.einsum("bdt,bt->bd", basis, parts, precision="highest")
        return unit(rows.reshape(like.shape))

    return draw


def unit(images: Array) -> Array:
    """The images `[B, H, W, C]`, each divided by its Euclidean norm; 0 stays 0."""
    length = lengths(images, "l2")[:, None, None, None]
    return images / jnp.where(length == 0, 1.0, length)


def _with_spectrum(images: Array, noise: Array) -> Array:
    """Arrays with the Fourier amplitudes of the images and the phases of the noise."""
    phases = jnp.exp(1j * jnp.angle(jnp.fft.rfft2(noise, axes=(1, 2))))
    waves = jnp.abs(jnp.fft.rfft2(images, axes=(1, 2))) * phases
    return jnp.fft.irfft2(waves, images.shape[1:3], axes=(1, 2))
