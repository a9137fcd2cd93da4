"""Samples in balls around images, a block of them at a time; images, some at a time.

    keys = keys_of_images(key, len(images))
    points = draw(threat, images, keys, numbers)               # [N, B, H, W, C]

Sample n of an image depends on the image's key and n alone, so that nothing depends on
how many are drawn, or how many images are measured, at a time.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax.attacks.threat import ThreatModel
from symjax.io import in_batches
from symjax.seeds import as_key
from symjax.seeds import keys_of_images as keys_of_images


def parts(count: int, chunk: int) -> Iterator[np.ndarray]:
    """As `io.in_batches`, in which few images make a smaller batch."""
    return in_batches(count, min(chunk, count))


def over_samples(
    step: Callable[[Any, Array, Array], Any], start: Any, samples: int, chunk: int
) -> Any:
    """Carries `start` through samples, `chunk` at a time.

    Args:
      step: of what is carried, sample numbers `[chunk]`, and which of them count
        `[chunk]`, bool; gives what is carried on.
      start: an array or a tree of them.
      samples: how many there are.
      chunk: how many at a time.
    """
    chunk = min(chunk, samples)

    def block(index, carry):
        numbers = index * chunk + jnp.arange(chunk)
        return step(carry, numbers, numbers < samples)

    return jax.lax.fori_loop(0, -(-samples // chunk), block, start)


def draw(threat: ThreatModel, images: Array, keys: Array, numbers: Array) -> Array:
    """Samples, uniform in the ball around each image, then moved to valid pixels.

    Args:
      threat: ball and bounds.
      images: `[B, H, W, C]`.
      keys: `[B]`.
      numbers: `[N]`, which samples of each image.

    Returns:
      `[N, B, H, W, C]`.
    """

    def one(number, image, key):
        return threat.start(jax.random.fold_in(key, number), image[None])[0]

    keys = as_key(keys, "keys")
    of_images = jax.vmap(one, (None, 0, 0))
    return jax.vmap(of_images, (0, None, None))(numbers, images, keys)
