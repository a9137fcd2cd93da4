"""Descriptions of jaxprs: what a function computes, without the arrays that it reads.

program, outputs = closed(function, *shapes)
Description(program.jaxpr) == Description(other.jaxpr)
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from symjax import compilation

CUSTOM_RULES = ("custom_jvp_call", "custom_vjp_call")
KNOWN_RULES = tuple(
    str(Path(str(module.__file__)).parent) for module in (jax, compilation)
)


class Description:
    """A description of a jaxpr that can be compared, without arrays it closes over.

    Args:
      jaxpr: the program.
      constants: arrays whose values are part of the description.

    Attributes:
      digest: hash of all parts that can be written as bytes.
      objects: the other parts, such as functions that are called on the host. They are
        compared by their own equality, and kept alive.
      own_rules: whether the jaxpr has a custom gradient that is not part of JAX or
        symjax.
    """

    def __init__(self, jaxpr: core.Jaxpr, constants: Sequence[Any] = ()):
        self._hash, self._names = hashlib.sha256(), {}
        self.objects: list[Any] = []
        self.own_rules = False
        self._jaxpr(jaxpr)
        self._value(list(constants))
        self.digest = self._hash.digest()
        del self._hash, self._names

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Description)
            and self.digest == other.digest
            and self.objects == other.objects
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def _write(self, *parts: Any) -> None:
        self._hash.update(repr(parts).encode())

    def _jaxpr(self, jaxpr: core.Jaxpr) -> None:
        for variable in (*jaxpr.constvars, *jaxpr.invars):
            self._define(variable)
        for equation in jaxpr.eqns:
            name = equation.primitive.name
            self._write(name)
            if name in CUSTOM_RULES:
                self.own_rules |= not _has_known_rule(equation)
            for operand in equation.invars:
                self._operand(operand)
            for key in sorted(equation.params):
                value = equation.params[key]
                if name not in CUSTOM_RULES or isinstance(value, core.ClosedJaxpr):
                    self._write(key)
                    self._value(value)
            for variable in equation.outvars:
                self._define(variable)
        for operand in jaxpr.outvars:
            self._operand(operand)

    def _define(self, variable: Any) -> None:
        self._names[variable] = len(self._names)
        self._write(str(variable.aval))

    def _operand(self, operand: Any) -> None:
        if isinstance(operand, core.Literal):
            self._write("literal", str(operand.aval))
            self._value(operand.val)
        else:
            self._write(self._names[operand])

    def _value(self, value: Any) -> None:
        if isinstance(value, core.ClosedJaxpr):
            self._write("closed")
            self._jaxpr(value.jaxpr)
            self._value(list(value.consts))
        elif isinstance(value, core.Jaxpr):
            self._jaxpr(value)
        elif isinstance(value, (list, tuple)):
            self._write(type(value).__name__, len(value))
            for item in value:
                self._value(item)
        elif isinstance(value, dict):
            self._value([item for pair in value.items() for item in pair])
        elif isinstance(value, (np.ndarray, np.generic, jax.Array)):
            array = host_array(value)
            self._write(str(array.dtype), array.shape, array.tobytes())
        elif value is None or isinstance(value, (str, bytes, int, float, complex)):
            self._write(type(value).__name__, value)
        elif isinstance(value, np.dtype):
            self._write(str(value))
        else:
            self.objects.append(value)


def closed(function: Callable, *shapes: Any) -> tuple[core.ClosedJaxpr, Any]:
    """The jaxpr of a function and its outputs, with all arrays as its constants.

    Jitted functions inside of it that close over arrays are inlined.
    """
    program, outputs = jax.make_jaxpr(function, return_shape=True)(*shapes)
    if _has_constants(program.jaxpr):
        inlined = functools.partial(_inlined, program)
        program = jax.make_jaxpr(inlined)(*jax.tree.leaves(shapes))
    return program, outputs


def host_array(array: Any) -> np.ndarray:
    """The array as a NumPy array; for random keys, their data."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array)


def _has_known_rule(equation: Any) -> bool:
    """Whether a function with a custom gradient is part of JAX or symjax, as `relu`."""
    for value in equation.params.values():
        if isinstance(value, core.ClosedJaxpr):
            source = getattr(value.jaxpr.debug_info, "func_src_info", None)
            return any(folder in str(source) for folder in KNOWN_RULES)
    return False


def _has_constants(jaxpr: core.Jaxpr) -> bool:
    """Whether a jitted function inside of the jaxpr closes over arrays."""
    inner = [_jitted(equation) for equation in jaxpr.eqns]
    return any(x.consts or _has_constants(x.jaxpr) for x in inner if x is not None)


def _jitted(equation: Any) -> core.ClosedJaxpr | None:
    """The jaxpr of an equation that calls a jitted function, or None."""
    if equation.primitive.name not in ("jit", "pjit"):
        return None
    return equation.params.get("jaxpr")


def _inlined(program: core.ClosedJaxpr, *arguments: Any) -> list[Any]:
    """Runs a program; functions in it that close over arrays become a part of it."""
    jaxpr = program.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, program.consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(operand):
        return operand.val if isinstance(operand, core.Literal) else values[operand]

    for equation in jaxpr.eqns:
        inner = _jitted(equation)
        operands = equation.invars
        if inner is None or not (inner.consts or _has_constants(inner.jaxpr)):
            operands = list({x: 0 for x in operands if isinstance(x, core.Var)})
            inner = jaxpr.replace(
                constvars=[],
                invars=operands,
                outvars=[x for x in equation.outvars if isinstance(x, core.Var)],
                eqns=[equation],
            )
            run = core.jaxpr_as_fun(core.ClosedJaxpr(inner, []))
        else:
            run = functools.partial(_inlined, inner)
        results = run(*map(read, operands))
        values.update(zip(equation.outvars, results, strict=True))
    return [read(x) for x in jaxpr.outvars]
