"""The result of an attack, and how results are combined."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import struct
from jax import Array

LogitsFn = Callable[..., Array]


class AttackResult(struct.PyTreeNode):
    """The result of an attack on B images; every attack returns one.

    Attributes:
      images: `[B, H, W, C]`, inside the ball and the bounds.
      robust: `[B]`, bool: the returned image is classified correctly.
      distance: `[B]`, the distance between the returned and the given image in the
        threat's norm. For a minimum-norm attack, the distance to the closest error,
        inside the ball or not, and infinite if there is none.
      queries: `[B]`, int32, the number of forward passes; APGD, FAB and Square count
        only those until the image was broken.
      gradients: `[B]`, int32, the number of backward passes, counted in the same way.
    """

    images: Array
    robust: Array
    distance: Array
    queries: Array
    gradients: Array


def larger(old: tuple[Array, Array], new: tuple[Array, Array]) -> tuple[Array, Array]:
    """The images and margins, from `new` where its margin is larger; NaN never is."""
    (old_images, old_margin), (new_images, new_margin) = old, new
    wins = new_margin > old_margin
    return select(wins, new_images, old_images), jnp.where(wins, new_margin, old_margin)


def select(which: Array, yes: Array, no: Array) -> Array:
    """For each image, `[B]`, the entry of `yes` or of `no`, both `[B, ...]`."""
    return jnp.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)
