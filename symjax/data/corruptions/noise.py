"""Noise: Gaussian, shot, impulse, speckle.

Each value of an image has its own random number. In the formulas the image x is in
[0, 1], and N is standard normal.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from symjax.data.corruptions.corruption import Corruption


def _normal(key, sizes):
    return jax.random.normal(key, (*sizes, 3))


def _gaussian(images, draws, deviation):
    """x + deviation N."""
    return 255 * np.clip(images / 255 + deviation * draws.astype(float), 0, 1)


def _speckle(images, draws, deviation):
    """x + deviation x N."""
    x = images / 255
    return 255 * np.clip(x + x * (deviation * draws.astype(float)), 0, 1)


def _bits(key, sizes):
    return jax.random.bits(key, (*sizes, 3), jnp.uint32)


def _shot(images, bits, photons):
    """Poisson(photons x) / photons, by the inverse of the distribution function.

    Counts above `photons` would be clipped, so they are all counted as `photons`.
    """
    levels = np.arange(256)[:, None]
    up_to = special.pdtr(np.arange(photons), photons * levels / 255)
    # One sorted table: the probabilities of level v, plus v, lie in [v, v + 1].
    places = images + (bits + 0.5) / 2.0**32
    counts = np.searchsorted(
        (levels + up_to).ravel(), places
    ) - photons * images.astype(int)
    return 255 * (counts / photons)


def _uniforms(key, sizes):
    where, which = jax.random.split(key)
    return tuple(jax.random.uniform(one, (*sizes, 3)) for one in (where, which))


def _impulse(images, draws, fraction):
    """Sets a fraction of the values to 0 or 255, with equal probability."""
    where, which = draws
    return np.where(where <= fraction, np.where(which <= 0.5, 255, 0), images)


NOISE = {
    "gaussian_noise": Corruption(
        ((0.04,), (0.06,), (0.08,), (0.09,), (0.1,)), _gaussian, _normal
    ),
    "shot_noise": Corruption(((500,), (250,), (100,), (75,), (50,)), _shot, _bits),
    "impulse_noise": Corruption(
        ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)), _impulse, _uniforms
    ),
    "speckle_noise": Corruption(
        ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)), _speckle, _normal
    ),
}
