"""Intervals through one operation: what it can give when its operands lie in boxes.

    interval.RULES["tanh"](step, [Interval(lower, upper)])

Every rule rounds outwards, so that it holds what the operation gives in real numbers. A
sum of n products, in whatever order it is added up, is off by at most `n u / (1 - n u)`
times the sum of their sizes, u half the spacing of floats at 1 (Higham, Accuracy and
Stability of Numerical Algorithms, Section 3.1). Where a bound is not known it is
infinite or NaN, never too narrow.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array

from symjax.metrics.operations import terms

EPSILON, TINY = (float(jnp.finfo("float64").eps), float(jnp.finfo("float64").tiny))
FEW = 8  # roundings around a sum: its midpoint, its radius, the two ends
FUNCTION = 16  # spacings that a library's exp, log, tanh may be off by


class Interval(NamedTuple):
    """All arrays between two; of booleans, False is below True.

    Attributes:
      lower, upper: arrays of one shape.
    """

    lower: Array
    upper: Array

    @property
    def size(self) -> Array:
        """The largest absolute value."""
        return jnp.maximum(jnp.abs(self.lower), jnp.abs(self.upper))


class Operation(Protocol):
    """What a rule knows of the operation: its parameters, and how to do it."""

    @property
    def params(self) -> dict[str, Any]: ...

    @property
    def bind(self) -> Callable[..., Any]: ...


Rule = Callable[[Operation, Sequence[Any]], Interval]  # operands: Intervals and arrays


def roundings(terms: int) -> float:
    """What a sum of so many terms, and our bound on it, are off by at most.

    Relative to the sum of the sizes of its terms: four times the error of one sum, for
    that of its middle, of its radius, and what is of second order in them.
    """
    return 2 * (terms + FEW) * EPSILON


def widened(lower: Array, upper: Array, spacings: int = 2) -> Interval:
    """Both ends moved outwards by so many float spacings."""
    if not jnp.issubdtype(lower.dtype, jnp.floating):
        return Interval(lower, upper)
    return Interval(
        lower - spacings * (EPSILON * jnp.abs(lower) + TINY),
        upper + spacings * (EPSILON * jnp.abs(upper) + TINY),
    )


def monotone(spacings: int, step: Operation, operands: Sequence[Any]) -> Interval:
    """Of what rises, or stays, with every operand."""
    ends = step.bind(*_lowers(operands)), step.bind(*_uppers(operands))
    return widened(*ends, spacings) if spacings else Interval(*ends)


def bounded(step: Operation, operands: Sequence[Any]) -> Interval:
    """Of one operand, what rises with it between -1 and 1: absolute errors count."""
    low, high = monotone(0, step, operands)
    return Interval(low - FUNCTION * EPSILON, high + FUNCTION * EPSILON)


def falling(spacings: int, step: Operation, operands: Sequence[Any]) -> Interval:
    """Of one operand, what falls as it rises: -x, not x, 1 / sqrt(x)."""
    (operand,) = operands
    return widened(step.bind(operand.upper), step.bind(operand.lower), spacings)


def absolute(step: Operation, operands: Sequence[Any]) -> Interval:
    """Of one operand, what depends on its size and rises with it: |x|, x^2."""
    (operand,) = operands
    across = (operand.lower <= 0) & (operand.upper >= 0)
    ends = step.bind(operand.lower), step.bind(operand.upper)
    low, high = widened(jnp.minimum(*ends), jnp.maximum(*ends), FUNCTION)
    return Interval(jnp.where(across, 0.0, low), high)


def power(step: Operation, operands: Sequence[Any]) -> Interval:
    """`x^y` for a known whole y."""
    if not 0 < step.params["y"] <= FUNCTION:
        raise ValueError(
            f"'integer_pow' to the power {step.params['y']}: interval bounds know "
            f"those from 1 to {FUNCTION}, whose rounding they allow for. Divide by "
            "the power, or multiply powers."
        )
    if step.params["y"] % 2:
        return monotone(FUNCTION, step, operands)
    return absolute(step, operands)


def subtract(step: Operation, operands: Sequence[Any]) -> Interval:
    """`a - b`."""
    (low, other_low), (high, other_high) = _lowers(operands), _uppers(operands)
    return widened(step.bind(low, other_high), step.bind(high, other_low))


def product(step: Operation, operands: Sequence[Any]) -> Interval:
    """`a b`, from its four corners."""
    return _corners(step.bind, *operands)


def quotient(step: Operation, operands: Sequence[Any]) -> Interval:
    """`a / b`, infinite where b may be 0."""
    low, high = _lowers(operands)[1], _uppers(operands)[1]
    found = _corners(step.bind, *operands)
    defined = jnp.broadcast_to((low > 0) | (high < 0), found.lower.shape)
    return Interval(
        jnp.where(defined, found.lower, -jnp.inf),
        jnp.where(defined, found.upper, jnp.inf),
    )


def contraction(name: str, step: Operation, operands: Sequence[Any]) -> Interval:
    """Of sums of products with known factors: the middle's, and the sizes' radius.

    Args:
      name: of the primitive.
      step: linear in each operand.
      operands: one interval; what else there is, is known.
    """
    count = terms(name, step.params, [jnp.shape(x) for x in _lowers(operands)])
    middles, radii = [], []
    for x in operands:
        known = not isinstance(x, Interval)
        middle = x if known else x.lower / 2 + x.upper / 2
        middles.append(middle)
        if known:
            radii.append(jnp.abs(x))
        else:
            far = jnp.maximum(x.upper - middle, middle - x.lower)
            radii.append(far + roundings(count) * x.size)
    middle = step.bind(*middles)
    radius = step.bind(*radii) + count * TINY
    return Interval(middle - radius, middle + radius)


def above(strictly: bool, step: Operation, operands: Sequence[Any]) -> Interval:
    """`a > b` or `a >= b`: whether it is so for sure, and whether it may be.

    An unknown end, NaN, leaves both open.
    """
    del step
    (low, other_low), (high, other_high) = _lowers(operands), _uppers(operands)
    if strictly:
        return Interval(low > other_high, ~(high <= other_low))
    return Interval(low >= other_high, ~(high < other_low))


def below(strictly: bool, step: Operation, operands: Sequence[Any]) -> Interval:
    """`a < b` or `a <= b`."""
    return above(strictly, step, operands[::-1])


def equal(step: Operation, operands: Sequence[Any]) -> Interval:
    """`a == b`."""
    del step
    (low, other_low), (high, other_high) = _lowers(operands), _uppers(operands)
    sure = (low == high) & (other_low == other_high) & (low == other_low)
    return Interval(sure, ~((low > other_high) | (other_low > high)))


def unequal(step: Operation, operands: Sequence[Any]) -> Interval:
    """`a != b`."""
    sure, may_be = equal(step, operands)
    return Interval(~may_be, ~sure)


def chosen(step: Operation, operands: Sequence[Any]) -> Interval:
    """`select_n`: one case where it is known which, all of them where it is not."""
    which, *cases = operands
    lowers, uppers = _lowers(cases), _uppers(cases)
    if not isinstance(which, Interval):
        return Interval(step.bind(which, *lowers), step.bind(which, *uppers))
    known = which.lower == which.upper
    low = functools.reduce(jnp.minimum, lowers)
    high = functools.reduce(jnp.maximum, uppers)
    return Interval(
        jnp.where(known, step.bind(which.lower, *lowers), low),
        jnp.where(known, step.bind(which.lower, *uppers), high),
    )


def _corners(bind: Callable[..., Array], a: Any, b: Any) -> Interval:
    ends = [
        bind(x, y)
        for x in (a if isinstance(a, Interval) else (a,))
        for y in (b if isinstance(b, Interval) else (b,))
    ]
    low, high = functools.reduce(jnp.minimum, ends), functools.reduce(jnp.maximum, ends)
    return widened(low, high)


def _lowers(operands: Sequence[Any]) -> list[Any]:
    return [x.lower if isinstance(x, Interval) else x for x in operands]


def _uppers(operands: Sequence[Any]) -> list[Any]:
    return [x.upper if isinstance(x, Interval) else x for x in operands]


def _alike(rule: Callable[..., Interval], setting: Any, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), functools.partial(rule, setting))


CONTRACTIONS: dict[str, Rule] = {
    name: functools.partial(contraction, name)
    for name in (
        "conv_general_dilated",
        "dot_general",
        "reduce_sum",
        "reduce_window_sum",
    )
}
MOVES = _alike(  # put values elsewhere; the rest of their operands are places
    monotone,
    0,
    "broadcast_in_dim dynamic_slice expand_dims gather reshape rev slice squeeze "
    "tile transpose",
)
JOINS = _alike(monotone, 0, "concatenate pad stack")  # values of several arrays
RULES: dict[str, Rule] = {
    **CONTRACTIONS,
    **MOVES,
    **JOINS,
    **_alike(
        monotone,
        0,
        "and ceil clamp convert_element_type floor max min or reduce_max reduce_min "
        "reduce_window_max reduce_window_min round sign",
    ),
    **_alike(monotone, 2, "add add_any"),
    **_alike(monotone, FUNCTION, "exp exp2 expm1 log log1p sqrt"),
    **dict.fromkeys(("erf", "logistic", "tanh"), bounded),
    **_alike(falling, 0, "neg not"),
    **_alike(falling, FUNCTION, "rsqrt"),
    **_alike(above, True, "gt"),
    **_alike(above, False, "ge"),
    **_alike(below, True, "lt"),
    **_alike(below, False, "le"),
    "abs": absolute,
    "div": quotient,
    "eq": equal,
    "integer_pow": power,
    "mul": product,
    "ne": unequal,
    "select_n": chosen,
    "square": absolute,
    "sub": subtract,
}
"""By the name of a JAX primitive."""
