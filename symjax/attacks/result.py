"""What every attack returns, and how results are combined."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import struct
from jax import Array

from symjax.nets import is_traced

LogitsFn = Callable[..., Array]


class AttackResult(struct.PyTreeNode):
    """What every attack returns, for B images.

    Attributes:
      images: `[B, H, W, C]`, inside the ball and the bounds.
      robust: `[B]`, bool: the returned image is classified correctly.
      distance: `[B]`, of the returned from the given image in the threat's norm; of a
        minimum-norm attack, of the closest error found, in the ball or not, and
        infinite where there was none.
      queries: `[B]`, int32, forward passes spent; of APGD, FAB and Square, until the
        image was broken.
      gradients: `[B]`, int32, backward passes spent, likewise.
    """

    images: Array
    robust: Array
    distance: Array
    queries: Array
    gradients: Array


def check_rank(rank: int | Array, classes: int, targeted: bool) -> None:
    """Refuses a target that is no wrong class.

    Raises:
      ValueError: if the attack is targeted and a known rank is not 2 to K.
    """
    if targeted and not is_traced(rank) and not 2 <= int(rank) <= classes:
        raise ValueError(
            f"rank={rank}: expected 2 to {classes}, the number of classes."
        )


def larger(old: tuple[Array, Array], new: tuple[Array, Array]) -> tuple[Array, Array]:
    """Images and margins: per image, `new` where its margin is larger; NaN never is."""
    (old_images, old_margin), (new_images, new_margin) = old, new
    wins = new_margin > old_margin
    return select(wins, new_images, old_images), jnp.where(wins, new_margin, old_margin)


def select(which: Array, yes: Array, no: Array) -> Array:
    """Per image `[B]`, one array `[B, ...]` or the other."""
    return jnp.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)
