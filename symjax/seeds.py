"""The seed axis: a function written for one seed, run for S of them at once.

    train_all = over_seeds(train_one, in_axes=(0, 0, None))   # states, keys, images

Everything in symjax that trains or attacks is written for one seed. A leading axis S on
its arguments and `over_seeds` make it five; seed s alone and seed s among S agree up to
rounding. On an accelerator the seeds fill the chip together; a CPU is full with one
seed, and takes them in turn.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class KeyPurpose(enum.IntEnum):
    """What random numbers are for; each purpose has a stream of its own."""

    INIT = 0
    SHUFFLE = 1
    AUGMENT = 2
    TRAINING_ATTACK = 3
    EVALUATION_ATTACK = 4
    METRIC = 5
    QUARTER_TURNS = 6


def over_seeds(
    function: Callable[..., Any],
    in_axes: int | Sequence[int | None] = 0,
    together: bool | None = None,
    mesh_axis: str | None = None,
) -> Callable[..., Any]:
    """Runs a one-seed function for S seeds in one program.

    Args:
      function: pure, arrays in and arrays out.
      in_axes: 0 for each argument with a leading axis S, None for one that all seeds
        share, as in `jax.vmap`.
      together: batch the seeds with `jax.vmap`, or loop over them with `jax.lax.map`;
        None: together but on a CPU.
      mesh_axis: of a device mesh, to spread the seeds along; together, then.

    Returns:
      The function with a leading axis S on every output.
    """

    def run(*arguments):
        axes = (in_axes,) * len(arguments) if isinstance(in_axes, int) else in_axes
        if _together(together, mesh_axis):
            batched = jax.vmap(function, tuple(axes), spmd_axis_name=mesh_axis)
            return batched(*arguments)

        def one(index):
            return function(
                *(
                    of_seed(argument, index) if axis == 0 else argument
                    for argument, axis in zip(arguments, axes, strict=True)
                )
            )

        mapped = [x for x, axis in zip(arguments, axes, strict=True) if axis == 0]
        return jax.lax.map(one, jnp.arange(len(jax.tree.leaves(mapped)[0])))

    return run


def _together(wanted: bool | None, mesh_axis: str | None) -> bool:
    if wanted is None:
        return mesh_axis is not None or jax.default_backend() != "cpu"
    return wanted


def keys(first_seed: int, seeds: int) -> Array:
    """One random key for each of `first_seed ... first_seed + seeds - 1`, `[S]`."""
    return jax.vmap(jax.random.key)(first_seed + jnp.arange(seeds))


def as_key(key: Any, name: str = "key") -> Array:
    """The key as a new-style typed key; a legacy `jax.random.PRNGKey` is wrapped.

    Args:
      key: a typed key of any shape, or legacy uint32 key data `[..., 2]` (or `[..., n]`
        with the n of the default random number generator).
      name: of the argument, for the error.

    Returns:
      A typed key; legacy data of shape `[..., 2]` gives keys of shape `[...]`.

    Raises:
      ValueError: for anything else, such as a plain integer.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    if dtype == jnp.uint32 and np.ndim(key) > 0:
        words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape[-1]
        if np.shape(key)[-1] == words:
            return jax.random.wrap_key_data(jnp.asarray(key))
    shown = repr(key) if dtype is None else f"an array of {dtype} {np.shape(key)}"
    raise ValueError(
        f"{name}={shown}: expected a random key, as made by jax.random.key(0)."
    )


def purpose_key(key: Array, purpose: KeyPurpose, index: int | Array = 0) -> Array:
    """The key for one purpose and one epoch, step or batch of it.

    It depends on nothing that was drawn before, so that a resumed run draws what an
    uninterrupted one does.

    Raises:
      ValueError: if `key` is no random key, see `as_key`.
    """
    return fold_in(as_key(key), purpose, index)


def fold_in(keys: Array, *numbers: int | Array) -> Array:
    """One key, or each of some keys, folded with numbers, one number after the other.

    Args:
      keys: typed keys of any shape.
      *numbers: scalars.

    Returns:
      Keys of the same shape.
    """
    fold = jax.random.fold_in
    for _ in range(keys.ndim):
        fold = jax.vmap(fold, (0, None))
    for number in numbers:
        keys = fold(keys, number)
    return keys


def keys_of_images(key: Array, count: int) -> Array:
    """One key an image, `[B]`.

    Args:
      key: one key, then image i draws from `fold_in(key, i)`; or `[B]` keys, with which
        images measured in batches draw as they would together.
      count: B.

    Raises:
      ValueError: for another number of keys, or what is no key, see `as_key`.
    """
    key = as_key(key)
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
    if key.shape != (count,):
        raise ValueError(f"keys of shape {key.shape}: expected one, or [{count}].")
    return key


def of_seed(tree: Any, index: int | Array) -> Any:
    """The part of a tree with leading axis S that belongs to one seed."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
