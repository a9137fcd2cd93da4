"""The net's operations: those without a useful gradient, and random ones.

    finding = operations(subject)

The net is traced to a jaxpr, which is read through all of its inner programs. An
operation counts if its result reaches the logits and, but for random ones and calls of
the host, if it works on something that depends on the images.
"""

import enum
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.extend import core

from symjax.attacks.sanity.subject import AuditTarget, Finding, at_most

FLAT = ("sign", "round", "floor", "ceil", "bitcast_convert_type")
"""Their gradient is zero wherever there is one. Comparisons, argmax and the like are
zero as well, but every maximum is made of them."""
RANDOM = ("random_", "threefry", "rng_")  # how their names begin
HOST = ("pure_callback", "io_callback")
KEEPS_MAXIMUM = (
    "broadcast_in_dim convert_element_type max pmax reshape select_n squeeze"
).split()


class Depends(enum.IntEnum):
    """On the images: not at all; as a maximum over an axis does; in another way."""

    NOT = 0
    MAXIMUM = 1
    YES = 2


def operations(subject: AuditTarget) -> Finding:
    """Nothing in the net hides its gradient, or is random.

    `stop_gradient` of a maximum is let through: softmax subtracts one, which changes
    neither its value nor its gradient. A straight-through gradient is not: what goes
    forward is read, whatever the gradient is declared to be.
    """
    found = sorted(suspicious(subject.net, subject.images))
    detail = (
        f"kinds of operation, flat, random or the host's: {', '.join(found) or 'none'}"
    )
    return at_most(0, len(found), detail)


def suspicious(logits_fn, images) -> set[str]:
    """The names of the operations that count, see above."""
    program = jax.make_jaxpr(logits_fn)(images)
    found: set[str] = set()
    inputs = [Depends.YES] * len(program.jaxpr.invars)
    _read(program.jaxpr, inputs, found)
    return found


def _read(jaxpr, inputs: list[Depends], found: set[str]) -> list[Depends]:
    """Adds to `found`, and gives what the outputs depend on."""
    depends = dict(zip(jaxpr.invars, inputs, strict=True))
    for equation in _live(jaxpr):
        operands = [_of(depends, x) for x in equation.invars]
        inner = [_jaxpr(x) for x in core.jaxprs_in_params(equation.params)]
        if inner:
            outputs = _read_inner(equation, inner, operands, found)
        else:
            _judge(equation, operands, found)
            outputs = [_result(equation, operands)] * len(equation.outvars)
        depends.update(zip(equation.outvars, outputs, strict=True))
    return [_of(depends, x) for x in jaxpr.outvars]


def _read_inner(equation, inner, operands, found) -> list[Depends]:
    """Programs in a program, whose inputs are the last operands of the outer one.

    In a loop, everything is taken to depend on the images if anything does.
    """
    if equation.primitive.name in ("scan", "while"):
        operands = [max(operands, default=Depends.NOT)] * len(operands)
    outputs = [Depends.NOT] * len(equation.outvars)
    for jaxpr in inner:
        count = len(jaxpr.invars)
        missing = [max(operands, default=Depends.NOT)] * (count - len(operands))
        said = _read(jaxpr, missing + operands[len(operands) - count :], found)
        if len(said) == len(outputs):
            outputs = [max(pair) for pair in zip(outputs, said, strict=True)]
    return outputs


def _judge(equation, operands: list[Depends], found: set[str]) -> None:
    name = equation.primitive.name
    if name.startswith(RANDOM) or name in HOST:
        found.add(name)
    on_images = max(operands, default=Depends.NOT)
    if name in FLAT and on_images:
        found.add(name)
    if name == "stop_gradient" and on_images is Depends.YES:
        found.add(name)
    if name == "convert_element_type" and on_images:
        before, after = equation.invars[0].aval.dtype, equation.params["new_dtype"]
        if jnp.issubdtype(before, jnp.floating) and jnp.issubdtype(after, jnp.integer):
            found.add("float to integer")


def _result(equation, operands: list[Depends]) -> Depends:
    name = equation.primitive.name
    depends = max(operands, default=Depends.NOT)
    if not depends or name == "is_finite":  # guards a maximum in logsumexp
        return Depends.NOT
    if name == "reduce_max":
        return Depends.MAXIMUM
    return depends if name in KEEPS_MAXIMUM else Depends.YES


def _live(jaxpr) -> list:
    """Its equations whose results are used, in order."""
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
