"""The seed axis and the random streams."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.seeds import (
    KeyPurpose,
    as_key,
    fold_in,
    keys,
    keys_of_images,
    of_seed,
    over_seeds,
    purpose_key,
)


def bits(key):
    return tuple(jax.random.key_data(key).ravel().tolist())


def one_seed(state, key, shared):
    noise = jax.random.normal(key, state["w"].shape)
    return {"w": state["w"] * shared + noise}, jnp.sum(state["w"])


@pytest.mark.parametrize("together", [True, False, None])
def test_over_seeds_equals_a_loop(together):
    states = {"w": jnp.arange(12.0).reshape(3, 4)}
    shared = jnp.linspace(0, 1, 4)
    found = over_seeds(one_seed, (0, 0, None), together)(states, keys(5, 3), shared)
    for index in range(3):
        alone = one_seed(of_seed(states, index), jax.random.key(5 + index), shared)
        chex.assert_trees_all_close(of_seed(found, index), alone, rtol=1e-6)
    every_argument = over_seeds(jnp.dot, together=together)(jnp.eye(2), jnp.eye(2))
    np.testing.assert_array_equal(every_argument, [1, 1])


@pytest.mark.parametrize("first", [0, 7])
def test_keys_are_those_of_the_integers(first):
    assert keys(first, 3).shape == (3,)
    expected = [bits(jax.random.key(first + index)) for index in range(3)]
    assert [bits(key) for key in keys(first, 3)] == expected


def test_streams_are_distinct_and_depend_on_nothing_drawn_before():
    drawn = {
        bits(purpose_key(key, purpose, index))
        for key, purpose, index in itertools.product(keys(0, 3), KeyPurpose, range(4))
    }
    assert len(drawn) == 3 * len(KeyPurpose) * 4
    key = jax.random.key(1)
    later = bits(purpose_key(key, KeyPurpose.SHUFFLE, 3))
    jax.random.normal(purpose_key(key, KeyPurpose.INIT), (5,))
    assert later == bits(purpose_key(key, KeyPurpose.SHUFFLE, jnp.int32(3)))
    assert (
        bits(jax.jit(purpose_key, static_argnums=1)(key, KeyPurpose.SHUFFLE, 3))
        == later
    )


def test_keys_are_folded_each_by_itself_with_one_number_after_the_other():
    several = jax.random.split(jax.random.key(3), 4).reshape(2, 2)
    folded = fold_in(several, 5, 6)
    assert folded.shape == (2, 2)
    for place in np.ndindex(2, 2):
        alone = jax.random.fold_in(jax.random.fold_in(several[place], 5), 6)
        assert bits(folded[place]) == bits(alone) == bits(fold_in(several[place], 5, 6))


def test_legacy_keys_are_wrapped_and_other_values_refused():
    old, new = jax.random.PRNGKey(3), jax.random.key(3)
    assert bits(as_key(old)) == bits(new) and as_key(new) is new
    assert jax.jit(as_key)(old) == new
    several = jax.random.split(old, 3)
    assert as_key(several).shape == (3,)
    calls = (
        as_key,
        lambda x: purpose_key(x, KeyPurpose.INIT, 1),
        lambda x: keys_of_images(x, 3),
    )
    for take in calls:
        assert bits(take(old)) == bits(take(new))
        for wrong in (0, None, np.zeros(3, np.uint32), np.zeros(2)):
            with pytest.raises(ValueError, match="key=.*expected a random key"):
                take(wrong)
    assert bits(keys_of_images(several, 3)) == bits(jax.random.split(new, 3))
