"""Checks of the properties of a net that attacks rely on.

finding = batch(subject)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax.attacks.losses import DLR_CLASSES, LOSSES, TARGETED_DLR_CLASSES
from symjax.attacks.sanity.subject import (
    AuditTarget,
    DoesNotApply,
    Finding,
    at_least,
    at_most,
    compiled,
    evaluate,
)

ONE = 1e-3  # the largest difference of a sum of probabilities from 1, in any dtype
REPEATED = 3  # the number of calls on the same batch
REPEATS = 1e-5
"""The largest difference between these calls, relative to the largest logit: ours. For
a deterministic net it is 0, up to the order of sums on an accelerator (1e-7 in
float32)."""
SMALL = 8  # images that are also given to the net uncompiled, and one by one
BATCH = {4: 1e-3, 2: 5e-2}
"""The largest difference between batches, relative to the largest logit, by the bytes
of a logit: ours. Programs for other batch sizes round differently, by 1e-6 in float32
and 1e-2 in bfloat16."""


def classes(subject: AuditTarget) -> Finding:
    """The net has three classes for the DLR loss, or four for its targeted form."""
    count = subject.logits.shape[1]
    if subject.loss == "dlr":
        return at_least(DLR_CLASSES, count, "classes, for the loss that is attacked")
    if count < TARGETED_DLR_CLASSES:
        raise DoesNotApply(
            f"PGD ascends the {subject.loss}; AutoAttack's targeted DLR is not defined "
            f"for {count} classes"
        )
    return at_least(TARGETED_DLR_CLASSES, count, "classes, for AutoAttack's DLR losses")


def probabilities(subject: AuditTarget) -> Finding:
    """The outputs are logits: for probabilities, the gradients of a loss vanish."""
    logits = np.asarray(subject.logits, np.float64)
    positive = (logits >= 0).all(axis=1)
    fraction = np.mean(positive & (np.abs(logits.sum(axis=1) - 1) < ONE))
    return at_most(0.0, fraction, "fraction of outputs that are positive and sum to 1")


def randomness(subject: AuditTarget) -> Finding:
    """The logits of the same batch are the same, compiled or not."""
    few = subject.images[:SMALL]
    largest = 0.0
    for call, images in (
        (_call(subject.net), subject.images),
        (subject.logits_fn, few),
    ):
        logits = [np.asarray(call(images)) for _ in range(REPEATED)]
        largest = max(largest, *(_difference(logits[0], other) for other in logits[1:]))
    detail = "difference between calls, relative to the largest logit"
    return at_most(REPEATS, largest, detail)


def batch(subject: AuditTarget) -> Finding:
    """The logits of an image do not depend on the rest of the batch or its order.

    Reversing the batch reveals noise with a fixed key; a batch size of 1 reveals batch
    norm in training mode.
    """
    logits, call = np.asarray(subject.logits), _call(subject.net)
    reverse = _difference(logits, np.asarray(call(subject.images[::-1]))[::-1])
    few = min(SMALL, len(logits))
    single = [np.asarray(call(subject.images[i : i + 1]))[0] for i in range(few)]
    alone = _difference(logits[:few], np.stack(single))
    detail = (
        f"relative to the largest logit: {reverse:.1e} in reverse order, {alone:.1e} "
        "at batch size 1"
    )
    limit = BATCH[min(4, logits.dtype.itemsize)]
    return at_most(limit, max(reverse, alone), detail)


def margin_gradients(subject: AuditTarget) -> Finding:
    """The gradient of the margin is finite and not zero, for every image."""
    return _flat(subject, "margin")


def loss_gradients(subject: AuditTarget) -> Finding:
    """The loss that the attack ascends is not saturated, for any image."""
    if subject.loss == "margin":
        raise DoesNotApply("PGD ascends the margin itself")
    return _flat(subject, subject.loss)


def _flat(subject: AuditTarget, loss: str) -> Finding:
    if subject.no_gradient:
        return at_most(0.0, 1.0, subject.no_gradient)
    subject.needs_gradient(loss)
    call = subject.net, subject.images, subject.labels
    largest = np.asarray(compiled(_largest_gradient, "loss")(*call, loss=loss))
    flat = (largest == 0) | ~np.isfinite(largest)
    detail = f"fraction where the gradient of the {loss} is exactly zero, or not finite"
    return at_most(0.0, subject.fraction(flat), detail)


def _largest_gradient(net: Partial, images: Array, labels: Array, loss: str) -> Array:
    """The largest absolute entry of each image's gradient, `[B]`."""
    gradients = jax.grad(lambda x: jnp.sum(LOSSES[loss](net(x), labels)))(images)
    return jnp.max(jnp.abs(gradients), axis=(1, 2, 3))


def _call(net: Partial):
    return lambda images: compiled(evaluate)(net, images)


def _difference(logits: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, relative to the largest logit."""
    first, second = logits.astype(np.float64), other.astype(np.float64)
    scale = np.abs(first).max()
    return float(np.abs(first - second).max() / (scale if scale > 0 else 1.0))
