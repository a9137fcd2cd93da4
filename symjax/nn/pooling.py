"""Pooling over pixels and over the group.

    field = nn.max_pool(field, window=2, group=groups.C4)   # [B, H/2, W/2, G, C]
    images = nn.GroupPool("max")(field)                     # [B, H/2, W/2, C]

Ties share the gradient evenly, so that the gradient turns with the image, too.
"""

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from symjax.groups import Group
from symjax.nn import exactness
from symjax.nn.convolution import windows
from symjax.nn.exactness import Padding, pair, resolve_padding


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
    return _reduce(jnp.max, images, pair(window), pair(strides), pads, -jnp.inf)


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
    return _reduce(jnp.mean, images, pair(window), pair(strides), pads, 0.0)


def _reduce(reduction, images, window, strides, padding, fill) -> Array:
    if window != strides or any(sum(pad) for pad in padding):
        places = windows(images, window, strides, padding, fill)
        return reduction(jnp.stack(places), axis=0)
    batch, height, width, *rest = images.shape  # tiles: a view, twice as fast
    rows, columns = height // window[0], width // window[1]
    tiled = images[:, : rows * window[0], : columns * window[1]]
    shape = (batch, rows, window[0], columns, window[1], *rest)
    return reduction(tiled.reshape(shape), axis=(2, 4))


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
        reductions = {"max": jnp.max, "mean": jnp.mean}
        if self.kind not in reductions:
            raise ValueError(
                f"GroupPool: kind={self.kind!r}: expected 'max' or 'mean'."
            )
        if field.ndim != 5:
            raise ValueError(
                f"GroupPool: expected a field [B, H, W, G, C], got {field.shape}."
            )
        return reductions[self.kind](field, axis=-2)
