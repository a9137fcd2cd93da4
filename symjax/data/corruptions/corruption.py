"""What a corruption is: constants of five severities, a draw for an image, an effect.

    fog = Corruption(constants, effect, draw)
    fog.effect(images, draws, *fog.constants[severity - 1])     # [B, H, W, 3], 0..255

The draw is JAX's, one key an image, compiled once for all severities. The effect is
NumPy's, in the precision of the published code: since values are cut to whole grey
levels, a rounding error can become one. Batches go to threads: NumPy, SciPy and Pillow
let each other run while they compute.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax import Array

MOST_IMAGES = 512  # of a batch, which bounds memory and changes nothing else


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One of the nineteen.

    Attributes:
      constants: of the severities 1 to 5.
      effect: of images `[B, H, W, 3]`, uint8, what was drawn (a leading axis B; None
        where there is nothing to draw), and a severity's constants; gives grey levels
        `[B, H, W, 3]`, not yet clipped to 0..255 and cut.
      draw: of an image's key and its height and width.
    """

    constants: tuple[tuple, ...]
    effect: Callable[..., np.ndarray]
    draw: Callable[..., Any] | None = None

    def __call__(
        self, images: np.ndarray, severity: int, keys: Array | None
    ) -> np.ndarray:
        """Corrupts `[B, H, W, 3]`, uint8; keys `[B]`, unless nothing is drawn."""
        if not len(images):
            return images.copy()
        part = functools.partial(self._part, images, severity, keys)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(
                list(pool.map(part, range(0, len(images), MOST_IMAGES)))
            )

    def _part(self, images, severity, keys, first):
        images, draws = images[first:][:MOST_IMAGES], None
        if self.draw is not None:
            keys = keys[first : first + len(images)]
            draws = jax.device_get(_draws(self.draw, keys, images.shape[1:3]))
        return to_grey_levels(self.effect(images, draws, *self.constants[severity - 1]))


def to_grey_levels(values: np.ndarray) -> np.ndarray:
    """Clipped to 0..255 and cut, not rounded, to uint8, as the published images are."""
    return np.clip(values, 0, 255).astype(np.uint8)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _draws(draw, keys, sizes):
    return jax.vmap(lambda key: draw(key, sizes))(keys)
