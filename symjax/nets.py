"""A net as a pytree, so that compiled programs take its weights as arguments.

    net = nets.hoist(logits_fn, images)     # a `jax.tree_util.Partial`
    jax.jit(program)(net, images)           # other weights need no new compilation

A program that is cached by the identity of a function keeps the arrays that the
function closed over when it was traced: after more training it would still measure the
old net. `hoist` traces the function anew at every call. The arrays that the function
reads (those of a closure, a global, an `nnx.Module` or an Equinox module) become leaves
of the `Partial`. The cache compares the rest, the sequence of operations.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core
from jax.tree_util import Partial

from symjax.jaxprs import Description, closed, host_array

_alive: dict[bytes, "weakref.WeakSet[_Traced]"] = {}
"""The traced functions that a compiled program or a caller still references, by the
digest of their operations."""


def as_partial(function: Callable) -> Partial:
    """The function as a pytree; the leaves of a `Partial` remain leaves."""
    return function if isinstance(function, Partial) else Partial(function)


def hoist(function: Callable, *inputs: Any, seeds: int | None = None) -> Partial:
    """The function in its current state, with all arrays that it reads as leaves.

    Two results compare equal, and therefore share compiled programs, if the functions
    perform the same operations, forward and backward, on arrays of the same shapes.

    Args:
      function: a function of arrays that JAX can trace; the leaves of a `Partial`
        remain leaves.
      *inputs: arrays or `jax.ShapeDtypeStruct`, the arguments of the function. A later
        call may have other shapes; the function is then traced again.
      seeds: the length S of a leading axis on the leaves of a `Partial`, for
        `jax.vmap`; arrays that the function closes over get this axis too. None: no
        such axis.

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
    """Shapes and dtypes of the outputs of a net from `hoist`; arguments as there."""
    return net.func.program(*_shapes(net.args[1], inputs, seeds))[1]


def is_traced(*values: Any) -> bool:
    """Whether one of the leaves is traced, and known only inside of a program."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


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
        self.forward = Description(program.jaxpr)
        self.backward = None
        self._identify(outputs, *shapes)

    def program(self, *shapes: Any) -> tuple[core.Jaxpr, Any, list[Any]]:
        """The jaxpr for inputs of these shapes, its outputs, and its constants.

        A constant is an index into `constants`, or an array that is not among them.
        """
        signature = _signature(shapes)
        if signature not in self._programs:
            program, outputs = self._trace(*shapes)
            places = self._places(program.consts)
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
        def call(leaves, inputs):  # a new function: JAX would return an old trace
            return jax.tree.unflatten(self._structure, leaves)(*inputs)

        return closed(call, leaves, inputs)

    def _places(self, constants: Sequence[Any]) -> list[Any]:
        """The index of each array in `self.constants`, or the array if it is unknown.

        A function may create an array anew at each trace, for example by NumPy
        arithmetic on weights. Such arrays are recognized by their values, and several
        with the same values by their order. If their number differs from before, the
        arrays become part of the program, which is then not shared with other nets.
        """
        known = {id(x): place for place, x in enumerate(self.constants)}
        places = [known.get(id(x), x) for x in constants]
        taken = {place for place in places if isinstance(place, int)}
        groups: dict[Any, tuple[list[int], list[int]]] = {}
        for place, x in enumerate(self.constants):
            if place not in taken:
                groups.setdefault(_values(x), ([], []))[0].append(place)
        for index, x in enumerate(constants):
            if id(x) not in known:
                groups.setdefault(_values(x), ([], []))[1].append(index)
        for before, now in groups.values():
            if len(before) == len(now):
                for place, index in zip(before, now, strict=True):
                    places[index] = place
            elif now:
                self._token = object()
                _alive.get(self.forward.digest, weakref.WeakSet()).discard(self)
        return places

    def _identify(self, outputs: Any, *shapes: Any) -> None:
        """Takes the token of an equal function, or a new token.

        For two traces of one function it is enough that the forward operations are
        equal, unless an operation has a custom gradient. For two different functions,
        the backward operations are compared as well.
        """
        for digest in [digest for digest, nets in _alive.items() if not nets]:
            del _alive[digest]
        candidates = _alive.setdefault(self.forward.digest, weakref.WeakSet())
        known = [x for x in candidates if x.forward == self.forward]
        same = [x for x in known if _equal_structures(x, self)]
        if known and not same or self.forward.own_rules:
            self.backward = self._backward(*shapes, outputs)
            same = [x for x in known if x.backward == self.backward]
        self._token = same[0]._token if same else object()
        candidates.add(self)

    def _backward(self, *shapes: Any) -> "Description | str":
        def input_gradients(leaves, inputs, cotangents):
            def call(*inputs):
                return jax.tree.unflatten(self._structure, leaves)(*inputs)

            outputs, back = jax.vjp(call, *inputs)
            return outputs, back(cotangents)

        try:
            program = closed(input_gradients, *shapes)[0]
        except (TypeError, ValueError, NotImplementedError) as error:
            return f"no gradient: {type(error).__name__}"
        known = {id(x) for x in self.constants}  # others are part of the program
        return Description(
            program.jaxpr, [x for x in program.consts if id(x) not in known]
        )


def _shapes(leaves: Any, inputs: Any, seeds: int | None = None) -> tuple[Any, Any]:
    """The shapes of the leaves, for one seed, and of the inputs."""
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


def _equal_structures(one: _Traced, other: _Traced) -> bool:
    try:
        return one._structure == other._structure
    except Exception:  # the comparison of a net may not return True or False
        return False


def _values(constant: Any) -> Any:
    """A key that is equal only for arrays with the same dtype, shape and values."""
    if is_traced(constant):
        return id(constant)
    array = host_array(constant)
    return str(constant.dtype), array.shape, array.tobytes()
