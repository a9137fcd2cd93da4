"""Perturbations whose strength is a level: removal, noise, rotation, zoom, translation.

    Rotation()(image, key, draw=0, level=15.0)   # [H, W, C], 15 degrees to the left

A perturbation is hashable and static in a compiled program; `draw` and `level` are
traced. `draw` seeds a random perturbation whose strength grows with the level: removed
pixels stay removed at higher levels, and the pattern of the noise stays the same. For a
deterministic perturbation, `draw` selects the direction, such as left or right.

Geometric perturbations use bilinear interpolation without antialiasing; outside of the
image there is black. A pixel that is mapped onto a pixel, as in rotations by 90 degrees
and translations by whole pixels, is copied.
"""

import dataclasses
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jax.typing import ArrayLike

from symjax.seeds import as_key

ON_GRID = 1e-4  # in pixels; larger than the rounding of coordinates up to 100 pixels


class Perturbation(Protocol):
    """A perturbation for `tolerance`; hashable, and equal if its settings are equal.

    Attributes:
      directions: the number of directions; None for a random perturbation.
      identity_level: the level at which the image does not change.
    """

    directions: ClassVar[int | None]
    identity_level: ClassVar[float]

    def __call__(
        self, image: Array, key: Array, draw: ArrayLike, level: ArrayLike
    ) -> Array:
        """The perturbed image.

        Args:
          image: `[H, W, C]` in [0, 1].
          key: random key of this image; the draw is folded in.
          draw: the number of the random draw or of the direction, an integer.
          level: the strength, in the unit of the perturbation.

        Returns:
          `[H, W, C]` in [0, 1].
        """
        ...


@dataclasses.dataclass(frozen=True)
class Removal:
    """Sets random values to 0; the level is their fraction: `round(level n)` of n.

    Attributes:
      whole_pixels: remove all channels of a pixel together; otherwise each value is
        removed independently, as in the paper's published code.
    """

    whole_pixels: bool = False
    directions: ClassVar[int | None] = None
    identity_level: ClassVar[float] = 0.0

    def __call__(self, image, key, draw, level):
        shape = (*image.shape[:2], 1) if self.whole_pixels else image.shape
        count = image.size * shape[-1] // image.shape[-1]
        key = jax.random.fold_in(as_key(key), draw)
        order = jnp.argsort(jax.random.uniform(key, (count,)))
        removed = jnp.arange(count) < jnp.round(level * count)
        gone = jnp.zeros(count, bool).at[order].set(removed)
        return jnp.where(gone.reshape(shape), 0.0, image)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise and clips to [0, 1]; the level is its standard deviation."""

    directions: ClassVar[int | None] = None
    identity_level: ClassVar[float] = 0.0

    def __call__(self, image, key, draw, level):
        key = jax.random.fold_in(as_key(key), draw)
        pattern = jax.random.normal(key, image.shape)
        return jnp.clip(image + level * pattern, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Rotation:
    """Rotates about the center; the level is the angle in degrees, left or right."""

    directions: ClassVar[int | None] = 2
    identity_level: ClassVar[float] = 0.0

    def __call__(self, image, key, draw, level):
        del key
        angle = jnp.deg2rad(level) * jnp.where(jnp.asarray(draw) == 0, 1, -1)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        rows, columns = _from_center(image)
        return _read(image, rows * cos + columns * sin, columns * cos - rows * sin)


@dataclasses.dataclass(frozen=True)
class Zoom:
    """Enlarges or shrinks about the center; the level is the factor, 1 or more."""

    directions: ClassVar[int | None] = 2
    identity_level: ClassVar[float] = 1.0

    def __call__(self, image, key, draw, level):
        del key
        level = jnp.asarray(level, jnp.float32)
        step = jnp.where(jnp.asarray(draw) == 0, 1 / level, level)
        rows, columns = _from_center(image)
        return _read(image, rows * step, columns * step)


@dataclasses.dataclass(frozen=True)
class Translation:
    """Translates right, down, left or up; the level is the distance in pixels."""

    directions: ClassVar[int | None] = 4
    identity_level: ClassVar[float] = 0.0

    def __call__(self, image, key, draw, level):
        del key
        right = jnp.array([1.0, 0.0, -1.0, 0.0])[draw] * level
        down = jnp.array([0.0, 1.0, 0.0, -1.0])[draw] * level
        rows, columns = _from_center(image)
        return _read(image, rows - down, columns - right)


def _from_center(image: Array) -> tuple[Array, Array]:
    """Row and column of each pixel relative to the image's center, `[H, W]` each."""
    height, width = image.shape[:2]
    rows = jnp.arange(height) - (height - 1) / 2
    columns = jnp.arange(width) - (width - 1) / 2
    rows, columns = jnp.meshgrid(rows, columns, indexing="ij")
    return rows, columns


def _read(image: Array, rows: Array, columns: Array) -> Array:
    """The interpolated image at positions `[H, W]` relative to its center."""
    height, width = image.shape[:2]
    places = [_on_grid(rows + (height - 1) / 2), _on_grid(columns + (width - 1) / 2)]

    def one(channel):
        return map_coordinates(channel, places, order=1, mode="constant")

    return jax.vmap(one, in_axes=-1, out_axes=-1)(image)


def _on_grid(place: Array) -> Array:
    pixel = jnp.round(place)
    return jnp.where(jnp.abs(place - pixel) < ON_GRID, pixel, place)
