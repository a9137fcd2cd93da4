"""Windows and bumps of the Square attack (Andriushchenko et al. 2020).

sides = windows.sizes(5000, 0.8, False, height=32, width=32, norm="linf")
mask = windows.drawn(key, (32, 32), sides[0])
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

TINY = 1e-12
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The window's area is halved after each of these numbers of queries."""


@functools.cache
def sizes(
    n_queries: int,
    initial_share: float,
    rescale: bool,
    height: int,
    width: int,
    norm: str,
) -> tuple[int, ...]:
    """The side of the window in pixels at each query, `[n_queries]`.

    The arguments are those of `square`, and the height and width of the images.
    """
    sides = []
    for index in range(n_queries):
        count = index
        if rescale:
            count = int(index / n_queries * 10_000)
        halved = sum(count > threshold for threshold in HALVINGS)
        area = initial_share / 2**halved * height * width
        size = max(round(area**0.5), 1 if norm == "linf" else 3)
        if norm != "linf":
            size += size % 2 == 0
        sides.append(min(size, height, width))
    return tuple(sides)


def corner(key: Array, shape: tuple[int, int], size: Array) -> Array:
    """The upper left corner of a window, `[2]`."""
    room = jnp.asarray(shape) - size
    return jnp.floor(jax.random.uniform(key, (2,)) * room).astype(int)


def inside(corner: Array, shape: tuple[int, int], size: Array) -> Array:
    """A mask that is one inside the window and zero elsewhere, `[H, W]`."""
    along = []
    for axis, length in enumerate(shape):
        place = jnp.arange(length) - corner[axis]
        along.append((place >= 0) & (place < size))
    return (along[0][:, None] & along[1][None, :]).astype(jnp.float32)


def drawn(key: Array, shape: tuple[int, int], size: Array) -> Array:
    """The mask of a window at a random position, `[H, W]`."""
    return inside(corner(key, shape, size), shape, size)


def transposed(bump: Array) -> Array:
    """The transpose of a bump in the upper left corner, for images of any shape."""
    side = min(bump.shape)
    return bump.at[:side, :side].set(bump[:side, :side].T)


@functools.cache
def padded_bump(side: int, height: int, width: int, norm: str) -> np.ndarray:
    """A bump in the upper left corner of an image of zeros, `[H, W]`."""
    return np.pad(bump(side, norm), [(0, height - side), (0, width - side)])


@functools.cache
def bump(side: int, norm: str) -> np.ndarray:
    """The paper's eta: a positive and a negative pyramid, with norm one, `[s, s]`."""
    half = side // 2
    both = np.concatenate(
        [_pyramid(half, side, norm), -_pyramid(side - half, side, norm)]
    )
    return (both / _length(both, norm)).astype(np.float32)


def _pyramid(height: int, width: int, norm: str) -> np.ndarray:
    """Nested rectangles with larger values towards the center, with norm one."""
    power = 2 if norm == "l2" else 4
    levels = max(height // 2 + 1, width // 2 + 1)
    pyramid = np.zeros((height, width))
    for level in range(levels):
        top, left = height // 2 - level, width // 2 - level
        extent = 2 * level + 1
        rows = slice(max(top, 0), min(top + extent, height))
        columns = slice(max(left, 0), min(left + extent, width))
        pyramid[rows, columns] += 1 / (level + 1) ** power
    return pyramid / max(_length(pyramid, norm), TINY)


def _length(array: np.ndarray, norm: str) -> float:
    return float(np.sqrt(np.sum(array**2)) if norm == "l2" else np.sum(np.abs(array)))
