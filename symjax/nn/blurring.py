"""Pools that blur before they leave pixels out, so that nothing is aliased.

    field = nn.antialiased_max_pool(field, group=groups.C4)     # [B, H/2, W/2, G, C]

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
    """Every other pixel of the blurred images; what they would alias is taken out.

    The weights are binomial, `(1, 1) * (1, 1) * ...` on each axis; beyond the edge goes
    on the last pixel, `(window - 1) // 2` times on each side.

    Args:
      images: `[B, H, W, C]`, or a field `[B, H, W, G, C]`, floating point; B may be 0.
      window: pixels on each axis that are blurred into one: with strides 2, an even
        number for images of even sizes, an odd one for odd sizes.
      strides: one integer or `(height, width)`.
      group: the group to commute with, or its name; a field cannot do without.
      exact: raise where it would not commute with `group`, as far as that is on the
        grid.

    Returns:
      The array without the pixels in between, of the same rank.

    Raises:
      ExactnessError: with the sizes, the rule and a way out.
      ValueError: if a field comes without its group, the window does not fit, or an
        argument cannot be.

    References:
      Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019.
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
        places = windows(padded, pair(size), pair(step), NO_PADDING)
        weights = [math.comb(window - 1, i) / 2 ** (window - 1) for i in range(window)]
        padded = functools.reduce(
            jnp.add, (w * x for w, x in zip(weights, places, strict=True))
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
    """The largest value under each window, one pixel apart, then a `blur_pool`.

    A window of 2 makes the images one pixel smaller, so that a blur of 3 suits even
    sizes; a window of 3 keeps their sizes, for odd ones.

    Args:
      images, strides, group, exact: as in `blur_pool`.
      window: of the maximum; an odd one is padded, by pixels that never win.
      blur: window of the blur.

    Returns, Raises, References: as in `blur_pool`.
    """
    name = "antialiased_max_pool"
    window = settings.whole(name, "window", window)
    blur = settings.whole(name, "blur", blur)
    padding = (window - 1) // 2 if window % 2 else 0
    images, _ = checked(name, images, window, strides, padding, group, False)
    largest_near = max_pool(images, window, 1, padding, group, exact=False)
    if group is not None and exact:
        sizes, near = pair(images.shape[1:3]), pair(largest_near.shape[1:3])
        _check_blur(name, "blur", sizes, near, blur, strides, group)
    return blur_pool(largest_near, blur, strides, group, exact=False)


def _edges(window: int) -> list[int]:
    """The padding of a blur."""
    return [(window - 1) // 2]


def _check_blur(
    name: str, argument: str, sizes: Pair, blurred: Pair, window: int, strides, group
) -> None:
    """Raises ExactnessError, with a way out, where a blur would not be exact.

    Args:
      name, argument: of the function and of its window of the blur.
      sizes: of the images that the function is given.
      blurred: of the images that it blurs.
      window, strides, group: of the blur.
    """
    group, strides, edge = as_group(group), pair(strides), pair((window - 1) // 2)
    pads = edge, edge
    if exactness.is_exact(group, blurred, pair(window), strides, pads):
        return
    square = (max(blurred), max(blurred)) if group.transposes_axes else blurred
    takes = exactness.any_kernel
    found = exactness.nearest(group, square, window, strides[0], takes, _edges)
    if found is None:
        advice = "strides=1"
    else:
        size, other, _ = found
        lost = sizes[0] - blurred[0]
        where = f" on {size[0] + lost}x{size[1] + lost} pixels"
        advice = f"{argument}={other} and strides={strides[0]}"
        advice += where if size != blurred else ""
    raise exactness.ExactnessError(
        f"{name} on {sizes[0]}x{sizes[1]} pixels with a blur of {window} and strides "
        f"{strides} does not commute with {group}: with strides 2 an even blur suits "
        "even sizes and an odd one odd sizes, on square images for quarter turns. For "
        f"example {advice} is exact. Or pass exact=False to accept the error."
    )
