"""Pooling over pixels and over the group.

    field = nn.max_pool(field, window=2, group=groups.C4)   # [B, H/2, W/2, G, C]
    field = nn.antialiased_max_pool(field, group=groups.C4) # [B, H/4, W/4, G, C]
    images = nn.GroupPool("max")(field)                     # [B, H/4, W/4, C]

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

from symjax.groups import Cosets, Group, Subgroup, as_group
from symjax.nn import exactness, settings
from symjax.nn.convolution import windows
from symjax.nn.exactness import Padding, Pair, pair, resolve_padding

NO_PADDING = ((0, 0), (0, 0))


def max_pool(
    images: Array,
    window: int | Sequence[int] = 2,
    strides: int | Sequence[int] = 2,
    padding: Padding = 0,
    group: Group | str | None = None,
    exact: bool = True,
) -> Array:
    """Largest value under each window; padded pixels never win.

    Args:
      images: `[B, H, W, C]`, or a field `[B, H, W, G, C]`, floating point; B may be 0.
      window, strides: one integer or `(height, width)`.
      padding: "SAME", "VALID", one integer, or ((top, bottom), (left, right)), less
        than the window, so that no window holds padding alone.
      group: the group to commute with, or its name; a field cannot do without.
      exact: raise where pooling would not commute with `group`.

    Returns:
      The pooled array, of the same rank.

    Raises:
      ExactnessError: with the sizes, the rule and a way out.
      ValueError: if a field comes without its group, the window does not fit, or an
        argument cannot be.
    """
    images, pads = checked("max_pool", images, window, strides, padding, group, exact)
    if _is_tiled(images, pair(window), pair(strides), pads):
        return _max_of_tiles(images, pair(window))
    places = windows(images, pair(window), pair(strides), pads, fill=-jnp.inf)
    return functools.reduce(_larger, places)


def avg_pool(
    images: Array,
    window: int | Sequence[int] = 2,
    strides: int | Sequence[int] = 2,
    padding: Padding = 0,
    group: Group | str | None = None,
    exact: bool = True,
) -> Array:
    """Mean under each window, padded zeros counted. All else as in `max_pool`."""
    images, pads = checked("avg_pool", images, window, strides, padding, group, exact)
    places = windows(images, pair(window), pair(strides), pads)
    return functools.reduce(jnp.add, places) / len(places)


def max_first(x: Array, axis: int) -> Array:
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
def _max_of_tiles(images: Array, window: Pair) -> Array:
    """Max-pooling by tiles, whose gradient reads where adding up slices would write."""
    return functools.reduce(_larger, windows(images, window, window, NO_PADDING))


@_max_of_tiles.defjvp
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


def checked(
    name: str,
    images: Array,
    window: int | Sequence[int],
    strides: int | Sequence[int],
    padding: Padding,
    group: Group | str | None,
    exact: bool,
) -> tuple[Array, tuple[Pair, Pair]]:
    """The images of a pool and its padding in pixels.

    Args:
      name: of the pool, for errors.
      images, window, strides, padding, group, exact: as of `max_pool`.

    Raises:
      ExactnessError, ValueError: as of `max_pool`.
    """
    images = settings.maps(name, images, 4, 5)
    window = settings.two(name, "window", window)
    strides = settings.two(name, "strides", strides)
    sizes = pair(images.shape[1:3])
    pads = resolve_padding(settings.padding(name, padding), sizes, window, strides)
    if images.ndim == 5 and group is None:
        raise ValueError(
            f"{name}: the field {images.shape} needs its group, as in "
            f"{name}(field, group=groups.C4), so that exactness can be checked."
        )
    for size, pad, k in zip(sizes, pads, window, strict=True):
        if size + sum(pad) < k:
            raise ValueError(
                f"{name}: a window of {window} does not fit into {sizes} pixels with "
                f"padding {pads}; use larger images or fewer pools."
            )
        if max(pad) >= k:
            raise ValueError(
                f"{name}: padding {pads} of a window of {window} pixels: expected less "
                "than the window, or some windows would hold padding alone."
            )
    if group is not None:
        group = as_group(group)
        if exact:
            exactness.check(name, group, sizes, window, strides, pads)
    return images, pads


class GroupPool(nn.Module):
    """Pools a field over its group axis, over all of it or over parts.

    Attributes:
      kind: "max" (orientation pooling) or "mean".
      to: what is left. None: one value, whose channels turn as images do. Cosets gK,
        such as `groups.D4.mod_reflection`: a field over them. A subgroup H, such as
        `groups.C8.subgroup(4)`: a field on H, pooled over the least elements of the
        cosets Ht that it has, turned along; of C8 in C4, the angles a and a + 45°.
    """

    kind: Literal["max", "mean"] = "max"
    to: Cosets | Subgroup | None = None

    def __call__(self, field: Array) -> Array:
        """`[B, H, W, G, C]` to `[B, H, W, C]`, `[B, H, W, G / K, C]` or `[..., H, C]`.

        Raises:
          ValueError: for another kind, or an array that is no such field.
        """
        reductions = {"max": max_first, "mean": jnp.mean}
        if self.kind not in reductions:
            raise ValueError(
                f"GroupPool: kind={self.kind!r}: expected 'max' or 'mean'."
            )
        field = settings.maps("GroupPool", field, 5)
        if not isinstance(self.to, Cosets | Subgroup | None):
            raise ValueError(
                f"GroupPool: to={self.to!r}: expected cosets such as "
                "groups.D4.mod_reflection, a subgroup such as groups.C8.subgroup(4), "
                "or None for all of the group."
            )
        reduce = reductions[self.kind]
        if self.to is None:
            return reduce(field, axis=-2)
        pooled = reduce(self._parts(self.to, field), axis=-2)
        trivial = isinstance(self.to, Cosets) and self.to.is_trivial
        return pooled[..., 0, :] if trivial else pooled

    def _parts(self, to: Cosets | Subgroup, field: Array) -> Array:
        """`[B, H, W, A, G / A, C]`."""
        within = to.group if isinstance(to, Cosets) else to.parent
        if field.shape[-2] != within.order:
            raise ValueError(
                f"GroupPool: a field of shape {field.shape} is no regular field on "
                f"{within}, which has {within.order} elements."
            )
        members = (
            to.elements_of_cosets
            if isinstance(to, Cosets)
            else to.coset_representatives
        )
        parts = jnp.take(field, members.reshape(-1), axis=-2)
        return parts.reshape(*field.shape[:-2], *members.shape, field.shape[-1])
