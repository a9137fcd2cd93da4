"""Losses of the attacks, and what counts as correct."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.attacks import cross_entropy, is_correct, margin

LOGITS = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32) * 3
LABELS = np.random.default_rng(1).integers(0, 5, 20)


def test_margin_is_the_best_wrong_logit_minus_the_right_one():
    expected = [
        max(np.delete(row, label)) - row[label]
        for row, label in zip(LOGITS, LABELS, strict=True)
    ]
    np.testing.assert_allclose(margin(LOGITS, LABELS), expected, rtol=1e-6)
    right = LOGITS.argmax(axis=1) == LABELS
    assert 0 < right.sum() < 20
    np.testing.assert_array_equal(is_correct(LOGITS, LABELS), right)


def test_cross_entropy_equals_numpy():
    logits = LOGITS.astype(np.float64)
    right = logits[np.arange(20), LABELS]
    expected = np.log(np.exp(logits).sum(axis=1)) - right
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS), expected, rtol=1e-5)


def test_cross_entropy_of_huge_logits_is_finite():
    logits = jnp.array([[1e30, -1e30]])
    np.testing.assert_array_equal(cross_entropy(logits, jnp.array([0])), [0])
    assert cross_entropy(logits, jnp.array([1]))[0] == jnp.float32(2e30)


@pytest.mark.parametrize(
    "logits", [[2.0, 2.0, 1.0], [np.nan, 0, 0], [0, np.nan, -1], [np.nan] * 3]
)
def test_a_tie_or_a_nan_is_an_error(logits):
    assert not is_correct(jnp.array([logits]), jnp.array([0]))[0]


def test_margin_has_the_gradient_of_the_two_logits_it_compares():
    gradient = jax.grad(lambda z: margin(z, jnp.array([1]))[0])(
        jnp.array([[3.0, 1.0, 2.0]])
    )
    np.testing.assert_array_equal(gradient, [[1, -1, 0]])
