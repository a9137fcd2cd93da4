"""Fusion: closed forms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import nn
from tests.layers import normal

KEY = jax.random.key(0, impl="rbg")  # cheap to compile


def test_concatenation_flattens_fields_group_first():
    images, field = normal(0, 2, 3, 4, 5), normal(1, 2, 3, 4, 2, 6)
    fused = nn.concatenate([images, field])
    chex.assert_shape(fused, (2, 3, 4, 17))
    chex.assert_trees_all_equal(fused[..., :5], jnp.asarray(images))
    chex.assert_trees_all_equal(fused[..., 5:11], jnp.asarray(field[..., 0, :]))
    chex.assert_trees_all_equal(fused[..., 11:], jnp.asarray(field[..., 1, :]))


def test_weighted_sum_starts_as_the_mean():
    branches = [normal(seed, 2, 3, 3, 4) for seed in range(3)]
    fused, variables = nn.WeightedSum().init_with_output(KEY, branches)
    chex.assert_trees_all_equal(variables, {"params": {"logits": jnp.zeros(3)}})
    chex.assert_trees_all_close(fused, np.mean(branches, axis=0), atol=1e-6)


def test_weighted_sum_has_softmax_weights():
    branches = [normal(seed, 2, 3, 3, 4) for seed in range(3)]
    logits = jnp.log(jnp.array([1.0, 2.0, 5.0])) + 7
    fused = nn.WeightedSum().apply({"params": {"logits": logits}}, branches)
    a, b, c = branches
    chex.assert_trees_all_close(fused, (a + 2 * b + 5 * c) / 8, atol=1e-5)


def test_weighted_sum_keeps_the_dtype_of_its_branches():
    branches = [jnp.ones((1, 2, 2, 3), jnp.bfloat16)] * 2
    fused, variables = nn.WeightedSum().init_with_output(KEY, branches)
    assert fused.dtype == jnp.bfloat16
    assert variables["params"]["logits"].dtype == jnp.float32


@pytest.mark.parametrize(
    "shapes", [[(1, 4, 4, 3), (1, 4, 5, 3)], [(1, 4, 4, 3), (2, 4, 4, 3)], []]
)
def test_branches_must_see_the_same_pixels(shapes):
    with pytest.raises(ValueError, match="the same shape for all"):
        nn.concatenate([jnp.zeros(shape) for shape in shapes])


def test_summed_branches_must_have_the_same_channels():
    branches = [jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 4, 4, 5))]
    with pytest.raises(ValueError, match="1x1 convolution"):
        nn.WeightedSum().init(KEY, branches)
