"""The seed axis: a function written for one seed, run for S of them at once.

    train_all = over_seeds(train_one, in_axes=(0, 0, None))   # states, keys, images

Everything in symjax that trains or attacks is written for one seed. A leading axis S on
its arguments and `over_seeds` make it five; seed s alone and seed s among S agree up to
rounding.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


class Stream(enum.IntEnum):
    """What random numbers are for; each purpose has a stream of its own."""

    INIT = 0
    SHUFFLE = 1
    AUGMENT = 2
    TRAINING_ATTACK = 3
    EVALUATION_ATTACK = 4


def over_seeds(
    function: Callable[..., Any], in_axes: int | None | Sequence[Any] = 0
) -> Callable[..., Any]:
    """Runs a one-seed function for S seeds in one program.

    Args:
      function: pure, arrays in and arrays out.
      in_axes: 0 for each argument with a leading axis S, None for one that all seeds
        share, as in `jax.vmap`.

    Returns:
      The function with a leading axis S on every output.
    """
    axes = tuple(in_axes) if isinstance(in_axes, Sequence) else in_axes
    return jax.vmap(function, in_axes=axes)


def keys(first_seed: int, seeds: int) -> Array:
    """One random key for each of `first_seed ... first_seed + seeds - 1`, `[S]`."""
    return jax.vmap(jax.random.key)(first_seed + jnp.arange(seeds))


def stream(key: Array, purpose: Stream, index: int | Array = 0) -> Array:
    """The key for one purpose and one epoch, step or batch of it.

    It depends on nothing that was drawn before, so that a resumed run draws what an
    uninterrupted one does.
    """
    return jax.random.fold_in(jax.random.fold_in(key, purpose), index)


def of_seed(tree: Any, index: int) -> Any:
    """The part of a tree with leading axis S that belongs to one seed."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
