"""Pooling over pixels and over the group.

    field = nn.max_pool(field, window=2, group=groups.C4)   # [B, H/2, W/2, G, C]
    images = nn.GroupPool("max")(field)                     # [B, H/2, W/2, C]

A maximum passes its gradient to one place, the first of equal ones. Where positive
values tie, as on a constant background, it does not turn with the image.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax.groups import Group
from symjax.nn import exactness
from symjax.nn.convolution import windows
from symjax.nn.exactness import Padding, Pair, pair, resolve_padding

NO_PADDING = ((0, 0), (0, 0))


def max_pool(
    images: Array,
    window: int | Sequence[int] = 2,
    strides: int | Sequence[int] = 2,
    padding: Padding = 0,
    group: Group | None = None,
    exact: bool = True,
) -> Array:
    """Largest value under each window; padded pixels never win.

    Args:
      images: `[B, H, W, C]`, or a field `[B, H, W, G, C]`.
      window, strides: one integer or `(height, width)`.
      padding: "SAME", "VALID", one integer, or ((top, bottom), (left, right)).
      group: the group to commute with; a field cannot do without.
      exact: raise where pooling would not commute with `group`.

    Returns:
      The pooled array, of the same rank.

    Raises:
      ExactnessError: with the sizes, the rule and a way out.
      ValueError: if a field comes without its group, or the window does not fit.
    """
    pads = _checked_padding("max_pool", images, window, strides, padding, group, exact)
    if _is_tiled(images, pair(window), pair(strides), pads):
        return _largest_of_tiles(images, pair(window))
    places = windows(images, pair(window), pair(strides), pads, fill=-jnp.inf)
    return functools.reduce(_larger, places)


def avg_pool(
    images: Array,
    window: int | Sequence[int] = 2,
    strides: int | Sequence[int] = 2,
    padding: Padding = 0,
    group: Group | None = None,
    exact: bool = True,
) -> Array:
    """Mean under each window, padded zeros counted. All else as in `max_pool`."""
    pads = _checked_padding("avg_pool", images, window, strides, padding, group, exact)
    places = windows(images, pair(window), pair(strides), pads)
    return functools.reduce(jnp.add, places) / len(places)


def largest(x: Array, axis: int) -> Array:
    """The maximum over an axis, whose gradient goes to one place of each maximum.

    The gradient of `jnp.max` looks for elements equal to the maximum. Where a compiler
    computes them twice, rounded in two ways, it finds none and divides by zero.
    """
    places = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim)
    chosen = places == jnp.argmax(x, axis=axis, keepdims=True)
    return jnp.sum(jnp.where(chosen, x, 0), axis=axis)


def _is_tiled(images, window: Pair, strides: Pair, pads: tuple[Pair, Pair]) -> bool:
    rest = images.shape[1] % window[0], images.shape[2] % window[1]
    return window == strides and pads == NO_PADDING and rest == (0, 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _largest_of_tiles(images: Array, window: Pair) -> Array:
    """Max-pooling by tiles, whose gradient reads where adding up slices would write."""
    return functools.reduce(_larger, windows(images, window, window, NO_PADDING))


@_largest_of_tiles.defjvp
def _largest_of_tiles_jvp(window, primals, tangents):
    (images,), (moved,) = primals, tangents
    best, *others = windows(images, window, window, NO_PADDING)
    chosen = jnp.zeros(best.shape, jnp.int32)
    for place, pixels in enumerate(others, start=1):
        chosen = jnp.where(_wins(best, pixels), place, chosen)
        best = _larger(best, pixels)
    batch, height, width, *rest = best.shape
    tiles = moved.reshape(batch, height, window[0], width, window[1], *rest)
    places = np.arange(math.prod(window)).reshape(1, 1, window[0], 1, window[1])
    places = places.reshape(*places.shape, *(1 for _ in rest))
    passed = jnp.where(chosen[:, :, None, :, None] == places, tiles, 0)
    return best, jnp.sum(passed, axis=(2, 4))


def _larger(a: Array, b: Array) -> Array:
    return jnp.where(_wins(a, b), b, a)  # one of them, and NaN if there is


def _wins(a: Array, b: Array) -> Array:
    return (b > a) | jnp.isnan(b)


def _checked_padding(name, images, window, strides, padding, group, exact):
    sizes, window, strides = images.shape[1:3], pair(window), pair(strides)
    pads = resolve_padding(padding, sizes, window, strides)
    if images.ndim == 5 and group is None:
        raise ValueError(
            f"{name}: the field {images.shape} needs its group, as in "
            f"{name}(field, group=groups.C4), so that exactness can be checked."
        )
    if any(
        size + sum(pad) < k for size, pad, k in zip(sizes, pads, window, strict=True)
    ):
        raise ValueError(
            f"{name}: a window of {window} does not fit into {sizes} pixels with "
            f"padding {pads}; use larger images or fewer pools."
        )
    if group is not None and exact:
        exactness.check(name, group, sizes, window, strides, pads)
    return pads


class GroupPool(nn.Module):
    """Pools a field over its group axis, which makes its channels turn as images do.

    Attributes:
      kind: "max" (orientation pooling) or "mean".
    """

    kind: Literal["max", "mean"] = "max"

    def __call__(self, field: Array) -> Array:
        """`[B, H, W, G, C]` to `[B, H, W, C]`."""
        reductions = {"max": largest, "mean": jnp.mean}
        if self.kind not in reductions:
            raise ValueError(
                f"GroupPool: kind={self.kind!r}: expected 'max' or 'mean'."
            )
        if field.ndim != 5:
            raise ValueError(
                f"GroupPool: expected a field [B, H, W, G, C], got {field.shape}."
            )
        return reductions[self.kind](field, axis=-2)
