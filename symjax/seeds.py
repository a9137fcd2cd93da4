"""The seed axis: runs a function that is written for one seed for S seeds.

    train_all = over_seeds(train_one, in_axes=(0, 0, None))   # states, keys, images

Everything in symjax that trains or attacks is written for one seed. To run S seeds,
give its arguments a leading axis S and wrap it in `over_seeds`. The result of a seed
does not depend on the other seeds, up to rounding. On an accelerator all seeds run at
the same time; a CPU is busy with one seed, so that the seeds run one after another.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class KeyPurpose(enum.IntEnum):
    """The purpose of random numbers; each purpose has keys of its own."""

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
      function: a pure function of arrays that returns arrays.
      in_axes: 0 for each argument with a leading axis S, None for one that all seeds
        share, as in `jax.vmap`.
      together: True batches the seeds with `jax.vmap`, False loops over them with
        `jax.lax.map`; None: False on a CPU, True elsewhere.
      mesh_axis: name of the axis of a device mesh along which the seeds are placed;
        with it, None means True.

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
      name: name of the argument, for the error.

    Returns:
      A typed key; for legacy data of shape `[..., 2]`, keys of shape `[...]`.

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
        f"{name}={shown}: expected a random key, such as jax.random.key(0)."
    )


def purpose_key(key: Array, purpose: KeyPurpose, index: int | Array = 0) -> Array:
    """The key for one purpose and one epoch, step or batch.

    It does not depend on earlier draws, so that a resumed run draws the same numbers as
    an uninterrupted one.

    Raises:
      ValueError: if `key` is not a random key, see `as_key`.
    """
    return fold_in(as_key(key), purpose, index)


def fold_in(keys: Array, *numbers: int | Array) -> Array:
    """The key, or each of several keys, folded with the numbers in order.

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
    """One key per image, `[B]`.

    Args:
      key: one key, so that image i has the key `fold_in(key, i)`; or the `[B]` keys
        themselves, so that a batch of images has the same keys as in the whole set.
      count: B, the number of images.

    Raises:
      ValueError: for another number of keys, or no random key, see `as_key`.
    """
    key = as_key(key)
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
    if key.shape != (count,):
        raise ValueError(
            f"keys of shape {key.shape}: expected one key, or [{count}] keys."
        )
    return key


def of_seed(tree: Any, index: int | Array) -> Any:
    """The part of a tree with a leading axis S that belongs to one seed."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
