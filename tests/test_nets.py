"""Nets as pytrees: nothing that a function reads is compiled into a program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from symjax import nets

IMAGES = np.random.default_rng(0).uniform(size=(3, 2, 2, 1)).astype(np.float32)


def weights(seed):
    return jax.random.normal(jax.random.key(seed), (4, 5))


def dense(matrix, images):
    return jax.nn.relu(images.reshape(len(images), -1) @ matrix)


class Counted:
    """A program that knows how often it was compiled."""

    def __init__(self):
        self.count = 0
        self.run = jax.jit(self._run)

    def _run(self, net, images):
        self.count += 1
        return net(images), jax.grad(lambda x: jnp.sum(net(x)))(images)

    def __call__(self, function):
        """Its outputs, which have to be those of the function as it is now."""
        outputs, gradients = self.run(nets.hoist(function, IMAGES), IMAGES)
        np.testing.assert_allclose(outputs, function(IMAGES), rtol=1e-5)
        return gradients


def functions_of_a_changing_global():
    held = {}

    def net(images):
        return dense(held["matrix"], images)

    for seed in range(3):
        held["matrix"] = weights(seed)
        yield net
    held["matrix"] = np.asarray(weights(7))
    yield net


def functions_of_an_nnx_module():
    module = nnx.Linear(1, 5, rngs=nnx.Rngs(0))
    for seed in range(3):
        module.kernel.set_value(jax.random.normal(jax.random.key(seed), (1, 5)))
        yield lambda images: module(images[:, 0, 0])


def partials_of_a_changing_function():
    def net(matrix, images):
        return dense(matrix, images) * scale

    for seed in range(3):
        scale = jnp.float32(seed + 1)
        yield Partial(net, weights(seed))


class Compared:
    """A net whose comparison gives an array."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, images):
        return dense(self.matrix, images)

    def __eq__(self, other):
        return self.matrix == other.matrix

    __hash__ = object.__hash__


def nets_that_cannot_be_compared():
    return [Compared(weights(seed)) for seed in range(3)]


def jitted_functions():
    return [jax.jit(functools.partial(dense, weights(seed))) for seed in range(3)]


@pytest.mark.parametrize(
    ("functions", "programs"),
    [
        (functions_of_a_changing_global, 1),
        (partials_of_a_changing_function, 1),
        # For a second function, the gradients are compared as well.
        (functions_of_an_nnx_module, 2),
        (nets_that_cannot_be_compared, 2),
        (jitted_functions, 2),
    ],
)
def test_other_weights_need_no_new_program(functions, programs):
    program = Counted()
    for function in functions():
        program(function)
    assert program.count <= programs
    program(functools.partial(dense, jnp.ones((4, 6))))
    assert program.count <= programs + 1  # another shape is another program


def test_arrays_of_a_jitted_function_are_not_compiled_in():
    hoisted = nets.hoist(jax.jit(functools.partial(dense, weights(0))), IMAGES)
    assert [leaf.shape for leaf in jax.tree.leaves(hoisted)] == [(4, 5)]


def straight_through(slope):
    @jax.custom_vjp
    def rounded(x):
        return jnp.round(x)

    rounded.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (slope * g,))
    return rounded


def test_nets_that_differ_in_their_gradients_alone_are_two_nets():
    program, slope = Counted(), 1.0

    def net(images):
        return straight_through(slope)(10 * dense(weights(0), images))

    first = program(net)
    assert (program(net) == first).all() and program.count == 1
    slope = 2.0
    np.testing.assert_allclose(program(net), 2 * first, rtol=1e-6)
    assert program.count == 2


def test_functions_of_the_host_are_told_apart():
    def on_host(factor):
        shape = jax.ShapeDtypeStruct((len(IMAGES), 4), jnp.float32)

        def compute(images):
            return factor * np.asarray(images).reshape(len(IMAGES), -1)

        return lambda images: jax.pure_callback(compute, shape, images)

    run = jax.jit(lambda net, images: net(images))
    one, two = (run(nets.hoist(on_host(x), IMAGES), IMAGES) for x in (1, 2))
    np.testing.assert_allclose(2 * one, two)


def test_other_shapes_and_several_seeds():
    matrix = weights(0)
    hoisted = nets.hoist(lambda images: dense(matrix, images), IMAGES)
    jitted = jax.jit(lambda net, images: net(images))
    np.testing.assert_allclose(
        jitted(hoisted, IMAGES[:1]), dense(matrix, IMAGES[:1]), rtol=1e-6
    )
    assert nets.outputs(hoisted, IMAGES[:2]).shape == (2, 5)
    assert nets.hoist(hoisted, IMAGES) is hoisted
    shift = jnp.float32(2.0)
    several = Partial(lambda m, x: dense(m, x) + shift, jnp.stack([matrix, -matrix]))
    hoisted = nets.hoist(several, IMAGES, seeds=2)
    assert {len(leaf) for leaf in jax.tree.leaves(hoisted)} == {2}
    both = jax.vmap(lambda net, images: net(images), (0, None))(hoisted, IMAGES)
    np.testing.assert_allclose(both[1], dense(-matrix, IMAGES) + 2, rtol=1e-6)


@pytest.mark.parametrize("outside", ["a closure", "a leaf"])
def test_inside_of_a_program_arrays_may_be_unknown(outside):
    @jax.jit
    def run(matrix):
        net = functools.partial(dense, matrix)
        if outside == "a leaf":
            net = Partial(dense, matrix)
        hoisted = nets.hoist(net, IMAGES)
        assert nets.is_traced(hoisted)
        return hoisted(IMAGES)

    np.testing.assert_allclose(run(weights(0)), dense(weights(0), IMAGES), rtol=1e-6)


def test_constants_that_are_equal_at_first_are_not_mixed_up():
    """Arrays that are new at each trace, two of them with the same values."""
    spread = [np.ones(5, np.float32), np.ones(5, np.float32)]

    def net(images):
        hidden = dense(weights(0), images) / np.sqrt(spread[0] + 1)[None]
        return jnp.tanh(hidden) / np.sqrt(spread[1] + 1)[None]

    run = jax.jit(lambda net, images: net(images[:1]))
    for value in (1.0, 8.0):
        spread[1] = np.full(5, value, np.float32)
        hoisted = nets.hoist(net, IMAGES)
        np.testing.assert_allclose(run(hoisted, IMAGES), net(IMAGES[:1]), rtol=1e-5)


def test_arrays_of_a_custom_gradient_count_as_well():
    program, held = Counted(), {"slope": weights(1)}

    @jax.custom_vjp
    def rounded(images):
        return jnp.round(images.reshape(len(images), -1) @ weights(0))

    def backward(_, g):
        return ((g @ held["slope"].T).reshape(-1, 2, 2, 1),)

    rounded.defvjp(lambda images: (rounded(images), None), backward)
    first = program(lambda images: rounded(images))
    held["slope"] = -held["slope"]
    np.testing.assert_allclose(program(lambda images: rounded(images)), -first)
