"""Orbits: images turned by every element of a group, and by small angles.

    everywhere = orbit(images)                   # [G, B, H, W, C]
    at_turned = turned(logits_fn, 1)             # the net, looking at turned images
    directions = tangent(images)                 # along the orbit of all rotations

The paper's Definition 7. Quarter turns are exact; turns by other angles interpolate.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike

from symjax.attacks.result import LogitsFn
from symjax.groups import C4, Group, as_group
from symjax.metrics.program import check_turns
from symjax.nets import as_partial
from symjax.nn.resizing import cubic


def orbit(images: Array, group: Group | str = C4) -> Array:
    """The orbit `[x]_G = {g x}` of each image (Definition 7).

    Args:
      images: `[..., H, W, C]`: images, gradients, or samples around an image, which
        then turn along with it.
      group: the group.

    Returns:
      `[G, ..., H, W, C]`; entry 0 is what was given.
    """
    group = as_group(group)
    return jnp.stack([group.act(g, images) for g in range(group.order)])


def apply_inverse(images: Array, group: Group | str = C4) -> Array:
    """Entry g of `[G, ..., H, W, C]`, turned by the inverse of g."""
    group = as_group(group)
    back = group.inverses
    return jnp.stack([group.act(int(back[g]), images[g]) for g in range(group.order)])


def compose_with_rotation(
    logits_fn: LogitsFn, g: int, group: Group | str = C4
) -> Partial:
    """The net looking at turned images, `x -> f(g x)`.

    Its gradient is that of f at g x, turned back: `g^-1 grad f(g x)`. So any measure of
    this net at x is that of f at g x, whatever is sampled around x turned along:
    `clever(turned(f, g), x, key)` is CLEVER at g x.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, f; its leaves stay leaves.
      g: the element; a leaf, so that every turn is measured by one program.
      group: the group.

    Returns:
      A callable like `logits_fn`; f is invariant if and only if all of them are alike.

    Raises:
      ValueError: if the group has no such element.
    """
    group = as_group(group)
    if not 0 <= g < group.order:
        raise ValueError(
            f"g={g}: expected 0 to {group.order - 1}, an element of {group}."
        )
    return Partial(_Turned(group), as_partial(logits_fn), jnp.int32(g))


def orbit_average(logits_fn: LogitsFn, group: Group | str = C4) -> Partial:
    """The net averaged over the orbit, `x -> mean_g f(g x)`; invariant, whatever f is.

    Its gradient is the average of Definition 13, each term turned back. Theorem 2
    speaks of such a net ("if f is orbit-averaged").

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, f; its leaves stay leaves.
      group: the group.

    Returns:
      A callable like `logits_fn`.
    """
    return Partial(_Averaged(as_group(group)), as_partial(logits_fn))


@dataclasses.dataclass(frozen=True)
class _Averaged:
    group: Group

    def __call__(self, net: Partial, images: Array) -> Array:
        points = orbit(images, self.group)
        logits = net(points.reshape(-1, *images.shape[1:]))
        return jnp.mean(logits.reshape(*points.shape[:2], -1), axis=0)


@dataclasses.dataclass(frozen=True)
class _Turned:
    """Compared by value, so that an equal turn compiles nothing again."""

    group: Group

    def __call__(self, net: Partial, g: Array, images: Array) -> Array:
        check_turns("turned", images, self.group)
        elements = range(self.group.order)
        turns = [functools.partial(self.group.act, element) for element in elements]
        return net(jax.lax.switch(g, turns, images))


def rotate(images: Array, angle: ArrayLike) -> Array:
    """Images turned about their centre by any angle, bicubic; edge pixels go on.

    The interpolation (Keys 1981, a = -0.5) has a continuous slope, so it has a
    derivative in the angle at 0, which the bilinear one has not. It is no isometry but
    at multiples of 90 degrees of square images, where it is `group.act` up to rounding.

    Args:
      images: `[B, H, W, C]`.
      angle: radians, counter-clockwise, a scalar; may be traced.

    Returns:
      `[B, H, W, C]`; the cubic may leave the range of the pixels.
    """
    height, width = images.shape[1:3]
    middle = (height - 1) / 2, (width - 1) / 2
    y = (jnp.arange(height) - middle[0])[:, None]
    x = (jnp.arange(width) - middle[1])[None, :]
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    rows, row_weights = _taps(middle[0] + cosine * y + sine * x, height)
    columns, column_weights = _taps(middle[1] + cosine * x - sine * y, width)
    seen = images[:, rows[..., :, None], columns[..., None, :]]
    return jnp.einsum(
        "bhwijc,hwi,hwj->bhwc", seen, row_weights, column_weights, precision="highest"
    )


def tangent(images: Array) -> Array:
    """The tangent of each image's orbit under all rotations, `d/dt R_t x` at t = 0.

    A finite group has no such direction: its orbits are points apart, and their tangent
    space is {0}.

    Args:
      images: `[B, H, W, C]`.

    Returns:
      `[B, H, W, C]`, pixel units a radian; 0 where the image is the same all round.
    """
    angle = jnp.zeros((), images.dtype)
    return jax.jvp(lambda t: rotate(images, t), (angle,), (jnp.ones_like(angle),))[1]


def relative_spread(values: Array) -> Array:
    """How far values change over an orbit, `max_g |v(g x) - v(x)| / max |v(x)|`.

    Args:
      values: `[G, B, ...]`, what was measured at each point of the orbits.

    Returns:
      `[B]`, each maximum over all axes but this one. NaN where the values at x are all
      0 and never change, infinite where they are 0 and do, NaN where one is NaN.
    """
    axes = tuple(range(2, values.ndim))
    change = jnp.max(jnp.abs(values - values[:1]), axis=(0, *axes))
    return change / jnp.max(jnp.abs(values[0]), axis=tuple(np.subtract(axes, 1)))


def _taps(places: Array, size: int) -> tuple[Array, Array]:
    """The four pixels around each place, and their weights: `[H, W, 4]` each."""
    first = jnp.floor(places)
    t = places - first  # beyond the pixel before; `floor` has no slope
    pixels = jnp.stack([first + offset for offset in (-1, 0, 1, 2)], axis=-1)
    weights = cubic(jnp.stack([1 + t, t, 1 - t, 2 - t], axis=-1))
    return jnp.clip(pixels.astype(int), 0, size - 1), weights
