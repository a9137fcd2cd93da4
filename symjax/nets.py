"""A net as a pytree, so that compiled programs take its weights as arguments.

    net = nets.hoist(logits_fn, images)     # a `jax.tree_util.Partial`
    jax.jit(program)(net, images)           # other weights compile nothing

A program that is cached by the identity of a function keeps the arrays that the
function closed over when it was traced: after more training it would still measure the
old net. `hoist` traces the function anew at every call. The arrays that it reads (a
closure's, a global's, those of an `nnx.Module` or an Equinox module) become leaves of
the `Partial`, and what is left, the sequence of operations, is what the cache compares.
"""

import functools
import hashlib
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core
from jax.tree_util import Partial

from symjax import compilation

CUSTOM_RULES = ("custom_jvp_call", "custom_vjp_call")
KNOWN_RULES = tuple(
    str(Path(str(module.__file__)).parent) for module in (jax, compilation)
)
_alive: dict[bytes, "weakref.WeakSet[_Traced]"] = {}


def as_partial(function: Callable) -> Partial:
    """The function as a pytree; the leaves of a `Partial` stay its leaves."""
    return function if isinstance(function, Partial) else Partial(function)


def hoist(function: Callable, *inputs: Any, seeds: int | None = None) -> Partial:
    """The function as it is now, with all arrays that it reads as leaves.

    Two results compare equal, and so share compiled programs, if the functions perform
    the same operations, forward and backward, on arrays of the same shapes.

    Args:
      function: of arrays, traceable; a `Partial`'s leaves stay leaves.
      *inputs: arrays or `jax.ShapeDtypeStruct`, as the function is called with. It may
        be called with other shapes later; then it is traced again.
      seeds: the number S of a leading axis on the leaves of a `Partial`, for
        `jax.vmap`; arrays that it closes over get that axis too. None: no such axis.

    Returns:
      A `Partial` that computes the same as the function.
    """
    given = as_partial(function)
    if isinstance(given.func, _Traced):
        return given
    leaves, structure = jax.tree.flatten(given)
    traced = _Traced(structure, *_shapes(leaves, inputs, seeds))
    constants = [jnp.asarray(x) for x in traced.constants]
    if seeds is not None:
        constants = [jnp.broadcast_to(x, (seeds, *x.shape)) for x in constants]
    return Partial(traced, constants, leaves)


def outputs(net: Partial, *inputs: Any, seeds: int | None = None) -> Any:
    """Shapes and dtypes of what a net from `hoist` returns; arguments as there."""
    return net.func.program(*_shapes(net.args[1], inputs, seeds))[1]


def is_traced(*values: Any) -> bool:
    """Whether one of the leaves is known only inside of a program."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def host_array(array: Any) -> np.ndarray:
    """The array as NumPy's; of random keys, their data."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array)


class _Traced:
    """The operations of a function, without the arrays that it reads.

    Attributes:
      constants: the arrays that the function closes over.
    """

    def __init__(self, structure: Any, *shapes: Any):
        self._structure = structure  # of a Partial, with its function
        program, outputs = self._trace(*shapes)
        self.constants = program.consts
        places = list(range(len(self.constants)))
        self._programs = {_signature(shapes): (program.jaxpr, outputs, places)}
        self.forward = _Description(program.jaxpr)
        self.backward = None
        self._identify(outputs, *shapes)

    def program(self, *shapes: Any) -> tuple[core.Jaxpr, Any, list[Any]]:
        """For inputs of these shapes: a jaxpr, its outputs, and which constants.

        A constant is a place in `constants`, or an array that is none of them.
        """
        signature = _signature(shapes)
        if signature not in self._programs:
            program, outputs = self._trace(*shapes)
            places = [self._place(x) for x in program.consts]
            self._programs[signature] = program.jaxpr, outputs, places
        return self._programs[signature]

    def __call__(self, constants: Sequence[Any], leaves: Sequence[Any], *inputs: Any):
        jaxpr, outputs, places = self.program(*_shapes(leaves, inputs))
        values = [constants[x] if isinstance(x, int) else x for x in places]
        flat = jax.tree.leaves((list(leaves), inputs))
        results = core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, values))(*flat)
        return jax.tree.unflatten(jax.tree.structure(outputs), results)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Traced) and self._token is other._token

    def __hash__(self) -> int:
        return hash(self.forward.digest)

    def _trace(self, leaves, inputs) -> tuple[core.ClosedJaxpr, Any]:
        def call(leaves, inputs):  # a new function, lest JAX return an old trace of it
            return jax.tree.unflatten(self._structure, leaves)(*inputs)

        return _flat(call, leaves, inputs)

    def _place(self, constant: Any) -> Any:
        """Which of `constants` it is; itself, if it is none of them."""
        for place, known in enumerate(self.constants):
            if constant is known:
                return place
        for place, known in enumerate(self.constants):
            if _same_array(constant, known):
                return place
        return constant

    def _identify(self, outputs: Any, *shapes: Any) -> None:
        """Takes the token of a function that does the same, or a new one.

        Of one and the same function, equal operations forward are enough, unless
        somebody has written a gradient of their own for one of them. Of two functions,
        operations backward are compared as well.
        """
        alike = _alive.setdefault(self.forward.digest, weakref.WeakSet())
        known = [x for x in alike if x.forward == self.forward]
        same = [x for x in known if x._structure == self._structure]
        if known and not same or self.forward.own_rules:
            self.backward = self._backward(*shapes, outputs)
            same = [x for x in known if x.backward == self.backward]
        self._token = same[0]._token if same else object()
        alike.add(self)

    def _backward(self, *shapes: Any) -> "_Description | str":
        def pull_back(leaves, inputs, cotangents):
            def call(*inputs):
                return jax.tree.unflatten(self._structure, leaves)(*inputs)

            outputs, back = jax.vjp(call, *inputs)
            return outputs, back(cotangents)

        try:
            program = _flat(pull_back, *shapes)[0]
        except (TypeError, ValueError, NotImplementedError) as error:
            return f"no gradient: {type(error).__name__}"
        return _Description(program.jaxpr)


