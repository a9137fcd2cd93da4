"""A traced net as a flat list of steps, and intervals pushed through it.

    program = Program(jax.make_jaxpr(net)(weights, image))
    box = {program.image: Interval(lower, upper)}
    ends = push(program.steps, program.known([weights]) | box)[program.logits]

It reads what JAX traced and knows no layers; calls are written out. What is linear in
the image at the beginning, and what is linear at the end, are told apart, as parts that
can be bounded exactly. Two habits of nets are read as the maxima that they are:
`where(b > a, b, a)`, and `sum(where(places == argmax(x), x, 0))`.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from symjax.metrics.interval import CONTRACTIONS, MOVES, RULES, Interval
from symjax.metrics.maxima import as_maximum
from symjax.metrics.steps import Part, Step, Value

CALLS = (
    "checkpoint closed_call core_call custom_jvp_call custom_vjp_call "
    "custom_vjp_call_jaxpr jit pjit remat2"
).split()
LOOPS = ("cond", "scan", "while")
UNCHANGED = ("copy", "copy_p", "optimization_barrier")
DTYPES = ("new_dtype", "preferred_element_type", "dtype")  # parameters that name one
NARROW = 32  # bits; fewer round so much that real numbers say little of the net


class Program:
    """A net `(weights, image) -> logits`, for one image `[1, H, W, C]`.

    Attributes:
      weights, image, logits: its values.
      constants: arrays that are written into it.
      fixed: steps that do not depend on the image.
      steps: those that do.
      first: from the image to what is linear in it and met by a step that is not.
      last: from where the logits become linear to the logits.
    """

    def __init__(self, traced: ClosedJaxpr):
        """Reads a program.

        Args:
          traced: its last argument is the image, its one result the logits.

        Raises:
          ValueError: if an operation that depends on the image has no rule.
        """
        self.constants: dict[Value, Any] = {}
        self._all: list[Step] = []
        given = [_like(var.aval) for var in traced.jaxpr.invars]
        *self.weights, self.image = given
        self.image.depends = self.image.affine = True
        (self.logits,) = self._written_out(traced, given)
        needed = _before([self.logits], ())
        live = [step for step in self._all if step in needed]
        self.fixed = [step for step in live if not step.depends]
        self.steps = [step for step in live if step.depends]
        for step in live:
            _check(step)
        bent = [
            x
            for step in self.steps
            for x in step.operands
            if x.affine and x is not self.image and not step.results[0].affine
        ]
        self.first = self._part([self.image], list(dict.fromkeys(bent)))
        self.last = self._part(_sources(self.logits), [self.logits])

    def known(self, weights: Sequence[Any]) -> dict[Value, Any]:
        """All that does not depend on the image, in float64."""
        found = {value: _wide(array) for value, array in self.constants.items()}
        found |= zip(self.weights, map(_wide, weights), strict=True)
        for step in self.fixed:
            results = step.bind(*(found[x] for x in step.operands))
            single = not isinstance(results, list | tuple)
            found |= zip(step.results, [results] if single else results, strict=True)
        return found

    def _part(self, sources: list[Value], ends: list[Value]) -> Part:
        needed = _before(ends, sources)
        return Part(sources, [step for step in self.steps if step in needed], ends)

    def _written_out(self, traced: ClosedJaxpr, given: Sequence[Value]) -> list[Value]:
        """The results of a program for these operands; its steps are added."""
        jaxpr = traced.jaxpr
        values: dict[Var, Value] = dict(zip(jaxpr.invars, given, strict=True))
        for var, array in zip(jaxpr.constvars, traced.consts, strict=True):
            values[var] = self._constant(array)

        def read(atom: Any) -> Value:
            return self._constant(atom) if isinstance(atom, Literal) else values[atom]

        for equation in jaxpr.eqns:
            operands = [read(x) for x in equation.invars]
            values |= zip(
                equation.outvars, self._results(equation, operands), strict=True
            )
        return [read(x) for x in jaxpr.outvars]

    def _results(self, equation: JaxprEqn, operands: list[Value]) -> Sequence[Value]:
        name = equation.primitive.name
        if name in UNCHANGED:
            return operands
        if name in CALLS:
            keys = "jaxpr", "call_jaxpr", "fun_jaxpr"
            inside = next(equation.params[x] for x in keys if x in equation.params)
            if not isinstance(inside, ClosedJaxpr):
                inside = ClosedJaxpr(inside, ())
            return self._written_out(inside, operands)
        params = {key: _widened(key, x) for key, x in equation.params.items()}
        bind = functools.partial(equation.primitive.bind, **params)
        results = tuple(_like(var.aval) for var in equation.outvars)
        step = as_maximum(Step(name, params, bind, tuple(operands), results))
        for result in results:
            result.step, result.depends = step, step.depends
            moving = [x for x in step.operands if x.depends]
            result.affine = (
                step.depends and step.is_linear and all(x.affine for x in moving)
            )
        self._all.append(step)
        return results

    def _constant(self, array: Any) -> Value:
        array = array.val if isinstance(array, Literal) else array
        value = Value(np.shape(array), jnp.result_type(array), constant=array)
        self.constants[value] = array
        return value


def push(
    steps: Iterable[Step],
    found: dict[Value, Any],
    cut: Callable[[Value, Interval], Interval] | None = None,
) -> dict[Value, Any]:
    """Intervals pushed through some steps.

    Args:
      steps: in order.
      found: what the steps begin with: intervals, and arrays that are known.
      cut: of a result and its interval, a narrower one, where more is known of it.

    Returns:
      `found` and all results.
    """
    found = dict(found)
    for step in steps:
        interval = RULES[step.name](step, [found[x] for x in step.operands])
        (result,) = step.results
        found[result] = interval if cut is None else cut(result, interval)
    return found


def _check(step: Step) -> None:
    """Raises a ValueError unless there is a rule for the step."""
    if step.name in LOOPS or (step.depends and step.name not in RULES):
        raise ValueError(
            f"{step.name!r}: interval bounds have no rule for this operation, but for "
            f"{', '.join(sorted(RULES))}."
        )
    if not step.depends:
        return
    which = [x.depends for x in step.operands]
    places = step.name in MOVES and any(which[1:])
    if places or (step.name in CONTRACTIONS and sum(which) > 1):
        raise ValueError(
            f"{step.name!r} of several values that depend on the image: interval "
            "bounds know it of one. Bound a net without it."
        )
    (result,) = step.results
    of_bools = all(x.dtype == bool for x in step.operands)
    to_whole = step.name == "convert_element_type" and not result.is_float
    if not of_bools and (to_whole or step.name in ("and", "or")):
        raise ValueError(
            f"{step.name!r} to {result.dtype}: interval bounds know that of truth "
            "values alone. Bound a net without it."
        )
    if result.is_float and jnp.finfo(result.dtype).bits < NARROW:
        raise ValueError(
            f"{step.name!r} gives {result.dtype}: bounds in real numbers say little of "
            "a net that rounds so much. Build it in float32."
        )


def _sources(logits: Value) -> list[Value]:
    """The values nearest to the image that the logits are linear functions of."""
    found, stack = {}, [logits]
    while stack:
        value = stack.pop()
        if not value.depends:
            continue
        if value.step is not None and value.step.is_linear:
            stack += value.step.operands
        else:
            found[value] = None
    return list(found)


def _before(ends: Iterable[Value], starts: Sequence[Value]) -> set[Step]:
    """All steps that some values are made by, from others on."""
    found: set[Step] = set()
    stack = [x for x in ends if x not in starts]
    while stack:
        step = stack.pop().step
        if step is not None and step not in found:
            found.add(step)
            stack += [x for x in step.operands if x not in starts]
    return found


def _like(aval: Any) -> Value:
    return Value(tuple(aval.shape), aval.dtype)


def _widened(key: str, setting: Any) -> Any:
    named = key in DTYPES and setting is not None
    return np.dtype("float64") if named and _is_float(setting) else setting


def _wide(array: Any) -> Any:
    return jnp.asarray(array, "float64") if _is_float(jnp.result_type(array)) else array


def _is_float(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)
