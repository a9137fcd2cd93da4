"""Adam and its schedules, known in closed form where the gradient is constant."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from symjax.training import optimizer

SETTINGS = {
    "rate": 0.1,
    "schedule": "constant",
    "total_steps": 8,
    "decay_steps": 3,
    "decay_factor": 0.1,
    "weight_decay": 0.0,
}
PARAMS = {"kernel": jnp.array([[2.0, -1.0]]), "bias": jnp.array([3.0])}


def moves(tx, steps=8, gradients=jnp.ones_like):
    """What each step adds to the parameters, given their gradients."""
    params, opt_state, added = PARAMS, tx.init(PARAMS), []
    for _ in range(steps):
        now = jax.tree.map(gradients, params)
        updates, opt_state = tx.update(now, opt_state, params)
        params = optax.apply_updates(params, updates)
        added.append(updates)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *added)


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ("constant", lambda t: np.ones(9)),
        ("step", lambda t: 0.1 ** (t // 3)),
        ("cosine", lambda t: (1 + np.cos(np.pi * t / 8)) / 2),
    ],
)
def test_schedules(schedule, factor):
    # Adam divides a constant gradient by its own size: each step is the rate.
    added = moves(optimizer.build(**SETTINGS | {"schedule": schedule}), 9)
    expected = -0.1 * factor(np.arange(9))
    # float32 leaves 1 - 0.999^t, by which Adam divides, an error of 2e-5.
    np.testing.assert_allclose(added["bias"][:, 0], expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_it_is_adam_with_decay_of_kernels(weight_decay):
    mask = {"kernel": True, "bias": False}
    stock = optax.adamw(0.1, weight_decay=weight_decay, mask=mask)
    built = optimizer.build(**SETTINGS | {"weight_decay": weight_decay})
    found, expected = (moves(tx, gradients=jnp.sin) for tx in (built, stock))
    chex.assert_trees_all_close(found, expected, rtol=1e-4)  # as above
    assert len(np.unique(np.abs(expected["kernel"]))) > 8  # no two weights move alike
