"""Layer and instance norm: against numpy, and that they turn with their fields."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import nn
from symjax.groups import C4, C8, D4
from tests.layers import asymmetry, normal

IMAGES, FIELD = (2, 3, 3, 5), (2, 3, 3, 4, 5)
AXES = [  # of one mean
    (nn.LayerNorm(), IMAGES, (3,)),
    (nn.LayerNorm(), FIELD, (3, 4)),
    (nn.InstanceNorm(), IMAGES, (1, 2)),
    (nn.InstanceNorm(), FIELD, (1, 2, 3)),
]
both_norms = pytest.mark.parametrize("norm", [nn.LayerNorm(), nn.InstanceNorm()])


def parameters(*shape):
    return {"scale": normal(1, *shape), "bias": normal(2, *shape)}


@pytest.mark.parametrize(("norm", "shape", "axes"), AXES)
def test_norms_are_those_of_numpy(norm, shape, axes):
    x, params = 3 + 2 * normal(0, *shape), parameters(5)
    mean, variance = np.mean(x, axes, keepdims=True), np.var(x, axes, keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-6) * params["scale"] + params["bias"]
    found = jax.jit(norm.apply)({"params": {"norm": params}}, x)
    chex.assert_trees_all_close(found, expected, atol=1e-4)


def test_epsilon_is_added_to_the_variance():
    x = np.array([-1, 1], np.float32)
    layer = nn.LayerNorm(epsilon=3.0), x.reshape(1, 1, 1, 2)
    instance = nn.InstanceNorm(epsilon=3.0), x.reshape(1, 2, 1, 1)
    for norm, images in (layer, instance):
        found = norm.init_with_output(jax.random.key(0), images)[0]
        np.testing.assert_allclose(found, images / 2)


@both_norms
@pytest.mark.parametrize("shape", [IMAGES, FIELD, (2, 3, 3, 16, 5)])
def test_parameters_do_not_grow_with_the_group(norm, shape):
    variables = jax.eval_shape(norm.init, jax.random.key(0), jnp.zeros(shape))
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == {"params": {"norm": {"scale": (5,), "bias": (5,)}}}


@both_norms
@pytest.mark.parametrize("group", [C4, D4, C8], ids=str)
def test_norms_turn_with_images_and_fields(norm, group):
    variables = {"params": {"norm": parameters(5)}}
    for shape in ((1, 4, 4, 5), (1, 4, 4, group.order, 5)):
        assert asymmetry(lambda x: norm.apply(variables, x), group, shape) < 1e-5
