"""Counts the operations of a program from its jaxpr, independently of the device.

    result = operations(logits_fn, images)
    result.products, result.flops        # multiply-adds; floating-point operations

Nothing is compiled or run. A compiled program does not show the operations of its
library calls, and not every backend can count those of a lowered program.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

MOVES = frozenset(
    "reshape broadcast_in_dim transpose squeeze expand_dims slice dynamic_slice "
    "dynamic_update_slice gather scatter concatenate stack unstack split tile pad rev "
    "select_n select_and_gather_add sort top_k copy copy_p convert_element_type "
    "bitcast_convert_type reduce_precision optimization_barrier sharding_constraint "
    "device_put name".split()
)
"""Operations that move or select numbers, or change their type; they count as none."""


class Operations(NamedTuple):
    """The operations of a program as it is written; a compiler may need fewer.

    Attributes:
      products: multiply-adds of convolutions and matrix products, including those with
        zeros of padding and dilation.
      others: all other floating-point operations: one for each number of a result, and
        n - 1 for a sum of n numbers. Moves and comparisons count as none. An operation
        with its own algorithm, such as a Fourier transform, counts one per number of
        its result.
      product_bytes: bytes of the results of convolutions and matrix products.
    """

    products: int
    others: int
    product_bytes: int

    @property
    def flops(self) -> int:
        """The number of floating-point operations, two for each multiply-add."""
        return 2 * self.products + self.others


NOTHING = Operations(0, 0, 0)


def operations(function: Callable[..., Any], *arguments: Any) -> Operations:
    """Counts the operations of a call.

    Args:
      function: a pure function of arrays that returns arrays.
      *arguments: the arguments of the call; shapes and dtypes are enough.

    Raises:
      ValueError: if the function has a loop whose number of iterations is known only
        when it runs.
    """
    return count(jax.make_jaxpr(function)(*arguments))


def count(jaxpr: Any) -> Operations:
    """Counts the operations of a jaxpr, such as `jax.make_jaxpr(function)(*arguments)`.

    The body of a loop counts once per iteration. For a conditional, the branch with the
    most operations counts.

    Raises:
      ValueError: as in `operations`.
    """
    return _total([_of(equation) for equation in jaxpr.eqns])


def _of(equation: Any) -> Operations:
    name, params = equation.primitive.name, equation.params
    results = [x.aval for x in equation.outvars]
    if name in ("dot_general", "conv_general_dilated"):
        (result,) = results
        left, right = (x.aval.shape for x in equation.invars)
        if name == "dot_general":
            (axes, _), _ = params["dimension_numbers"]
            terms = math.prod(left[axis] for axis in axes)
        else:
            features = params["dimension_numbers"].rhs_spec[0]
            terms = math.prod(right) // right[features]
        products = result.size * terms
        return Operations(products, 0, result.size * result.dtype.itemsize)
    if name.startswith(("reduce", "scatter", "argm", "select_and")):
        return Operations(0, _of_sum(equation), 0)
    inside = [count(jaxpr) for jaxpr in _programs_in(equation)]
    if inside:
        return _of_call(name, params, inside)
    if name in MOVES:
        return NOTHING
    return Operations(0, sum(x.size for x in results if _floats(x)), 0)


def _of_sum(equation: Any) -> int:
    """The operations of a sum or a maximum: one less than the numbers it combines."""
    name, result = equation.primitive.name, equation.outvars[0].aval
    if not _floats(result) or name in MOVES:
        return 0
    if "scatter" in name:
        return equation.invars[2 if name.startswith("scatter") else 0].aval.size
    if "window_dimensions" in equation.params:
        return result.size * (math.prod(equation.params["window_dimensions"]) - 1)
    return equation.invars[0].aval.size - result.size


def _of_call(name: str, params: Any, inside: list[Operations]) -> Operations:
    if name == "cond":
        return max(inside, key=lambda branch: branch.flops)
    once = _total(inside)
    if name == "while" and once != NOTHING:
        raise ValueError(
            "a loop's number of iterations is known only when it runs: expected loops "
            "by lax.scan, or by fori_loop with Python numbers as bounds."
        )
    iterations = params["length"] if name == "scan" else 1
    return Operations(*(iterations * each for each in once))


def _programs_in(equation: Any) -> list[Any]:
    """The jaxprs that an operation calls."""
    values = equation.params.values()
    each = [v for value in values for v in (value if _many(value) else (value,))]
    return [value for value in each if hasattr(value, "eqns")]


def _many(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _floats(aval: Any) -> bool:
    return jnp.issubdtype(getattr(aval, "dtype", bool), jnp.inexact)


def _total(parts: list[Operations]) -> Operations:
    return Operations(*map(sum, zip(NOTHING, *parts, strict=True)))
