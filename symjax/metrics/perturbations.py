"""Perturbations that grow with a level: removed pixels, noise, turned, zoomed, moved.

    Rotation()(image, key, draw=0, level=15.0)       # [H, W, C], 15 degrees to the left

Each is a value that a program is compiled for once: draw and level are traced. A draw
is one path of growing levels: what is removed at one level stays removed at the next,
noise keeps its pattern. Where there is nothing to draw, a draw is a direction.

Geometric ones read the image between pixels bilinearly, without antialiasing; beyond it
there is black. Where a pixel lands on another one, as in quarter turns and whole steps,
it is copied.
"""

import dataclasses
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jax.typing import ArrayLike

from symjax.seeds import as_key

ON_GRID = 1e-4  # pixels; coordinates of images up to a hundred pixels wide err by less


class Perturbation(Protocol):
    """What `tolerance` takes; hashable, equal to another of the same settings.

    Attributes:
      directions: how many draws there are; None: as many as one likes.
      identity_level: the level that changes nothing.
    """

    directions: ClassVar[int | None]
    identity_level: ClassVar[float]

    def __call__(
        self, image: Array, key: Array, draw: ArrayLike, level: ArrayLike
    ) -> Array:
        """One image perturbed.

        Args:
          image: `[H, W, C]` in [0, 1].
          key: of this image; the draw is folded in.
          draw: an integer.
          level: in the perturbation's own unit.

        Returns:
          `[H, W, C]` in [0, 1].
        """
        ...


@dataclasses.dataclass(frozen=True)
class Removal:
    """A share of the values set to 0; the level is the share: `round(level n)` of n.

    Attributes:
      whole_pixels: all channels of a pixel go together; otherwise each value goes on
        its own, as in the paper's published code.
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
    """Gaussian noise, then clipped to [0, 1]; the level is its standard deviation."""

    directions: ClassVar[int | None] = None
    identity_level: ClassVar[float] = 0.0

    def __call__(self, image, key, draw, level):
        key = jax.random.fold_in(as_key(key), draw)
        pattern = jax.random.normal(key, image.shape)
        return jnp.clip(image + level * pattern, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Rotation:
    """About the centre; the level is the angle, in degrees: to the left, the right."""

    directions: ClassVar[int | None] = 2
    identity_level: ClassVar[float] = 0.0

    def __call__(self, image, key, draw, level):
        del key
        angle = jnp.deg2rad(level) * jnp.where(jnp.asarray(draw) == 0, 1, -1)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        rows, columns = _from_centre(image)
        return _read(image, rows * cos + columns * sin, columns * cos - rows * sin)


@dataclasses.dataclass(frozen=True)
class Zoom:
    """About the centre; the level is the factor, 1 or more: enlarged, shrunk by it."""

    directions: ClassVar[int | None] = 2
    identity_level: ClassVar[float] = 1.0

    def __call__(self, image, key, draw, level):
        del key
        level = jnp.asarray(level, jnp.float32)
        step = jnp.where(jnp.asarray(draw) == 0, 1 / level, level)
        rows, columns = _from_centre(image)
        return _read(image, rows * step, columns * step)


@dataclasses.dataclass(frozen=True)
class Translation:
    """The level is how far, in pixels: to the right, down, to the left, up."""

    directions: ClassVar[int | None] = 4
    identity_level: ClassVar[float] = 0.0

    def __call__(self, image, key, draw, level):
        del key
        right = jnp.array([1.0, 0.0, -1.0, 0.0])[draw] * level
        down = jnp.array([0.0, 1.0, 0.0, -1.0])[draw] * level
        rows, columns = _from_centre(image)
        return _read(image, rows - down, columns - right)


def _from_centre(image: Array) -> tuple[Array, Array]:
    """Row and column of each pixel, `[H, W]` each, the centre of the image being 0."""
    height, width = image.shape[:2]
    rows = jnp.arange(height) - (height - 1) / 2
    columns = jnp.arange(width) - (width - 1) / 2
    rows, columns = jnp.meshgrid(rows, columns, indexing="ij")
    return rows, columns


def _read(image: Array, rows: Array, columns: Array) -> Array:
    """The image at places `[H, W]` counted from its centre."""
    height, width = image.shape[:2]
    places = [_on_grid(rows + (height - 1) / 2), _on_grid(columns + (width - 1) / 2)]

    def one(channel):
        return map_coordinates(channel, places, order=1, mode="constant")

    return jax.vmap(one, in_axes=-1, out_axes=-1)(image)


def _on_grid(place: Array) -> Array:
    pixel = jnp.round(place)
    return jnp.where(jnp.abs(place - pixel) < ON_GRID, pixel, place)
