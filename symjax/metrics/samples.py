"""Random samples in balls around images, computed in chunks.

    keys = keys_of_images(key, len(images))
    points = draw(threat, images, keys, numbers)               # [N, B, H, W, C]

Sample n of an image depends only on the image's key and n, so that results do not
depend on the number of samples or images at a time.
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
    """Indices in batches as in `io.in_batches`, of at most `count` images."""
    return in_batches(count, min(chunk, count))


def over_samples(
    step: Callable[[Any, Array, Array], Any], start: Any, samples: int, chunk: int
) -> Any:
    """The state after a loop over samples, `chunk` samples at a time.

    Args:
      step: a function of the state, the numbers of samples `[chunk]`, and whether each
        sample counts `[chunk]`, bool; it returns the new state.
      start: the state before the loop, an array or a tree of arrays.
      samples: the number of samples.
      chunk: the number of samples at a time.
    """
    chunk = min(chunk, samples)

    def block(index, carry):
        numbers = index * chunk + jnp.arange(chunk)
        return step(carry, numbers, numbers < samples)

    return jax.lax.fori_loop(0, -(-samples // chunk), block, start)


def draw(threat: ThreatModel, images: Array, keys: Array, numbers: Array) -> Array:
    """Samples that are uniform in the ball around each image, clipped to the bounds.

    Args:
      threat: ball and bounds.
      images: `[B, H, W, C]`.
      keys: `[B]`, one key per image.
      numbers: `[N]`, the numbers of the samples.

    Returns:
      `[N, B, H, W, C]`.
    """

    def one(number, image, key):
        return threat.start(jax.random.fold_in(key, number), image[None])[0]

    keys = as_key(keys, "keys")
    over_images = jax.vmap(one, (None, 0, 0))
    return jax.vmap(over_images, (0, None, None))(numbers, images, keys)
