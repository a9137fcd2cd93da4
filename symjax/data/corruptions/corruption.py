"""A corruption: constants of five severities, random numbers per image, an effect.

    fog = Corruption(constants, effect, draw)
    fog.effect(images, draws, *fog.constants[severity - 1])     # [B, H, W, 3], 0..255

Random numbers are drawn by JAX with one key per image, in a program that is compiled
once for all severities. The effect is computed by NumPy in the precision of the
published code: values are truncated to whole gray levels, so that a rounding error can
grow to a gray level. Batches run in threads, because NumPy, SciPy and Pillow release
the interpreter lock.
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

MAX_IMAGES = 512  # images in a batch; it bounds the memory and has no other effect
SEVERITIES = (1, 2, 3, 4, 5)


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One of the nineteen corruptions.

    Attributes:
      constants: the constants of the severities 1 to 5.
      effect: maps images `[B, H, W, 3]`, uint8, the draws (leading axis B, or None) and
        the constants of a severity to gray levels `[B, H, W, 3]`, which are not yet
        clipped to 0..255 and truncated.
      draw: maps the key of an image, and its height and width, to its random numbers;
        None for a corruption that is not random.
    """

    constants: tuple[tuple, ...]
    effect: Callable[..., np.ndarray]
    draw: Callable[..., Any] | None = None

    def __call__(
        self, images: np.ndarray, severity: int, keys: Array | None
    ) -> np.ndarray:
        """Corrupts images `[B, H, W, 3]`, uint8, with one key per image if random."""
        if not len(images):
            return images.copy()
        part = functools.partial(self._part, images, severity, keys)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(
                list(pool.map(part, range(0, len(images), MAX_IMAGES)))
            )

    def _part(self, images, severity, keys, first):
        images, draws = images[first:][:MAX_IMAGES], None
        if self.draw is not None:
            keys = keys[first : first + len(images)]
            draws = jax.device_get(_draws(self.draw, keys, images.shape[1:3]))
        return to_gray_levels(self.effect(images, draws, *self.constants[severity - 1]))


def check_severity(severity: Any) -> None:
    """Raises a ValueError unless the severity is an integer from 1 to 5."""
    is_whole = isinstance(severity, int | np.integer) and not isinstance(severity, bool)
    if not is_whole or severity not in SEVERITIES:
        raise ValueError(f"severity={severity!r}: expected 1, 2, 3, 4 or 5.")


def to_gray_levels(values: np.ndarray) -> np.ndarray:
    """Clips values to 0..255 and truncates them to uint8, as the published code."""
    return np.clip(values, 0, 255).astype(np.uint8)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _draws(draw, keys, sizes):
    return jax.vmap(lambda key: draw(key, sizes))(keys)
