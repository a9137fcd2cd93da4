"""Windows of the Square attack, and what it puts there (Andriushchenko et al. 2020).

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
"""After more queries than these the window's area is half of what it was before."""


@functools.cache
def sizes(
    n_queries: int,
    initial_share: float,
    rescale: bool,
    height: int,
    width: int,
    norm: str,
) -> tuple[int, ...]:
    """The window's side at each query, `[n_queries]`; arguments as in `square`."""
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
    """One inside the window, zero elsewhere, `[H, W]`."""
    along = []
    for axis, length in enumerate(shape):
        place = jnp.arange(length) - corner[axis]
        along.append((place >= 0) & (place < size))
    return (along[0][:, None] & along[1][None, :]).astype(jnp.float32)


def drawn(key: Array, shape: tuple[int, int], size: Array) -> Array:
    """A window somewhere, `[H, W]`."""
    return inside(corner(key, shape, size), shape, size)


def transposed(bump: Array) -> Array:
    """Of a bump in the upper left corner, also where the image is not square."""
    side = min(bump.shape)
    return bump.at[:side, :side].set(bump[:side, :side].T)


@functools.cache
def padded_bump(side: int, height: int, width: int, norm: str) -> np.ndarray:
    """In the upper left corner, `[H, W]`."""
    return np.pad(bump(side, norm), [(0, height - side), (0, width - side)])


@functools.cache
def bump(side: int, norm: str) -> np.ndarray:
    """The paper's eta: a positive and a negative pyramid, of norm one, `[s, s]`."""
    half = side // 2
    both = np.concatenate(
        [_pyramid(half, side, norm), -_pyramid(side - half, side, norm)]
    )
    return (both / _length(both, norm)).astype(np.float32)


def _pyramid(height: int, width: int, norm: str) -> np.ndarray:
    """Nested rectangles, the inner ones higher, of norm one."""
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
