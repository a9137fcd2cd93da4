"""Maxima that a program does not call so.

    step = as_maximum(step)

Two habits of nets are read as the maxima that they are: `where(b > a, b, a)`, and
`sum(where(places == argmax(x), x, 0))`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from symjax.metrics.steps import Step, Value


def as_maximum(step: Step) -> Step:
    """The step itself, or the maximum that it turns out to be."""
    if step.name == "select_n" and len(step.operands) == 3:
        which, no, yes = step.operands
        if _larger_of(which) == (yes, no):
            return dataclasses.replace(
                step, name="max", params={}, bind=jnp.maximum, operands=(yes, no)
            )
    if step.name == "reduce_sum":
        picked, axes = step.operands[0].step, tuple(step.params["axes"])
        if picked is not None and picked.name == "select_n":
            which, no, yes = picked.operands
            if _is_zero(no) and _is_place_of_maximum(which, yes, axes):
                bind = functools.partial(jnp.max, axis=axes)
                return dataclasses.replace(
                    step, name="reduce_max", bind=bind, operands=(yes,)
                )
    return step


def _larger_of(which: Value) -> tuple[Value, Value] | None:
    """(a, b) where `which` is `a > b`, perhaps or `a` not a number."""
    step = which.step
    if step is not None and step.name == "or":
        compared = [x for x in step.operands if not _is_nan(x)]
        step = compared[0].step if len(compared) == 1 else None
    if step is None or step.name not in ("gt", "ge", "lt", "le"):
        return None
    a, b = step.operands
    return (a, b) if step.name in ("gt", "ge") else (b, a)


def _is_nan(value: Value) -> bool:
    step = value.step
    return step is not None and step.name == "ne" and len(set(step.operands)) == 1


def _is_zero(value: Value) -> bool:
    spread = "broadcast_in_dim", "convert_element_type"
    while value.step is not None and value.step.name in spread:
        value = value.step.operands[0]
    return value.constant is not None and not np.any(value.constant)


def _is_place_of_maximum(which: Value, x: Value, axes: tuple[int, ...]) -> bool:
    """Whether `which` is true where x has its maximum along the axis, and once."""
    if which.step is None or which.step.name != "eq":
        return False
    places, chosen = sorted(which.step.operands, key=lambda operand: operand.depends)
    iota, moves = places.step, []
    while chosen.step is not None and chosen.step.name in (
        "reshape",
        "broadcast_in_dim",
    ):
        moves.append(chosen.step)
        chosen = chosen.step.operands[0]
    argmax = chosen.step
    if iota is None or iota.name != "iota" or argmax is None or argmax.name != "argmax":
        return False
    same = tuple(argmax.params["axes"]) == axes == (iota.params["dimension"],)
    if argmax.operands != (x,) or not same or not places.shape == x.shape:
        return False
    numbers = np.arange(max(np.prod(chosen.shape, dtype=int), 1)).reshape(chosen.shape)
    wanted = np.expand_dims(numbers, axes)
    with jax.ensure_compile_time_eval():
        for move in reversed(moves):
            numbers = np.asarray(move.bind(numbers))
    return numbers.ndim == len(x.shape) and bool((numbers == wanted).all())
