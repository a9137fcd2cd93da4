"""Gradient attacks: FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018).

    result = pgd(logits_fn, images, labels, key, attacks.Linf(8 / 255), steps=40)
    robust_accuracy = result.robust.mean()

Both are pure and written for one model: `jax.jit` and the seed axis wrap them whole.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jax.typing import ArrayLike

from symjax.attacks.losses import LOSSES, margin
from symjax.attacks.threat import ThreatModel

LogitsFn = Callable[[Array], Array]
Keep = Literal["best", "last"]


@struct.dataclass
class AttackResult:
    """What every attack returns, for B images.

    Attributes:
      images: `[B, H, W, C]`, inside the ball and the bounds.
      robust: `[B]`, bool: the returned image is classified correctly.
      distance: `[B]`, of the returned from the given image in the threat's norm.
      queries: `[B]`, int32, forward passes spent.
      gradients: `[B]`, int32, backward passes spent.
    """

    images: Array
    robust: Array
    distance: Array
    queries: Array
    gradients: Array


def fgsm(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array | None,
    threat: ThreatModel,
    loss: str = "cross_entropy",
) -> AttackResult:
    """One step of length eps from the image itself: `x + eps sign(grad loss)` in linf.

    An image that is misclassified already is returned as it is.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, within the threat's bounds.
      labels: `[B]`, integers in [0, K).
      key: not used; there so that all attacks are called alike.
      threat: ball and bounds.
      loss: "cross_entropy" or "margin".

    Returns:
      An `AttackResult`.

    References:
      Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015.
    """
    del key
    gradients, clean = _gradient_fn(logits_fn, labels, loss)(images)
    moved = threat.project(threat.ascend(images, gradients, threat.eps), images)
    correct = clean < 0
    found = jnp.where(correct[:, None, None, None], moved, images)
    moved_margin = _nan_is_an_error(margin(logits_fn(moved), labels))
    found_margin = jnp.where(correct, moved_margin, clean)
    return _result((found, found_margin), images, threat, queries=2, gradients=1)


def pgd(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    steps: int = 40,
    step_size: ArrayLike | None = None,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "cross_entropy",
    keep: Keep = "best",
) -> AttackResult:
    """Projected gradient ascent on the loss, inside the ball and the bounds.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, within the threat's bounds.
      labels: `[B]`, integers in [0, K).
      key: for the random starts.
      threat: ball and bounds.
      steps: gradient steps of a restart.
      step_size: pixel units, scalar or `[C]`; `2.5 eps / steps` if None.
      restarts: independent runs; the best over all of them is returned.
      random_start: start uniformly in the ball; otherwise, at the image.
      loss: "cross_entropy" or "margin".
      keep: "best": of the image itself and all iterates of all restarts, the one with
        the largest margin loss. "last": the last iterate (of several restarts, the last
        with the largest margin loss), as in training and in much published code.

    Returns:
      An `AttackResult`.

    Raises:
      ValueError: if steps or restarts are not positive, or for another loss or keep.

    References:
      Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks,
      ICLR 2018.
    """
    _check(steps, restarts, keep)
    gradient_fn = _gradient_fn(logits_fn, labels, loss)
    step = 2.5 / steps * jnp.asarray(threat.eps) if step_size is None else step_size
    nowhere = jnp.full(len(images), -jnp.inf)

    def ascend(_, carry):
        x, best = carry
        gradients, loss_now = gradient_fn(x)
        if keep == "best":
            best = _larger(best, (x, loss_now))
        return threat.project(threat.ascend(x, gradients, step), images), best

    def restart(index, best):
        start_key = jax.random.fold_in(key, index)
        x = threat.start(start_key, images) if random_start else images
        x, best = jax.lax.fori_loop(0, steps, ascend, (x, best))
        return _larger(best, (x, _nan_is_an_error(margin(logits_fn(x), labels))))

    best = (images, nowhere)
    if keep == "best":
        best = images, _nan_is_an_error(margin(logits_fn(images), labels))
    best = jax.lax.fori_loop(0, restarts, restart, best)
    queries = restarts * (steps + 1) + (keep == "best")
    return _result(best, images, threat, queries, gradients=restarts * steps)


def _check(steps: int, restarts: int, keep: str) -> None:
    for name, value in (("steps", steps), ("restarts", restarts)):
        if value < 1:
            raise ValueError(f"pgd: {name}={value}: expected 1 or more.")
    if keep not in ("best", "last"):
        raise ValueError(f"pgd: keep={keep!r}: expected 'best' or 'last'.")


def _gradient_fn(logits_fn: LogitsFn, labels: Array, loss: str):
    """A function of the images: gradients of the loss, and margins `[B]`."""
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r}: expected one of {list(LOSSES)}.")

    def total(images):
        logits = logits_fn(images)
        return jnp.sum(LOSSES[loss](logits, labels)), margin(logits, labels)

    def gradient(images):
        gradients, found = jax.grad(total, has_aux=True)(images)
        return jnp.nan_to_num(gradients), _nan_is_an_error(found)

    return gradient


def _nan_is_an_error(margins: Array) -> Array:
    return jnp.where(jnp.isnan(margins), jnp.inf, margins)


def _larger(old, new):
    """Per image, `new` where its margin is larger; NaN never wins."""
    (old_images, old_margin), (new_images, new_margin) = old, new
    wins = new_margin > old_margin
    images = jnp.where(wins[:, None, None, None], new_images, old_images)
    return images, jnp.where(wins, new_margin, old_margin)


def _result(best, images, threat, queries: int, gradients: int) -> AttackResult:
    found, found_margin = best
    return AttackResult(
        images=found,
        robust=found_margin < 0,
        distance=threat.distance(found, images),
        queries=jnp.full(len(images), queries, jnp.int32),
        gradients=jnp.full(len(images), gradients, jnp.int32),
    )
