"""Random samples in balls around images, computed in chunks and image by image.

    keys = keys_of_images(key, len(images))
    points = draw(threat, images, keys, numbers)               # [N, B, H, W, C]

Sample n of an image depends only on the image's key and n, so that results do not
depend on the number of samples or images at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax.attacks.threat import ThreatModel
from symjax.io import BatchCheckpoint
from symjax.jaxprs import host_array
from symjax.metrics.program import evaluate
from symjax.seeds import as_key
from symjax.seeds import keys_of_images as keys_of_images


def image_by_image(
    compute: Callable[[int, np.ndarray], Mapping[str, Any]],
    net: Partial,
    images: np.ndarray,
    key: Array,
    settings: Mapping[str, Any],
    folder: Path | None,
) -> Iterator[Mapping[str, Any]]:
    """The results of `compute(index, image)`; those saved in the folder are read.

    Args:
      compute: a function that returns arrays by name.
      net: a net from `inputs.prepare`.
      images: `[N, H, W, C]`.
      key, settings: what the results depend on, beside the net and the images.
      folder: where the results are saved; None: nowhere.

    Raises:
      ValueError: if the folder contains the results of another call.
    """
    arrays = images, *map(host_array, (key, *jax.tree.leaves(net)))
    fingerprint = np.zeros(0)
    if folder is not None:  # another kind of device may round differently
        fingerprint = np.asarray(evaluate(net, images[:1]))
    identity = {**settings, "arrays": arrays}
    checkpoint = BatchCheckpoint(folder and Path(folder), identity, fingerprint)
    for index, image in enumerate(images):
        outcome = checkpoint.load(f"{index:06d}")
        if outcome is None:
            outcome = compute(index, image)
            checkpoint.save(f"{index:06d}", outcome)
        yield outcome


def at_a_time(chunk: int | None, on_cpu: int, elsewhere: int) -> int:
    """The chunk; for None, the number that is fastest on the backend."""
    return chunk or (on_cpu if jax.default_backend() == "cpu" else elsewhere)


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
