"""3x3 convolution with 4 instead of 9 products per output: Winograd's F(2x2, 3x3).

    y = winograd.convolve(x, kernel, padding=((1, 1), (1, 1)))

A tile of 2x2 outputs is computed as a polynomial product, evaluated at four points per
axis, so that a tile needs sixteen matrix products over the channels. This is faster if
there are many channels. In float32 the rounding error is about twice that of the plain
sum.

References:
  Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

from symjax.nn.exactness import Pair

OF_IMAGES = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
OF_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OF_OUTPUTS = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
KERNEL_SIZE = (3, 3)

Grid = list[list[Array]]


def fits(
    sizes: Pair, kernel_size: Pair, strides: Pair, padding: tuple[Pair, Pair]
) -> bool:
    """Whether the kernel is 3x3, and outputs and gradients consist of whole tiles."""
    plain = kernel_size == KERNEL_SIZE and strides == (1, 1)
    whole = all(size % 2 == 0 and size > 2 for size in sizes)
    return plain and whole and all(sum(pixels) in (0, 2) for pixels in padding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def convolve(images: Array, kernel: Array, padding: tuple[Pair, Pair]) -> Array:
    """Cross-correlates images with a 3x3 kernel, with stride 1.

    Args:
      images: `[B, H, W, C_in]`, H and W even.
      kernel: `[3, 3, C_in, C_out]`.
      padding: ((top, bottom), (left, right)); the sum on an axis is 0 or 2, see `fits`.

    Returns:
      `[B, H', W', C_out]`.
    """
    return _convolve(images, kernel, padding)


def _convolve(images: Array, kernel: Array, padding: tuple[Pair, Pair]) -> Array:
    return _products(_tiles(images, padding), kernel)


@functools.partial(convolve.defjvp, symbolic_zeros=True)
def _jvp(padding, primals, tangents):
    """The tangents, written so that their transposes use Winograd's products too."""
    images, kernel = primals
    images_tangent, kernel_tangent = tangents
    tiles = _tiles(images, padding)
    outputs = _products(tiles, kernel)
    tangent = jnp.zeros_like(outputs)
    if not isinstance(images_tangent, SymbolicZero):
        rotated = kernel[::-1, ::-1].swapaxes(2, 3)
        (top, bottom), (left, right) = padding
        back = ((2 - top, 2 - bottom), (2 - left, 2 - right))
        transpose = jax.linear_transpose(lambda y: _convolve(y, rotated, back), outputs)
        tangent += transpose(images_tangent)[0]
    if not isinstance(kernel_tangent, SymbolicZero):
        tangent += _products(tiles, kernel_tangent)
    return outputs, tangent


def _products(tiles: Grid, kernel: Array) -> Array:
    """The outputs, as sums of sixteen products over the channels."""
    points = _both_axes(OF_KERNEL, [list(row) for row in kernel])
    batch, height, width, channels = tiles[0][0].shape
    products = [  # of matrices: for more axes, XLA's CPU backend would copy the arrays
        [tile.reshape(-1, channels) @ point for tile, point in zip(*rows, strict=True)]
        for rows in zip(tiles, points, strict=True)
    ]
    outputs = [
        [rows.reshape(batch, height, width, kernel.shape[-1]) for rows in of_row]
        for of_row in _both_axes(OF_OUTPUTS, products)
    ]
    stacked = jnp.stack([jnp.stack(of_row, axis=3) for of_row in outputs], axis=2)
    return stacked.reshape(batch, 2 * height, 2 * width, kernel.shape[-1])


def _tiles(images: Array, padding: tuple[Pair, Pair]) -> Grid:
    """The 4x4 pixels of each tile, transformed: 4x4 arrays `[B, H/2, W/2, C]`."""
    images = jax.lax.optimization_barrier(images)  # otherwise computed sixteen times
    images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    height, width = (size - 2 for size in images.shape[1:3])  # of the outputs
    rows = [images[:, i : i + height : 2] for i in range(4)]
    rows = [_sum_of(weights, rows) for weights in OF_IMAGES]
    return [
        [
            _sum_of(weights, [row[:, :, j : j + width : 2] for j in range(4)])
            for weights in OF_IMAGES
        ]
        for row in rows
    ]


def _both_axes(matrix: np.ndarray, grid: Sequence[Sequence[Array]]) -> Grid:
    """`matrix @ grid @ matrix.T`, where the entries of `grid` are arrays."""
    rows = [
        [_sum_of(weights, column) for column in zip(*grid, strict=True)]
        for weights in matrix
    ]
    return [[_sum_of(weights, row) for weights in matrix] for row in rows]


def _sum_of(weights: np.ndarray, arrays: Sequence[Array]) -> Array:
    """The weighted sum of the arrays; most weights are 0, 1 or -1."""
    terms = [
        array if weight == 1 else -array if weight == -1 else float(weight) * array
        for weight, array in zip(weights, arrays, strict=True)
        if weight
    ]
    return functools.reduce(jnp.add, terms)
