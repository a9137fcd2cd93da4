"""Orbits of images under a group (paper, Definition 7), and rotations by any angle.

    points = orbit(images)                       # [G, B, H, W, C]
    rotated = compose_with_rotation(logits_fn, 1)       # x -> f(g x)
    directions = tangent(images)                 # of the orbit under all rotations

Rotations by multiples of 90 degrees are exact; other angles need interpolation.
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
from symjax.metrics.program import check_rotations
from symjax.nets import as_partial
from symjax.nn.resizing import cubic


def orbit(images: Array, group: Group | str = C4) -> Array:
    """The orbit `[x]_G = {g x}` of each image (Definition 7).

    Args:
      images: `[..., H, W, C]`; also gradients, or samples around an image.
      group: the group.

    Returns:
      `[G, ..., H, W, C]`; entry 0 is `images`.
    """
    group = as_group(group)
    return jnp.stack([group.act(g, images) for g in range(group.order)])


def apply_inverse(images: Array, group: Group | str = C4) -> Array:
    """Entry g of `[G, ..., H, W, C]` transformed by the inverse of g."""
    group = as_group(group)
    inverses = group.inverses.tolist()
    return jnp.stack([group.act(inverses[g], images[g]) for g in range(group.order)])


def compose_with_rotation(
    logits_fn: LogitsFn, g: int, group: Group | str = C4
) -> Partial:
    """The net composed with a group element, `x -> f(g x)`.

    Its gradient at x is `g^-1 grad f(g x)`. A metric of this net at x is therefore that
    of f at g x, with all samples around x rotated by g as well: for example,
    `clever(compose_with_rotation(f, g), x, key)` is CLEVER at g x.

    Args:
      logits_fn: the net f, `[B, H, W, C] -> [B, K]`; its leaves remain leaves.
      g: the element; it is a leaf, so that one program serves all elements.
      group: the group.

    Returns:
      A callable like `logits_fn`. The net f is invariant if and only if it is the same
      function for all g.

    Raises:
      ValueError: if g is not an element of the group.
    """
    group = as_group(group)
    if not 0 <= g < group.order:
        raise ValueError(
            f"g={g}: expected 0 to {group.order - 1}, an element of {group}."
        )
    return Partial(_Rotated(group), as_partial(logits_fn), jnp.int32(g))


def orbit_average(logits_fn: LogitsFn, group: Group | str = C4) -> Partial:
    """The net averaged over the orbit, `x -> mean_g f(g x)`, which is invariant.

    Its gradient is the average of Definition 13, with each term transformed by the
    inverse of g. Theorem 2 is about such a net ("if f is orbit-averaged").

    Args:
      logits_fn: the net f, `[B, H, W, C] -> [B, K]`; its leaves remain leaves.
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
class _Rotated:
    """Compared by value, so that equal objects share compiled programs."""

    group: Group

    def __call__(self, net: Partial, g: Array, images: Array) -> Array:
        check_rotations("compose_with_rotation", images, self.group)
        elements = range(self.group.order)
        actions = [functools.partial(self.group.act, element) for element in elements]
        return net(jax.lax.switch(g, actions, images))


def rotate(images: Array, angle: ArrayLike) -> Array:
    """The images rotated about their center by any angle, with bicubic interpolation.

    Edge pixels are repeated outside of the image. The interpolation (Keys 1981,
    a = -0.5) has a continuous slope and therefore, unlike bilinear interpolation, a
    derivative with respect to the angle at 0. It is an isometry only at multiples of 90
    degrees on square images, where it is `group.act` up to rounding.

    Args:
      images: `[B, H, W, C]`.
      angle: in radians, counter-clockwise, a scalar; can be traced.

    Returns:
      `[B, H, W, C]`; bicubic values may leave the range of the pixels.
    """
    height, width = images.shape[1:3]
    middle = (height - 1) / 2, (width - 1) / 2
    y = (jnp.arange(height) - middle[0])[:, None]
    x = (jnp.arange(width) - middle[1])[None, :]
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    rows, row_weights = _taps(middle[0] + cosine * y + sine * x, height)
    columns, column_weights = _taps(middle[1] + cosine * x - sine * y, width)
    taps = images[:, rows[..., :, None], columns[..., None, :]]
    return jnp.einsum(
        "bhwijc,hwi,hwj->bhwc", taps, row_weights, column_weights, precision="highest"
    )


def tangent(images: Array) -> Array:
    """The tangent of each image's orbit under all rotations, `d/dt R_t x` at t = 0.

    The orbit of a finite group consists of isolated points, with the tangent space {0}.

    Args:
      images: `[B, H, W, C]`.

    Returns:
      `[B, H, W, C]`, in pixel units per radian; 0 if the image is rotationally
      symmetric.
    """
    angle = jnp.zeros((), images.dtype)
    return jax.jvp(lambda t: rotate(images, t), (angle,), (jnp.ones_like(angle),))[1]


def relative_spread(values: Array) -> Array:
    """The relative change over an orbit, `max_g |v(g x) - v(x)| / max |v(x)|`.

    Args:
      values: `[G, B, ...]`, measured at each point of the orbits.

    Returns:
      `[B]`; the maxima are over all other axes. If all values at x are 0, it is NaN if
      they do not change, and infinite if they do. It is NaN if a value is NaN.
    """
    axes = tuple(range(2, values.ndim))
    change = jnp.max(jnp.abs(values - values[:1]), axis=(0, *axes))
    return change / jnp.max(jnp.abs(values[0]), axis=tuple(np.subtract(axes, 1)))


def _taps(places: Array, size: int) -> tuple[Array, Array]:
    """The four pixels around each place, and their weights: `[H, W, 4]` each."""
    first = jnp.floor(places)
    t = places - first  # in [0, 1); the derivative of `floor` is 0
    pixels = jnp.stack([first + offset for offset in (-1, 0, 1, 2)], axis=-1)
    weights = cubic(jnp.stack([1 + t, t, 1 - t, 2 - t], axis=-1))
    return jnp.clip(pixels.astype(int), 0, size - 1), weights
