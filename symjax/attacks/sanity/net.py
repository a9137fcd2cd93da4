"""Checks of the net: what an attack, and a number, take for granted.

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

ONE = 1e-3  # how near the sum of probabilities is to 1, in any dtype
REPEATS, REPEATED = 1e-5, 3
"""Of the largest logit, between calls on one batch: ours. A deterministic net gives 0,
up to sums in another order on an accelerator (1e-7 in float32)."""
SMALL = 8  # images that are also given to the net outside a program, and one by one
BATCH = {4: 1e-3, 2: 5e-2}
"""Of the largest logit, by the bytes of a logit: ours. Other batch sizes take other
programs, whose roundings differ by 1e-6 in float32 and 1e-2 in bfloat16."""


def classes(subject: AuditTarget) -> Finding:
    """DLR needs three logits, its targeted form four."""
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
    """A loss on logits is wrong for probabilities, and its gradients vanish."""
    logits = np.asarray(subject.logits, np.float64)
    positive = (logits >= 0).all(axis=1)
    share = np.mean(positive & (np.abs(logits.sum(axis=1) - 1) < ONE))
    return at_most(0.0, share, "share of outputs that are positive and sum to 1")


def randomness(subject: AuditTarget) -> Finding:
    """The same batch gives the same logits, in a program and outside of one."""
    few = subject.images[:SMALL]
    figure = 0.0
    for name, images in (("compiled", subject.images), ("as it is", few)):
        call = subject.logits_fn if name == "as it is" else _call(subject.net)
        logits = [np.asarray(call(images)) for _ in range(REPEATED)]
        figure = max(figure, *(_difference(logits[0], other) for other in logits[1:]))
    return at_most(REPEATS, figure, "difference between calls, of the largest logit")


def batch(subject: AuditTarget) -> Finding:
    """An image's logits do not depend on its place in the batch, nor on its company.

    The batch in reverse order finds noise of a fixed key; images one by one find batch
    norm in train mode.
    """
    logits, call = np.asarray(subject.logits), _call(subject.net)
    reverse = _difference(logits, np.asarray(call(subject.images[::-1]))[::-1])
    few = min(SMALL, len(logits))
    single = [np.asarray(call(subject.images[i : i + 1]))[0] for i in range(few)]
    alone = _difference(logits[:few], np.stack(single))
    detail = (
        f"of the largest logit: reversed {reverse:.1e}, at batch size 1 {alone:.1e}"
    )
    limit = BATCH[min(4, logits.dtype.itemsize)]
    return at_most(limit, max(reverse, alone), detail)


def margin_gradients(subject: AuditTarget) -> Finding:
    """Every image has a direction to go in."""
    return _flat(subject, "margin")


def loss_gradients(subject: AuditTarget) -> Finding:
    """The loss that is ascended is not saturated."""
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
    detail = f"share where the gradient of the {loss} is exactly zero, or not finite"
    return at_most(0.0, subject.share(flat), detail)


def _largest_gradient(net: Partial, images: Array, labels: Array, loss: str) -> Array:
    """The largest absolute entry of each image's gradient, `[B]`."""
    gradients = jax.grad(lambda x: jnp.sum(LOSSES[loss](net(x), labels)))(images)
    return jnp.max(jnp.abs(gradients), axis=(1, 2, 3))


def _call(net: Partial):
    return lambda images: compiled(evaluate)(net, images)


def _difference(logits: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, of the largest logit."""
    first, second = logits.astype(np.float64), other.astype(np.float64)
    scale = np.abs(first).max()
    return float(np.abs(first - second).max() / (scale if scale > 0 else 1.0))