class _Description:
    """What a jaxpr computes, comparable; arrays that it closes over are left out.

    Attributes:
      digest: of all that can be written down.
      objects: the others, such as functions that the host is asked for; compared by
        their own equality, and kept alive.
      own_rules: whether it has a custom gradient from outside of JAX and symjax.
    """

    def __init__(self, jaxpr: core.Jaxpr):
        self._hash, self._names = hashlib.sha256(), {}
        self.objects: list[Any] = []
        self.own_rules = False
        self._jaxpr(jaxpr)
        self.digest = self._hash.digest()
        del self._hash, self._names

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Description)
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


def _has_known_rule(equation: Any) -> bool:
    """Whether a function with its own gradient is one of JAX or symjax, like `relu`."""
    for value in equation.params.values():
        if isinstance(value, core.ClosedJaxpr):
            source = getattr(value.jaxpr.debug_info, "func_src_info", None)
            return any(folder in str(source) for folder in KNOWN_RULES)
    return False


def _flat(function: Callable, *shapes: Any) -> tuple[core.ClosedJaxpr, Any]:
    """The program of a function, which alone closes over arrays, and its outputs."""
    program, outputs = jax.make_jaxpr(function, return_shape=True)(*shapes)
    if _has_constants(program.jaxpr):
        inlined = functools.partial(_inlined, program)
        program = jax.make_jaxpr(inlined)(*jax.tree.leaves(shapes))
    return program, outputs


def _has_constants(jaxpr: core.Jaxpr) -> bool:
    """Whether a jitted function inside of the program closes over arrays."""
    inner = [_jitted(equation) for equation in jaxpr.eqns]
    return any(x.consts or _has_constants(x.jaxpr) for x in inner if x is not None)


def _jitted(equation: Any) -> core.ClosedJaxpr | None:
    """The program of an equation that calls a jitted function."""
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


def _shapes(leaves: Any, inputs: Any, seeds: int | None = None) -> tuple[Any, Any]:
    """Of the leaves, of one seed, and of the inputs."""
    leaves, inputs = jax.tree.map(_shape_of, (list(leaves), inputs))
    if seeds is not None:
        leaves = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in leaves]
    return leaves, inputs


def _shape_of(value: Any) -> jax.ShapeDtypeStruct:
    if isinstance(value, jax.ShapeDtypeStruct):
        return value
    if not hasattr(value, "dtype"):
        value = np.asarray(value)
    dtype = value.dtype
    if not jnp.issubdtype(dtype, jax.dtypes.extended):
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    return jax.ShapeDtypeStruct(np.shape(value), dtype)


def _signature(shapes: Any) -> tuple:
    leaves, structure = jax.tree.flatten(shapes)
    return structure, tuple((x.shape, str(x.dtype)) for x in leaves)


def _same_array(one: Any, other: Any) -> bool:
    if is_traced(one, other):
        return False
    if one.dtype != other.dtype or np.shape(one) != np.shape(other):
        return False
    return bool(host_array(one).tobytes() == host_array(other).tobytes())
