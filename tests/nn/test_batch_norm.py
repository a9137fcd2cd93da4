"""Batch norm: Flax's, in values, running averages and every kind of derivative."""

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import nn
from symjax.groups import C4
from symjax.nn.convolution import LOWERINGS
from tests.layers import normal

KEY = jax.random.key(0)
SHAPES = {"images": (4, 6, 5, 3), "field": (3, 4, 4, 4, 2), "one place": (5, 1, 1, 2)}


def variables(channels):
    values = 0.5 + np.arange(1.0, channels + 1, dtype=np.float32)
    return {
        "params": {"scale": values, "bias": -values},
        "batch_stats": {"mean": values / 3, "var": values},
    }


def derivatives(function, primals, tangents, weights):
    """Outputs, their tangents, gradients, and tangents of gradients."""

    def gradients(*primals):
        outputs, transpose = jax.vjp(function, *primals)
        return outputs, transpose(weights * jnp.tanh(outputs))

    return jax.jvp(gradients, primals, tangents)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("lowering", ["patches", "mixed"])
def test_it_is_that_of_flax(lowering, train, shape):
    stats = variables(shape[-1])["batch_stats"]
    ours = nn.BatchNorm(0.9, lowering=lowering)
    theirs = linen.BatchNorm(use_running_average=not train, momentum=0.9)

    def apply(norm, *arguments):
        def outputs(params, x):
            of = {"params": params, "batch_stats": stats}
            y, updated = norm.apply(of, x, *arguments, mutable=["batch_stats"])
            return y + sum(map(jnp.sum, jax.tree.leaves(updated)))

        return outputs

    primals = variables(shape[-1])["params"], 1 + 2 * normal(0, *shape)
    tangents = jax.tree.map(lambda leaf: normal(1, *leaf.shape), primals)
    both = jax.jit(
        lambda *operands: [
            derivatives(function, *operands)
            for function in (apply(ours, train), apply(theirs))
        ]
    )
    found, expected = both(primals, tangents, normal(2, *shape))
    chex.assert_trees_all_close(found, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_statistics_are_shared_over_the_group(lowering):
    field = 3 + 2 * normal(0, 4, 5, 5, 4, 3)
    norm = nn.BatchNorm(lowering=lowering)
    shapes = jax.eval_shape(lambda x: norm.init(KEY, x, train=True), field)
    given = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    chex.assert_tree_shape_prefix(given, (3,))
    apply = jax.jit(lambda x: norm.apply(given, x, True, mutable=["batch_stats"]))
    outputs, updates = apply(field)
    np.testing.assert_allclose(np.mean(outputs, (0, 1, 2, 3)), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.std(outputs, (0, 1, 2, 3)), 1.0, atol=1e-4)
    turned, turned_updates = apply(np.asarray(C4.act_on_field(1, field)))
    turned_after = np.asarray(C4.act_on_field(1, outputs))
    chex.assert_trees_all_close(turned, turned_after, atol=2e-5)
    chex.assert_trees_all_close(turned_updates, updates, atol=2e-5)


def test_init_leaves_the_averages_where_they_start():
    x = 7 + normal(0, 8, 4, 4, 2)
    start = nn.BatchNorm().init(KEY, x, train=True)["batch_stats"]
    expected = {"mean": np.zeros(2, np.float32), "var": np.ones(2, np.float32)}
    chex.assert_trees_all_equal(jax.device_get(start), expected)


def test_statistics_of_bfloat16_are_float32():
    # In bfloat16, 256 + 1 is 256: sums of 1,024 ones would stop there.
    x = jnp.ones((16, 8, 8, 1), jnp.bfloat16)
    norm = nn.BatchNorm(0.0, dtype=jnp.bfloat16, lowering="mixed")
    given = {"params": {"scale": np.ones(1), "bias": np.zeros(1)}}
    given["batch_stats"] = {"mean": np.zeros(1), "var": np.ones(1)}
    outputs, updated = norm.apply(given, x, True, mutable=["batch_stats"])
    assert outputs.dtype == jnp.bfloat16
    assert updated["batch_stats"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(updated["batch_stats"]["mean"], [1.0], rtol=1e-6)
    np.testing.assert_allclose(updated["batch_stats"]["var"], [0.0], atol=1e-6)


def test_unbiased_running_variance_is_that_of_pytorch():
    x = np.random.default_rng(0).normal(size=(2, 3, 1, 4, 5)).astype(np.float32)
    found = {}
    for unbiased in (False, True):
        layer = nn.BatchNorm(0.9, unbiased=unbiased)
        variables = layer.init(jax.random.key(0), x, False)
        outputs, moved = layer.apply(variables, x, True, mutable=["batch_stats"])
        found[unbiased] = outputs, moved["batch_stats"]
    count = 2 * 3 * 1 * 4
    for unbiased, (outputs, stats) in found.items():
        variance = x.astype(float).var(axis=(0, 1, 2, 3), ddof=int(unbiased))
        np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * variance, rtol=1e-5)
        np.testing.assert_array_equal(outputs, found[False][0])
    ratio = (found[True][1]["var"] - 0.9) / (found[False][1]["var"] - 0.9)
    np.testing.assert_allclose(ratio, count / (count - 1), rtol=1e-4)
