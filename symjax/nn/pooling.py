"""Pooling over pixels and over the group.

    x = nn.max_pool(x, window=2, group=groups.C4)           # [B, H/2, W/2, G, C]
    x = nn.antialiased_max_pool(x, group=groups.C4)         # [B, H/4, W/4, G, C]
    images = nn.GroupPool("max")(x)                         # [B, H/4, W/4, C]

The gradient of a maximum goes to one position, the first of equal values. Where
positive values are equal, as on a constant background, this gradient is not equivariant
under rotations.
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
    """The largest value in each window; padded pixels are never the maximum.

    Args:
      images: `[B, H, W, C]`, or a feature map on a group `[B, H, W, G, C]`, floating
        point; B may be 0.
      window, strides: one integer or `(height, width)`.
      padding: "SAME", "VALID", one integer, or ((top, bottom), (left, right)), less
        than the window, so that no window contains only padding.
      group: the group that the layer must commute with, or its name; required for a
        feature map on a group.
      exact: raise an error where pooling would not commute with `group`.

    Returns:
      The pooled array, of the same rank.

    Raises:
      ExactnessError: if pooling is not exact; the message has the sizes, the rule and
        the remedy.
      ValueError: if a feature map on a group is given without its group, if the window
        does not fit, or if an argument is invalid.
    """
    images, pads = checked("max_pool", images, window, strides, padding, group, exact)
    if _is_tiled(images, pair(window), pair(strides), pads):
        return _max_of_tiles(images, pair(window))
    shifted = windows(images, pair(window), pair(strides), pads, fill=-jnp.inf)
    return functools.reduce(_larger, shifted)


def avg_pool(
    images: Array,
    window: int | Sequence[int] = 2,
    strides: int | Sequence[int] = 2,
    padding: Padding = 0,
    group: Group | str | None = None,
    exact: bool = True,
) -> Array:
    """The mean in each window, including padded zeros; otherwise as `max_pool`."""
    images, pads = checked("avg_pool", images, window, strides, padding, group, exact)
    shifted = windows(images, pair(window), pair(strides), pads)
    return functools.reduce(jnp.add, shifted) / len(shifted)


def max_first(x: Array, axis: int) -> Array:
    """The maximum over an axis, with a gradient that goes to the first maximum only.

    The gradient of `jnp.max` searches for elements equal to the maximum. If a compiler
    computes the elements twice with different rounding, none is equal, and the gradient
    divides by zero.
    """
    places = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim)
    chosen = places == jnp.argmax(x, axis=axis, keepdims=True)
    return jnp.sum(jnp.where(chosen, x, 0), axis=axis)


def _is_tiled(images, window: Pair, strides: Pair, pads: tuple[Pair, Pair]) -> bool:
    rest = images.shape[1] % window[0], images.shape[2] % window[1]
    return window == strides and pads == NO_PADDING and rest == (0, 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_of_tiles(images: Array, window: Pair) -> Array:
    """Max-pooling of windows that do not overlap, with a gradient that needs no sums.

    The gradient of `_larger` over slices would add up one padded array per slice.
    """
    return functools.reduce(_larger, windows(images, window, window, NO_PADDING))


@_max_of_tiles.defjvp
def _max_of_tiles_jvp(window, primals, tangents):
    (images,), (tangent,) = primals, tangents
    best, *others = windows(images, window, window, NO_PADDING)
    chosen = jnp.zeros(best.shape, jnp.int32)
    for place, pixels in enumerate(others, start=1):
        chosen = jnp.where(_wins(best, pixels), place, chosen)
        best = _larger(best, pixels)
    batch, height, width, *rest = best.shape
    tiles = tangent.reshape(batch, height, window[0], width, window[1], *rest)
    places = np.arange(math.prod(window)).reshape(1, 1, window[0], 1, window[1])
    places = places.reshape(*places.shape, *(1 for _ in rest))
    selected = jnp.where(chosen[:, :, None, :, None] == places, tiles, 0)
    return best, jnp.sum(selected, axis=(2, 4))


def _larger(a: Array, b: Array) -> Array:
    return jnp.where(_wins(a, b), b, a)  # NaN if one of them is


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
    """The checked images of a pooling layer, and its padding in pixels.

    The arguments and errors are those of `max_pool`; `name` is the layer's, for errors.
    """
    images = settings.maps(name, images, 4, 5)
    window = settings.two(name, "window", window)
    strides = settings.two(name, "strides", strides)
    sizes = pair(images.shape[1:3])
    pads = resolve_padding(settings.padding(name, padding), sizes, window, strides)
    if images.ndim == 5 and group is None:
        raise ValueError(
            f"{name}: a feature map on a group, of shape {images.shape}, needs its "
            f"group, as in {name}(x, group=groups.C4), so that exactness can be "
            "checked."
        )
    for size, pad, k in zip(sizes, pads, window, strict=True):
        if size + sum(pad) < k:
            raise ValueError(
                f"{name}: a window of {window} does not fit into {sizes} pixels with "
                f"padding {pads}; use larger images or fewer pools."
            )
        if max(pad) >= k:
            raise ValueError(
                f"{name}: padding {pads} with a window of {window} pixels: expected "
                "less than the window, so that no window contains only padding."
            )
    if group is not None:
        group = as_group(group)
        if exact:
            exactness.check(name, group, sizes, window, strides, pads)
    return images, pads


class GroupPool(nn.Module):
    """Pools a feature map on a group over its group axis, or over parts of the axis.

    Attributes:
      kind: "max" (orientation pooling) or "mean".
      to: what the group axis of the output runs over. None: there is no group axis, and
        the output is rotated like an image. Cosets gK, such as
        `groups.D4.mod_reflection`: the output has a group axis over these cosets. A
        subgroup H, such as `groups.C8.subgroup(4)`: the output is a feature map on H;
        element h is pooled over h t, where t runs over representatives of the cosets
        Ht. For C4 in C8, these are the angles a and a + 45°.
    """

    kind: Literal["max", "mean"] = "max"
    to: Cosets | Subgroup | None = None

    def __call__(self, field: Array) -> Array:
        """Pools `[B, H, W, G, C]`.

        Returns:
          `[B, H, W, C]`, `[B, H, W, G / K, C]` or `[B, H, W, H, C]`, depending on `to`.

        Raises:
          ValueError: for an unknown kind, or an array that is no feature map on the
            group of `to`.
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
                "or None for the whole group."
            )
        reduce = reductions[self.kind]
        if self.to is None:
            return reduce(field, axis=-2)
        pooled = reduce(self._parts(self.to, field), axis=-2)
        trivial = isinstance(self.to, Cosets) and self.to.is_trivial
        return pooled[..., 0, :] if trivial else pooled

    def _parts(self, to: Cosets | Subgroup, field: Array) -> Array:
        """The feature map with its group axis split into A parts to be pooled.

        The shape is `[B, H, W, A, G / A, C]`.
        """
        within = to.group if isinstance(to, Cosets) else to.parent
        if field.shape[-2] != within.order:
            raise ValueError(
                f"GroupPool: expected a feature map on {within}, [B, H, W, "
                f"{within.order}, C], got {field.shape}; lift images with "
                "LiftingConv first."
            )
        elements = (
            to.elements_of_cosets
            if isinstance(to, Cosets)
            else to.coset_representatives
        )
        parts = jnp.take(field, elements.reshape(-1), axis=-2)
        return parts.reshape(*field.shape[:-2], *elements.shape, field.shape[-1])
