"""Pooling with a blur before subsampling, to reduce aliasing.

    x = nn.antialiased_max_pool(x, group=groups.C4)     # [B, H/2, W/2, G, C]

References:
  Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019.
"""

import functools
import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from symjax.groups import Group, as_group
from symjax.nn import exactness, settings
from symjax.nn.convolution import windows
from symjax.nn.exactness import Pair, pair
from symjax.nn.pooling import NO_PADDING, checked, max_pool


def blur_pool(
    images: Array,
    window: int = 3,
    strides: int | Sequence[int] = 2,
    group: Group | str | None = None,
    exact: bool = True,
) -> Array:
    """Blurs images and subsamples them, which reduces aliasing.

    The weights of the blur are binomial, `(1, 1) * (1, 1) * ...` on each axis. The
    images are padded by repeating the edge pixels `(window - 1) // 2` times on each
    side.

    Args:
      images, strides, group, exact: as in `max_pool`.
      window: size of the blur in pixels on each axis. With strides 2, an even window is
        exact for images of even size, an odd window for odd sizes.

    Returns:
      The blurred and subsampled array, of the same rank.

    Raises:
      ExactnessError, ValueError: as in `max_pool`.
    """
    window = settings.whole("blur_pool", "window", window)
    edge = (window - 1) // 2
    images, pads = checked("blur_pool", images, window, strides, edge, group, False)
    if group is not None and exact:
        sizes = pair(images.shape[1:3])
        _check_blur("blur_pool", "window", sizes, sizes, window, strides, group)
    rest = ((0, 0),) * (images.ndim - 3)
    padded = jnp.pad(images, ((0, 0), *pads, *rest), mode="edge")
    for axis, stride in enumerate(pair(strides)):
        size, step = [1, 1], [1, 1]
        size[axis], step[axis] = window, stride
        shifted = windows(padded, pair(size), pair(step), NO_PADDING)
        weights = [math.comb(window - 1, i) / 2 ** (window - 1) for i in range(window)]
        padded = functools.reduce(
            jnp.add, (w * x for w, x in zip(weights, shifted, strict=True))
        )
    return padded


def antialiased_max_pool(
    images: Array,
    window: int = 2,
    strides: int | Sequence[int] = 2,
    blur: int = 3,
    group: Group | str | None = None,
    exact: bool = True,
) -> Array:
    """Max-pools with stride 1 and then applies `blur_pool`.

    A window of 2 makes the images one pixel smaller, so that a blur of 3 is exact for
    even sizes. A window of 3 keeps the size; a blur of 3 is then exact for odd sizes.

    Args:
      images, strides, group, exact: as in `blur_pool`.
      window: size of the maximum's window; for an odd size the images are padded with
        pixels that are never the maximum.
      blur: size of the blur's window.

    Returns, Raises: as in `blur_pool`.
    """
    name = "antialiased_max_pool"
    window = settings.whole(name, "window", window)
    blur = settings.whole(name, "blur", blur)
    padding = (window - 1) // 2 if window % 2 else 0
    images, _ = checked(name, images, window, strides, padding, group, False)
    maxima = max_pool(images, window, 1, padding, group, exact=False)
    if group is not None and exact:
        sizes, blurred = pair(images.shape[1:3]), pair(maxima.shape[1:3])
        _check_blur(name, "blur", sizes, blurred, blur, strides, group)
    return blur_pool(maxima, blur, strides, group, exact=False)


def _edges(window: int) -> list[int]:
    """The padding of a blur of this window."""
    return [(window - 1) // 2]


def _check_blur(
    name: str, argument: str, sizes: Pair, blurred: Pair, window: int, strides, group
) -> None:
    """Raises ExactnessError with a remedy if a blur would not be exact.

    Args:
      name, argument: names of the function and of its argument for the blur's window.
      sizes: size of the images that the function is given.
      blurred: size of the images that it blurs.
      window, strides, group: the blur's arguments.
    """
    group, strides, edge = as_group(group), pair(strides), pair((window - 1) // 2)
    pads = edge, edge
    if exactness.is_exact(group, blurred, pair(window), strides, pads):
        return
    square = (max(blurred), max(blurred)) if group.transposes_axes else blurred
    takes = exactness.any_kernel
    exact = exactness.nearest(group, square, window, strides[0], takes, _edges)
    if exact is None:
        advice = "strides=1"
    else:
        size, other, _ = exact
        lost = sizes[0] - blurred[0]
        where = f" on {size[0] + lost}x{size[1] + lost} pixels"
        advice = f"{argument}={other} and strides={strides[0]}"
        advice += where if size != blurred else ""
    raise exactness.ExactnessError(
        f"{name} on {sizes[0]}x{sizes[1]} pixels with a blur of {window} and strides "
        f"{strides} does not commute with {group}: with strides 2, an even blur is "
        "exact for even sizes and an odd blur for odd sizes, and rotations by 90 "
        f"degrees need square images. For example {advice} is exact. Or pass "
        "exact=False to accept the error."
    )
