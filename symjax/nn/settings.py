"""Checks of the settings and inputs of the layers, pools and norms of `symjax.nn`.

Each check raises a ValueError that names the value and what was expected.
"""

import math
import operator
from collections.abc import Collection, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

Pair = tuple[int, int]
Padding = str | int | Sequence[Pair]
PADDINGS = ("SAME", "VALID")


def whole(layer: str, name: str, value: Any, least: int = 1) -> int:
    """The value as an integer of `least` or more.

    Args:
      layer, name: names of the layer and of its setting, for the error.
      value: the value of the setting.
      least: the smallest valid integer.
    """
    if _is_whole(value, least):
        return operator.index(value)
    raise ValueError(
        f"{layer}: {name}={value!r}: expected an integer of {least} or more."
    )


def two(layer: str, name: str, value: Any, least: int = 1) -> Pair:
    """The value as `(height, width)`, from one integer or two; otherwise as `whole`."""
    parts: list[Any] = _parts(value) or [value, value]
    if len(parts) == 2 and all(_is_whole(part, least) for part in parts):
        return operator.index(parts[0]), operator.index(parts[1])
    raise ValueError(
        f"{layer}: {name}={value!r}: expected an integer of {least} or more, or two of "
        "them as (height, width)."
    )


def padding(layer: str, value: Any) -> Padding:
    """The padding: one of `PADDINGS`, an integer, or ((top, bottom), (left, right))."""
    if isinstance(value, str) and value in PADDINGS:
        return value
    if _is_whole(value, 0):
        return int(value)
    axes = [_parts(axis) for axis in _parts(value)]
    whole_sides = all(_is_whole(side, 0) for axis in axes for side in axis)
    if [len(axis) for axis in axes] == [2, 2] and whole_sides:
        (top, bottom), (left, right) = axes
        return (int(top), int(bottom)), (int(left), int(right))
    raise ValueError(
        f"{layer}: padding={value!r}: expected 'SAME', 'VALID', an integer of 0 or "
        "more, or two pairs of them as ((top, bottom), (left, right))."
    )


def one_of(layer: str, name: str, value: Any, known: Collection[str]) -> None:
    """Checks that a setting is one of the known names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{layer}: {name}={value!r}: expected one of {tuple(known)}.")


def number(layer: str, name: str, value: Any, most: float = math.inf) -> None:
    """Checks that a setting is a finite number from 0 to `most`."""
    if not (_is_real(value) and 0 <= value <= most and value < math.inf):
        upper = "more" if most == math.inf else f"up to {most:g}"
        raise ValueError(
            f"{layer}: {name}={value!r}: expected a finite number of 0 or {upper}."
        )


def factor(layer: str, name: str, value: Any) -> None:
    """Checks that a setting is a finite factor above 0."""
    if not (_is_real(value) and 0 < value < math.inf):
        raise ValueError(
            f"{layer}: {name}={value!r}: expected a factor above 0, a finite number."
        )


def dtype(layer: str, name: str, value: DTypeLike | None) -> None:
    """Checks that a setting is a floating type or None."""
    try:
        known = value is None or jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:
        known = False
    if not known:
        raise ValueError(
            f"{layer}: {name}={value!r}: expected a floating type such as 'float32' or "
            "'bfloat16'."
        )


def floating(layer: str, x: Any) -> Array:
    """The array, if it is floating point; sums of integers would overflow."""
    x = _as_array(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x
    raise ValueError(
        f"{layer}: the input is {x.dtype} {x.shape}: expected floating point numbers; "
        "convert uint8 images by symjax.data.to_unit(images)."
    )


def maps(layer: str, x: Any, *ranks: int) -> Array:
    """The images `[B, H, W, C]`, or the feature map on a group `[B, H, W, G, C]`.

    Args:
      layer: name of the layer, for the error.
      x: the array; B may be 0, and the outputs are then empty.
      *ranks: the valid ranks, 4 or 5 or both.
    """
    x = _as_array(x)
    kinds = {4: "images [B, H, W, C]", 5: "a feature map on a group [B, H, W, G, C]"}
    if x.ndim not in ranks:
        wanted = " or ".join(kinds[rank] for rank in ranks)
        raise ValueError(f"{layer}: expected {wanted}, got {x.shape}.")
    if 0 in x.shape[1:]:
        raise ValueError(
            f"{layer}: the input {x.shape} has an axis of length 0: only the first "
            "axis, the number of images, may have length 0."
        )
    return floating(layer, x)


def _as_array(x: Any) -> Array:
    return x if isinstance(x, np.ndarray | Array) else jnp.asarray(x)  # pyright: ignore


def _parts(value: Any) -> list:
    """The entries of a sequence or array; empty for anything else."""
    if isinstance(value, np.ndarray | Array):
        value = value.tolist()
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    return list(value) if is_sequence else []


def _is_real(value: Any) -> bool:
    is_bool = isinstance(value, bool | np.bool_)
    return isinstance(value, int | float | np.number) and not is_bool


def _is_whole(value: Any, least: int) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    try:
        return operator.index(value) >= least
    except TypeError:
        return False
