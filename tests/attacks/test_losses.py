"""Losses of the attacks, and what counts as correct."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.attacks import cross_entropy, dlr, is_correct, margin
from symjax.attacks.losses import LOSSES, TARGETED, ranked_class

LOGITS = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32) * 3
LABELS = np.random.default_rng(1).integers(0, 5, 20)
TARGETS = (LABELS + np.random.default_rng(2).integers(1, 5, 20)) % 5
ROWS = np.arange(20)


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


def test_dlr_is_the_equation_of_its_paper():
    """Equation 6 is -(z_y - max z_i) / (z_pi1 - z_pi3), of sorted logits."""
    wrong = LOGITS.copy()
    wrong[ROWS, LABELS] = -np.inf
    down = -np.sort(-LOGITS, axis=1)
    expected = (wrong.max(axis=1) - LOGITS[ROWS, LABELS]) / (down[:, 0] - down[:, 2])
    np.testing.assert_allclose(dlr(LOGITS, LABELS), expected, rtol=1e-5)
    np.testing.assert_allclose(dlr(7 * LOGITS + 3, LABELS), expected, rtol=1e-4)
    right = expected < 0
    assert (expected[right] >= -1).all() and 0 < right.sum() < 20


def test_targeted_losses_are_their_equations():
    towards, away = LOGITS[ROWS, TARGETS], LOGITS[ROWS, LABELS]
    down = -np.sort(-LOGITS, axis=1)
    share = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
    expected = {
        "cross_entropy": share[ROWS, TARGETS],
        "dlr": (towards - away) / (down[:, 0] - (down[:, 2] + down[:, 3]) / 2),
        "margin": towards - away,
    }
    assert set(expected) == set(TARGETED)
    for name, values in expected.items():
        found = TARGETED[name](LOGITS, LABELS, TARGETS)
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("losses", "classes"), [(LOSSES, 2), (TARGETED, 3)])
def test_dlr_refuses_too_few_classes(losses, classes):
    about = (LABELS % classes,) * (1 if losses is LOSSES else 2)
    with pytest.raises(ValueError, match=f"and the net has {classes}: use 'margin'"):
        losses["dlr"](jnp.asarray(LOGITS[:, :classes]), *about)


def test_ranked_class_counts_from_the_largest_logit():
    for rank in range(1, 6):
        found = ranked_class(jnp.asarray(LOGITS), rank)
        larger = (LOGITS > LOGITS[ROWS, found][:, None]).sum(axis=1)
        np.testing.assert_array_equal(larger, rank - 1)
