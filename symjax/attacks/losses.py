"""Losses an attack ascends, and what counts as correct, one value an image.

margin(logits, labels) < 0      # correctly classified
"""

import jax
import jax.numpy as jnp
from jax import Array


def margin(logits: Array, labels: Array) -> Array:
    """Largest wrong logit minus the label's, `-min_j g_{c,j}` of Definition 3.

    Args:
      logits: `[B, K]`, K of 2 or more.
      labels: `[B]`, integers in [0, K).

    Returns:
      `[B]`; negative where the label wins.
    """
    is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    correct = jnp.sum(jnp.where(is_label, logits, 0.0), axis=-1)
    return jnp.max(jnp.where(is_label, -jnp.inf, logits), axis=-1) - correct


def cross_entropy(logits: Array, labels: Array) -> Array:
    """`-log softmax(logits)[label]`, `[B]`. Arguments as in `margin`."""
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)[:, 0]


def is_correct(logits: Array, labels: Array) -> Array:
    """Whether the label's logit is the single largest, `[B]`; a tie is an error."""
    return margin(logits, labels) < 0


LOSSES = {"cross_entropy": cross_entropy, "margin": margin}
