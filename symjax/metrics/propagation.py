"""A traced net as a flat list of steps, and intervals pushed through it.

    program = Program(jax.make_jaxpr(net)(weights, image))
    box = {program.image: Interval(lower, upper)}
    ends = push(program.steps, program.known([weights]) | box)[program.logits]

It reads what JAX traced and knows no layers; calls are written out. What is linear in
the image at the beginning, and what is linear at the end, are told apart, as parts that
can be bounded exactly. Two habits of nets are read as the maxima that they are:
`where(b > a, b, a)`, and `sum(where(places == argmax(x), x, 0))`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from symjax.metrics.interval import CONTRACTIONS, JOINS, MOVES, RULES, Interval

CALLS = (
    "checkpoint closed_call core_call custom_jvp_call custom_vjp_call "
    "custom_vjp_call_jaxpr jit pjit remat2"
).split()
LOOPS = ("cond", "scan", "while")
UNCHANGED = ("copy", "copy_p", "optimization_barrier")
LINEAR = (*MOVES, *JOINS, *CONTRACTIONS, "add", "add_any", "neg", "sub")
DTYPES = ("new_dtype", "preferred_element_type", "dtype")  # parameters that name one
NARROW = 32  # bits; fewer round so much that real numbers say little of the net


@dataclasses.dataclass(eq=False)
class Value:
    """What a program computes, or is given.

    Attributes:
      shape, dtype: as traced.
      step: that makes it; None of what is given.
      constant: the array, where it is written into the program.
      depends: it does on the image.
      affine: it is a linear function of the image, and a constant.
    """

    shape: tuple[int, ...]
    dtype: Any
    step: "Step | None" = None
    constant: Any = None
    depends: bool = False
    affine: bool = False

    @property
    def is_float(self) -> bool:
        return jnp.issubdtype(self.dtype, jnp.floating)


@dataclasses.dataclass(eq=False)
class Step:
    """One operation.

    Attributes:
      name, params: of the primitive.
      bind: does it, floats in float64.
      operands, results: what it takes and makes.
    """

    name: str
    params: dict[str, Any]
    bind: Callable[..., Any]
    operands: tuple[Value, ...]
    results: tuple[Value, ...]

    @property
    def depends(self) -> bool:
        return any(x.depends for x in self.operands)

    @property
    def is_linear(self) -> bool:
        """In all operands that depend on the image."""
        which = [x.depends for x in self.operands]
        if not all(x.is_float for x in (*self.results, *self._moving)):
            return False
        if self.name == "mul":
            return sum(which) == 1
        if self.name == "div":
            return not which[1]
        if self.name == "select_n":
            return not which[0]
        return self.name in LINEAR or self.name == "convert_element_type"

    @property
    def _moving(self) -> list[Value]:
        return [x for x in self.operands if x.depends]


class Part(NamedTuple):
    """A part of a program that is a linear function, and a constant.

    Attributes:
      sources: what it takes.
      steps: what it does.
      ends: what it gives.
    """

    sources: list[Value]
    steps: list[Step]
    ends: list[Value]


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
        step = _as_maximum(Step(name, params, bind, tuple(operands), results))
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


def _as_maximum(step: Step) -> Step:
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


def _like(aval: Any) -> Value:
    return Value(tuple(aval.shape), aval.dtype)


def _widened(key: str, setting: Any) -> Any:
    named = key in DTYPES and setting is not None
    return np.dtype("float64") if named and _is_float(setting) else setting


def _wide(array: Any) -> Any:
    return jnp.asarray(array, "float64") if _is_float(jnp.result_type(array)) else array


def _is_float(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)
