"""Gradient attacks: FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018).

result = pgd(logits_fn, images, labels, key, attacks.Linf(8 / 255), steps=40)
robust_accuracy = result.robust.mean()
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from symjax.attacks.entry import attack
from symjax.attacks.losses import largest_margin, pick_loss
from symjax.attacks.result import AttackResult, LogitsFn, larger, select
from symjax.attacks.threat import ThreatModel

Keep = Literal["best", "last"]


@attack("loss", optional=("key",))
def fgsm(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array | None,
    threat: ThreatModel,
    loss: str = "cross_entropy",
) -> AttackResult:
    """Takes one step of length eps from the image: `x + eps sign(grad loss)` in linf.

    An image that is already misclassified is returned unchanged.

    Args:
      logits_fn, images, labels, key, threat: see `symjax.attacks`; the key is not used.
      loss: "cross_entropy", "dlr" or "margin".

    Raises:
      ValueError: for an unknown loss, or invalid images, labels or eps.

    References:
      Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015.
    """
    del key
    gradients, clean = _gradient_fn(logits_fn, labels, loss)(images)
    x = threat.project(threat.ascend(images, gradients, threat.eps), images)
    correct = clean < 0
    margins = jnp.where(correct, largest_margin(logits_fn(x), labels), clean)
    best = select(correct, x, images), margins
    return _result(best, images, threat, queries=2, gradients=1)


@attack("steps", "n_restarts", "random_start", "loss", "keep", "momentum", "path")
def pgd(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    steps: int = 40,
    step_size: ArrayLike | None = None,
    n_restarts: int = 1,
    random_start: bool = True,
    loss: str = "cross_entropy",
    keep: Keep = "best",
    momentum: float = 0.0,
    targets: Array | None = None,
    path: bool = False,
) -> AttackResult | tuple[AttackResult, Array]:
    """Ascends the loss by projected gradient steps inside the ball and the bounds.

    In l1 a step changes the 1 % of pixels with the largest gradients (Tramèr and Boneh
    2019), among those that the bounds allow to change. This fraction is the same for
    all images, so the attack can end far from the optimum (`docs/attacks.md`).

    Args:
      logits_fn, images, labels, key, threat: see `symjax.attacks`.
      steps: the number of gradient steps per restart.
      step_size: in pixel units, a scalar or `[C]`; `2.5 eps / steps` if None.
      n_restarts: the number of independent runs; the best result of all is returned.
      random_start: start at a random point in the ball; otherwise, at the image.
      loss: "cross_entropy", "dlr" or "margin".
      keep: "best" returns the point with the largest margin loss, among the image
        itself and all iterates of all restarts. "last" returns the last iterate, as in
        training and in much published code; of several restarts, it returns the last
        iterate with the largest margin loss.
      momentum: momentum of the gradients, each divided by its l1 norm first (Dong et
        al. 2018).
      targets: `[B]`, target classes; the loss is then its targeted form. `keep` and
        `robust` still refer to the label.
      path: also return the margins of all points at which the net was evaluated.

    Returns:
      An `AttackResult`. With `path`, a pair of it and the margins `[Q, B]`: first those
      of the images (only with keep="best"), then those of the `steps + 1` iterates of
      each restart.

    Raises:
      ValueError: if steps or restarts are not positive, if momentum is not in [0, 1],
        for an unknown loss or keep, or for invalid images, labels or eps.

    References:
      Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks,
      ICLR 2018.
      Dong et al., Boosting Adversarial Attacks with Momentum, CVPR 2018.
    """
    if keep not in ("best", "last"):
        raise ValueError(f"pgd: keep={keep!r}: expected 'best' or 'last'.")
    gradient_fn = _gradient_fn(logits_fn, labels, loss, targets)
    step = 2.5 / steps * jnp.asarray(threat.eps) if step_size is None else step_size
    clean = jnp.full(len(images), -jnp.inf, images.dtype)

    def recorded(margins, *place, now):
        return margins.at[place].set(now.astype(margins.dtype)) if path else None

    def restart(number, carry):
        def ascend(index, carry):
            x, velocity, best, margins = carry
            gradients, now = gradient_fn(x)
            margins = recorded(margins, number, index, now=now)
            if keep == "best":
                best = larger(best, (x, now))
            if momentum:
                gradients = velocity = momentum * velocity + _unit_l1(gradients)
            x = threat.project(threat.ascend(x, gradients, step), images)
            return x, velocity, best, margins

        start_key = jax.random.fold_in(key, number)
        x = threat.start(start_key, images) if random_start else images
        velocity = jnp.zeros_like(images) if momentum else None
        begin = x, velocity, *carry
        x, _, best, margins = jax.lax.fori_loop(0, steps, ascend, begin)
        now = largest_margin(logits_fn(x), labels)
        return larger(best, (x, now)), recorded(margins, number, steps, now=now)

    if keep == "best":
        clean = largest_margin(logits_fn(images), labels)
    margins = jnp.zeros((n_restarts, steps + 1, len(images)), images.dtype)
    begin = (images, clean), margins if path else None
    best, margins = jax.lax.fori_loop(0, n_restarts, restart, begin)
    queries = n_restarts * (steps + 1) + (keep == "best")
    result = _result(best, images, threat, queries, gradients=n_restarts * steps)
    if not path:
        return result
    margins = margins.reshape(-1, len(images))
    if keep == "best":
        margins = jnp.concatenate([clean[None], margins])
    return result, margins


def _gradient_fn(logits_fn, labels: Array, loss: str, targets: Array | None = None):
    """A function from images to the gradients of the loss and the margins, `[B]`."""
    loss_fn = pick_loss(loss, targets is not None)
    about = (labels,) if targets is None else (labels, targets)

    def total(images):
        logits = logits_fn(images)
        return jnp.sum(loss_fn(logits, *about)), largest_margin(logits, labels)

    def gradient(images):
        gradients, margins = jax.grad(total, has_aux=True)(images)
        return jnp.nan_to_num(gradients), margins

    return gradient


def _unit_l1(gradients: Array) -> Array:
    length = jnp.sum(jnp.abs(gradients), axis=(1, 2, 3), keepdims=True)
    return gradients / jnp.maximum(length, jnp.finfo(gradients.dtype).tiny)


def _result(best, images, threat, queries: int, gradients: int) -> AttackResult:
    adversarial, margins = best
    return AttackResult(
        images=adversarial,
        robust=margins < 0,
        distance=threat.distance(adversarial, images),
        queries=jnp.full(len(images), queries, jnp.int32),
        gradients=jnp.full(len(images), gradients, jnp.int32),
    )
