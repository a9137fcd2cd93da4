"""Losses that attacks ascend, and correctness: one value per image.

margin(logits, labels) < 0                       # correctly classified
LOSSES["dlr"](logits, labels)                    # away from the label
TARGETED["dlr"](logits, labels, targets)         # towards a target
"""

import jax
import jax.numpy as jnp
from jax import Array

DLR_CLASSES, TARGETED_DLR_CLASSES = 3, 4
"""The smallest number of classes for which the losses are defined."""
TINY = 1e-12  # added to the DLR's denominators, as in the reference implementation


def margin(logits: Array, labels: Array) -> Array:
    """The largest wrong logit minus the label's, `-min_j g_{c,j}` of Definition 3.

    Args:
      logits: `[B, K]`, K of 2 or more.
      labels: `[B]`, integers in [0, K).

    Returns:
      `[B]`; negative where the image is classified correctly.
    """
    is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    correct = jnp.sum(jnp.where(is_label, logits, 0.0), axis=-1)
    return jnp.max(jnp.where(is_label, -jnp.inf, logits), axis=-1) - correct


def cross_entropy(logits: Array, labels: Array) -> Array:
    """`-log softmax(logits)[label]`, `[B]`. Arguments as in `margin`."""
    return -_pick(jax.nn.log_softmax(logits), labels)


def dlr(logits: Array, labels: Array) -> Array:
    """Difference of logits ratio, `margin / (z_1 - z_3)` of sorted logits, `[B]`.

    It does not change when the logits are scaled or shifted. Arguments as in `margin`.

    Raises:
      ValueError: if there are fewer than three classes.

    References:
      Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
      Diverse Parameter-free Attacks, ICML 2020, Equation 6.
    """
    largest = _largest(logits, DLR_CLASSES, "dlr")
    return margin(logits, labels) / (largest[:, 0] - largest[:, 2] + TINY)


def targeted_cross_entropy(logits: Array, labels: Array, targets: Array) -> Array:
    """`log softmax(logits)[target]`, `[B]`. Arguments as in `targeted_dlr`."""
    del labels
    return -cross_entropy(logits, targets)


def targeted_margin(logits: Array, labels: Array, targets: Array) -> Array:
    """`z_target - z_label`, `[B]`. Arguments as in `targeted_dlr`."""
    return _pick(logits, targets) - _pick(logits, labels)


def targeted_dlr(logits: Array, labels: Array, targets: Array) -> Array:
    """`(z_target - z_label) / (z_1 - (z_3 + z_4) / 2)` of sorted logits, `[B]`.

    Args:
      logits: `[B, K]`, K of 4 or more.
      labels, targets: `[B]`, integers in [0, K).

    Raises:
      ValueError: if there are fewer than four classes.

    References:
      Croce and Hein, ICML 2020, Equation 7.
    """
    largest = _largest(logits, TARGETED_DLR_CLASSES, "targeted dlr")
    scale = largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2
    return targeted_margin(logits, labels, targets) / (scale + TINY)


def is_correct(logits: Array, labels: Array) -> Array:
    """Whether the label's logit is the single largest, `[B]`; a tie is an error."""
    return margin(logits, labels) < 0


def largest_margin(logits: Array, labels: Array) -> Array:
    """`margin`, with infinity in place of NaN, so that a NaN counts as an error."""
    margins = margin(logits, labels)
    return jnp.where(jnp.isnan(margins), jnp.inf, margins)


def ranked_class(logits: Array, rank: int | Array) -> Array:
    """The class with the rank-th largest logit, `[B]`; rank 1 is the prediction."""
    order = jnp.argsort(logits, axis=-1)
    return jnp.take(order, logits.shape[-1] - rank, axis=-1)


def pick_loss(loss: str, targeted: bool = False):
    """The loss with this name, or its targeted form.

    Raises:
      ValueError: for an unknown name.
    """
    known = TARGETED if targeted else LOSSES
    if loss not in known:
        raise ValueError(f"loss={loss!r}: expected one of {list(known)}.")
    return known[loss]


def _pick(values: Array, classes: Array) -> Array:
    return jnp.take_along_axis(values, classes[:, None], axis=-1)[:, 0]


def _largest(logits: Array, count: int, name: str) -> Array:
    classes = logits.shape[-1]
    if classes < count:
        raise ValueError(
            f"loss={name!r} needs {count} classes or more, and the net has {classes}: "
            "use 'margin' or 'cross_entropy'."
        )
    return jax.lax.top_k(logits, count)[0]


LOSSES = {"cross_entropy": cross_entropy, "dlr": dlr, "margin": margin}
TARGETED = {
    "cross_entropy": targeted_cross_entropy,
    "dlr": targeted_dlr,
    "margin": targeted_margin,
}
