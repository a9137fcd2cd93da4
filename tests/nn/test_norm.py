"""Layer and instance norm: against numpy, and that they turn with their fields."""

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import nn
from symjax.groups import C4, C8, D4

IMAGES, FIELD = (2, 3, 3, 5), (2, 3, 3, 4, 5)
AXES = [  # of one mean
    (nn.LayerNorm(), IMAGES, (3,)),
    (nn.LayerNorm(), FIELD, (3, 4)),
    (nn.InstanceNorm(), IMAGES, (1, 2)),
    (nn.InstanceNorm(), FIELD, (1, 2, 3)),
]
both_norms = pytest.mark.parametrize("norm", [nn.LayerNorm(), nn.InstanceNorm()])


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def parameters(*shape):
    return {"scale": normal(1, *shape), "bias": normal(2, *shape)}


def asymmetry(norm, params, group, shape):
    """Largest error of commutation over the elements on the grid, in one batch."""
    act = group.act if len(shape) == 4 else group.act_on_field

    @jax.jit
    def error(x):
        moved = [act(g, x) for g in group.grid.elements]
        normed = norm.apply({"params": params}, jnp.concatenate(moved))
        expected = [act(g, normed[:1]) for g in group.grid.elements]
        return jnp.max(jnp.abs(normed - jnp.concatenate(expected)))

    return error(normal(0, *shape))


def fresh(norm, x):
    return jax.jit(norm.init_with_output)(jax.random.key(0), x)[0]


@pytest.mark.parametrize(("norm", "shape", "axes"), AXES)
def test_norms_have_mean_0_and_variance_1(norm, shape, axes):
    x = 3 + 2 * normal(0, *shape)
    y = fresh(norm, x)
    np.testing.assert_allclose(np.mean(y, axes), 0, atol=1e-5)
    np.testing.assert_allclose(np.var(y, axes), 1, atol=1e-4)


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
        np.testing.assert_allclose(fresh(norm, images), images / 2)


@both_norms
@pytest.mark.parametrize("shape", [IMAGES, FIELD, (2, 3, 3, 16, 5)])
def test_parameters_do_not_grow_with_the_group(norm, shape):
    variables = jax.eval_shape(norm.init, jax.random.key(0), jnp.zeros(shape))
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == {"params": {"norm": {"scale": (5,), "bias": (5,)}}}


@both_norms
@pytest.mark.parametrize("group", [C4, D4, C8], ids=str)
def test_norms_turn_with_images_and_fields(norm, group):
    params = {"norm": parameters(5)}
    assert asymmetry(norm, params, group, (1, 4, 4, 5)) < 1e-5
    assert asymmetry(norm, params, group, (1, 4, 4, group.order, 5)) < 1e-5


@pytest.mark.parametrize("group", [C4, D4, C8], ids=str)
def test_a_scale_of_each_element_alone_does_not_turn(group):
    norm = linen.LayerNorm(reduction_axes=(1, 2, 4), feature_axes=(3, 4))
    params = parameters(group.order, 5)
    assert asymmetry(norm, params, group, (1, 4, 4, group.order, 5)) > 1


@both_norms
@pytest.mark.parametrize("shape", [(4, 4, 5), (1, 4, 4, 4, 2, 5)])
def test_arrays_of_another_rank(norm, shape):
    with pytest.raises(ValueError, match=r"\[B, H, W, G, C\], got \(.*5\)"):
        norm.init(jax.random.key(0), jnp.zeros(shape))
