"""Noise: Gaussian, shot, impulse, speckle.

Each value of an image has its own draw. Here an image x is in [0, 1], and N is standard
normal.

References:
  Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions
  and Perturbations, 2019, Section 3. https://arxiv.org/abs/1903.12261
"""

import jax
import jax.numpy as jnp
import numpy as np

from symjax.data.corruptions.corruption import Corruption


def _normal(key, image, *_):
    return jax.random.normal(key, image.shape)


def _gaussian(images, draws, deviation):
    """x + deviation N."""
    return 255 * np.clip(images / 255 + deviation * draws.astype(float), 0, 1)


def _speckle(images, draws, deviation):
    """x + deviation x N."""
    x = images / 255
    return 255 * np.clip(x + x * (deviation * draws.astype(float)), 0, 1)


def _counts(key, image, photons):
    return jax.random.poisson(key, image.astype(jnp.float32) / 255 * photons)


def _shot(images, counts, photons):
    """Poisson(photons x) / photons."""
    del images
    return 255 * np.clip(counts / photons, 0, 1)


def _flips(key, image, share):
    where, which = jax.random.split(key)
    flipped = jax.random.bernoulli(where, share, image.shape)
    return flipped, jax.random.bernoulli(which, shape=image.shape)


def _impulse(images, draws, share):
    """A share of the values turned black or white, as likely."""
    del share
    flipped, white = draws
    return np.where(flipped, np.where(white, 255, 0), images)


NOISE = {
    "gaussian_noise": Corruption(
        ((0.04,), (0.06,), (0.08,), (0.09,), (0.1,)), _gaussian, _normal
    ),
    "shot_noise": Corruption(((500,), (250,), (100,), (75,), (50,)), _shot, _counts),
    "impulse_noise": Corruption(
        ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)), _impulse, _flips
    ),
    "speckle_noise": Corruption(
        ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)), _speckle, _normal
    ),
}
