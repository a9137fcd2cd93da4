"""Finds operations of the net without a useful gradient, and random operations.

    finding = operations(subject)

The net is traced to a jaxpr, which is read with all of its inner jaxprs. An operation
counts if the logits depend on its result. Operations that are neither random nor calls
of the host must also have an operand that depends on the images.
"""

import enum
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.extend import core

from symjax.attacks.sanity.subject import AuditTarget, Finding, at_most

FLAT = ("sign", "round", "floor", "ceil", "bitcast_convert_type")
"""Operations whose gradient is zero wherever it exists. That of comparisons and argmax
is zero as well, but every maximum contains them."""
RANDOM = ("random_", "threefry", "rng_")  # prefixes of the names of random operations
HOST = ("pure_callback", "io_callback")
KEEPS_MAXIMUM = (
    "broadcast_in_dim convert_element_type max pmax reshape select_n squeeze"
).split()


class Depends(enum.IntEnum):
    """How a value depends on the images; MAXIMUM: only as a maximum over an axis."""

    NOT = 0
    MAXIMUM = 1
    YES = 2


def operations(subject: AuditTarget) -> Finding:
    """The net has no operation that masks its gradient or is random.

    `stop_gradient` of a maximum is allowed: softmax subtracts a maximum, which changes
    neither the value nor the gradient of the softmax. A straight-through gradient is
    not allowed, because the forward operations are read, not the declared gradient.
    """
    names = sorted(suspicious(subject.net, subject.images))
    detail = (
        "kinds of operations that are flat, random or on the host: "
        f"{', '.join(names) or 'none'}"
    )
    return at_most(0, len(names), detail)


def suspicious(logits_fn, images) -> set[str]:
    """The names of the operations that count, as defined at the top of this module."""
    program = jax.make_jaxpr(logits_fn)(images)
    names: set[str] = set()
    inputs = [Depends.YES] * len(program.jaxpr.invars)
    _read(program.jaxpr, inputs, names)
    return names


def _read(jaxpr, inputs: list[Depends], names: set[str]) -> list[Depends]:
    """Adds to `names`; returns how the outputs depend on the images."""
    depends = dict(zip(jaxpr.invars, inputs, strict=True))
    for equation in _live(jaxpr):
        operands = [_of(depends, x) for x in equation.invars]
        inner = [_jaxpr(x) for x in core.jaxprs_in_params(equation.params)]
        if inner:
            outputs = _read_inner(equation, inner, operands, names)
        else:
            _check(equation, operands, names)
            outputs = [_result(equation, operands)] * len(equation.outvars)
        depends.update(zip(equation.outvars, outputs, strict=True))
    return [_of(depends, x) for x in jaxpr.outvars]


def _read_inner(equation, inner, operands, names) -> list[Depends]:
    """Reads inner jaxprs, whose inputs are the last operands of the equation.

    In a loop, all values are taken to depend on the images if one of them does.
    """
    if equation.primitive.name in ("scan", "while"):
        operands = [max(operands, default=Depends.NOT)] * len(operands)
    outputs = [Depends.NOT] * len(equation.outvars)
    for jaxpr in inner:
        count = len(jaxpr.invars)
        missing = [max(operands, default=Depends.NOT)] * (count - len(operands))
        depends = _read(jaxpr, missing + operands[len(operands) - count :], names)
        if len(depends) == len(outputs):
            outputs = [max(pair) for pair in zip(outputs, depends, strict=True)]
    return outputs


def _check(equation, operands: list[Depends], names: set[str]) -> None:
    """Adds the name of the equation's operation to `names` if it counts."""
    name = equation.primitive.name
    if name.startswith(RANDOM) or name in HOST:
        names.add(name)
    on_images = max(operands, default=Depends.NOT)
    if name in FLAT and on_images:
        names.add(name)
    if name == "stop_gradient" and on_images is Depends.YES:
        names.add(name)
    if name == "convert_element_type" and on_images:
        before, after = equation.invars[0].aval.dtype, equation.params["new_dtype"]
        if jnp.issubdtype(before, jnp.floating) and jnp.issubdtype(after, jnp.integer):
            names.add("float to integer")


def _result(equation, operands: list[Depends]) -> Depends:
    name = equation.primitive.name
    depends = max(operands, default=Depends.NOT)
    if not depends or name == "is_finite":  # logsumexp applies it to its maximum
        return Depends.NOT
    if name == "reduce_max":
        return Depends.MAXIMUM
    return depends if name in KEEPS_MAXIMUM else Depends.YES


def _live(jaxpr) -> list:
    """The equations of a jaxpr whose results its outputs depend on, in order."""
    needed = {x for x in jaxpr.outvars if isinstance(x, core.Var)}
    live = []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(x for x in equation.invars if isinstance(x, core.Var))
            live.append(equation)
    return live[::-1]


def _of(depends: Mapping, variable) -> Depends:
    return (
        Depends.NOT
        if isinstance(variable, core.Literal)
        else depends.get(variable, Depends.NOT)  # a constant
    )


def _jaxpr(program):
    return program.jaxpr if isinstance(program, core.ClosedJaxpr) else program
