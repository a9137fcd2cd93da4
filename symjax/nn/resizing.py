"""Resizing of images, and the patches that a convolution reads from resized images.

    y = resizing.resize(images, (16, 16), "bicubic")

Every method is linear and separable: it is a matrix `[new size, size]` for each axis.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax.nn import settings
from symjax.nn.exactness import Pair

Method = Literal["bicubic", "bilinear", "area"]
METHODS = ("bicubic", "bilinear", "area")


def resize(
    images: Array, sizes: Pair, method: Method = "bicubic", antialias: bool = True
) -> Array:
    """Resizes images; commutes with rotations by 90 degrees and reflections.

    Args:
      images: `[B, H, W, C]`, floating point; B may be 0.
      sizes: the new `(height, width)` in pixels.
      method: "bicubic" (Keys, a = -0.5), "bilinear", or "area" (the mean over the area
        that an output pixel covers).
      antialias: widen the filter when the images become smaller; "area" always does.

    Returns:
      `[B, *sizes, C]`.

    Raises:
      ValueError: for an unknown method, another rank or dtype, or invalid sizes.
    """
    _check(method)
    images = settings.maps("resize", images, 4)
    sizes = settings.two("resize", "sizes", sizes)
    if sizes == images.shape[1:3]:
        return images
    rows, columns = (
        jnp.asarray(weights(size, new_size, method, antialias), images.dtype)
        for size, new_size in zip(images.shape[1:3], sizes, strict=True)
    )
    tall = jnp.einsum("yh,bhwc->bywc", rows, images, precision="highest")
    return jnp.einsum("xw,bywc->byxc", columns, tall, precision="highest")


def rescaled_patches(
    images: Array,
    readings: Sequence[tuple[Pair, tuple[Pair, Pair]]],
    window: Pair,
    strides: Pair,
    sizes: Pair,
    method: Method,
    antialias: bool,
) -> Array:
    """The patches of rescaled images, resized to `sizes`.

    The product of these patches and a kernel is `resize(convolve(resize(images)))`:
    resizing acts on pixels and the product on channels, so the two commute. In this
    way the rescaled images, which are four times as large at scale 2, need not be
    stored. For each row (column) of the window, there is one matrix that resizes,
    shifts and resizes back.

    Args:
      images: `[B, H, W, C]`.
      readings: for each of S scales, the `(height, width)` that the images are resized
        to, and the padding of the convolution at this scale.
      window, strides: window and strides of all convolutions.
      sizes: `(height, width)` that all outputs are resized to.
      method, antialias: arguments of both resizes, see `resize`.

    Returns:
      `[B, *sizes, S, window[0] * window[1] * C]`, the last axis in the order of a
      kernel `[window[0], window[1], C, features]`.
    """
    matrices = []
    for axis in (0, 1):
        size = images.shape[1 + axis]
        there_and_back = []
        for rescaled, padding in readings:
            there = weights(size, rescaled[axis], method, antialias)
            shifted = _shifted(there, window[axis], strides[axis], padding[axis])
            back = weights(shifted.shape[1], sizes[axis], method, antialias)
            there_and_back.append(back @ shifted)
        matrices.append(jnp.asarray(np.stack(there_and_back), images.dtype))
    rows, columns = matrices  # [S, window, new size, size]
    tall = jnp.einsum("siyh,bhwc->bsiywc", rows, images, precision="highest")
    patches = jnp.einsum("sjxw,bsiywc->byxsijc", columns, tall, precision="highest")
    length = window[0] * window[1] * images.shape[-1]
    return patches.reshape(len(images), *sizes, len(readings), length)


@functools.cache
def weights(size: int, new_size: int, method: Method, antialias: bool) -> np.ndarray:
    """The matrix `[new_size, size]` that resizes one axis.

    Raises:
      ValueError: for an unknown method.
    """
    _check(method)
    if size == new_size:
        return np.eye(size, dtype=np.float32)
    if method == "area":
        return _area_weights(size, new_size)
    shrinks = max(size / new_size, 1) if antialias else 1
    centers = (np.arange(new_size)[:, None] + 0.5) * size / new_size - 0.5
    distances = np.abs(centers - np.arange(size)) / shrinks
    kernel = {"bicubic": cubic, "bilinear": _triangle}[method](distances)
    return (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - x)


def cubic(distances: Any) -> Any:
    """The weights of pixels at these distances (0 or more) in cubic interpolation.

    The result is a NumPy array for a NumPy array, and a JAX array for a JAX array.

    References:
      Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981,
      equation 15 (a = -0.5).
    """
    where = jnp.where if isinstance(distances, Array) else np.where
    x = distances
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return where(x <= 1, near, where(x < 2, far, 0))


def _area_weights(size: int, new_size: int) -> np.ndarray:
    """The fraction of each new pixel that overlaps each old pixel."""
    edges = np.linspace(0, size, new_size + 1)
    old = np.arange(size)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return (np.maximum(overlap, 0) * new_size / size).astype(np.float32)


def _shifted(matrix: np.ndarray, window: int, stride: int, padding: Pair) -> np.ndarray:
    """The rows that each position of a window reads, `[window, outputs, size]`."""
    padded = np.pad(matrix, (padding, (0, 0)))
    outputs = (len(padded) - window) // stride + 1
    end = (outputs - 1) * stride + 1
    return np.stack([padded[i : i + end : stride] for i in range(window)])


def _check(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method={method!r}: expected one of {METHODS}.")
