"""Minimum-norm attacks: DeepFool and the attack of Carlini and Wagner.

    result = deepfool(logits_fn, images, labels, None, attacks.L2(jnp.inf))
    result.distance                # of the closest error found, in the ball or not

Moosavi-Dezfooli et al. 2016, and Carlini and Wagner 2017. Both ask how far the nearest
error is, whatever eps; eps only decides which errors count against `robust`. Inside
`jax.jit` all settings may be traced: another value compiles nothing.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from symjax.attacks import boundary
from symjax.attacks.entry import attack
from symjax.attacks.losses import largest_margin, margin
from symjax.attacks.result import (
    AttackResult,
    LogitsFn,
    select,
)
from symjax.attacks.threat import ROUNDING, ThreatModel

LEAST = 1e-10  # of what has to be positive
# As in Carlini and Wagner's code:
INSIDE = 0.9999995  # of the way to the bounds, where arctanh is finite
HIGHEST = 1e10  # a constant that was never tried
LOOKS = 10  # at the loss in a search, to stop where it has not gone down
IMPROVED = 0.9999


def _check_deepfool(classes: int, steps: ArrayLike, overshoot: ArrayLike) -> None:
    del classes
    _at_least("deepfool", 1, steps=steps)
    _at_least("deepfool", 0, overshoot=overshoot)


def _check_carlini_wagner(
    classes: int,
    steps: ArrayLike,
    binary_searches: ArrayLike,
    confidence: ArrayLike,
    abort_early: ArrayLike,
    **positive: ArrayLike,
) -> None:
    del classes, abort_early
    name = "carlini_wagner"
    _at_least(name, 1, steps=steps, binary_searches=binary_searches)
    _at_least(name, 0, confidence=confidence)
    _at_least(name, LEAST, **positive)


@attack(
    check=_check_deepfool,
    norms=("l2", "linf"),
    one_radius=True,
    infinite_eps=True,
    optional=("key",),
)
def deepfool(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array | None,
    threat: ThreatModel,
    steps: int = 50,
    overshoot: ArrayLike = 0.02,
) -> AttackResult:
    """Step after step to the nearest boundary of the linearised net, until past it.

    With `f_k` the logit of class k minus the label's, a step has the length
    `min_k |f_k| / ||grad f_k||_dual` and is steepest in the threat's norm. As in the
    authors' code the net is linearised at `x + (1 + overshoot) r`, with r the sum of
    the steps, and each step is a little longer, so that rounding does not decide: by
    the norm of 1e-6 in all pixels, of images in [0, 1] (of the threat's `span` in
    others); there, by 1e-4. Unlike there, each point is clipped to the bounds, and all
    classes are looked at, not ten of them.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, within the threat's bounds.
      labels: `[B]`, integers in [0, K).
      key: not used; there so that all attacks are called alike.
      threat: an "l2" or "linf" ball, of one eps, and bounds; an infinite eps asks for
        the distance alone.
      steps: at most; each costs K backward passes.
      overshoot: of the sum of all steps, as a fraction, not negative.

    Returns:
      An `AttackResult`: `distance` is that of the error found, in the ball or not,
      infinite where there was none, and zero where the image was misclassified;
      `images` and `robust` take those inside the ball alone. An error outside of the
      ball is replaced by its projection onto the ball where that has logits that are
      NaN or infinite.

    Raises:
      ValueError: for l1, where the steepest step is one pixel far beyond its bounds
        (Modas et al. 2019), if settings are out of range, or if images, labels or an
        eps cannot be.

    References:
      Moosavi-Dezfooli et al., DeepFool: A Simple and Accurate Method to Fool Deep
      Neural Networks, CVPR 2016, Algorithm 2 and Section 3.3.
    """
    del key
    whole = threat.longest(images)
    little = ROUNDING * threat.span(images)
    little = threat.lengths(jnp.broadcast_to(little, images.shape))

    def moved(total):
        return threat.clip(images + (1 + overshoot) * total).astype(images.dtype)

    def unfinished(state):
        index, correct, *_ = state
        return (index < steps) & jnp.any(correct)

    def step(state):
        index, _, total, taken = state
        x = moved(total)
        near = boundary.nearest(logits_fn, x, labels, threat)
        correct = largest_margin(near.logits, labels) < 0
        length = jnp.minimum(near.distance[:, None, None, None] + little, whole)
        farther = select(correct, threat.ascend(total, near.normal, length), total)
        return index + 1, correct, farther, taken + correct

    everyone, none = jnp.full(len(images), True), jnp.zeros(len(images), jnp.int32)
    start = 0, everyone, jnp.zeros_like(images), none
    *_, total, taken = jax.lax.while_loop(unfinished, step, start)
    x = moved(total)
    wrong = largest_margin(logits_fn(x), labels) >= 0
    distance = jnp.where(wrong, threat.distance(x, images), jnp.inf)
    classes = jax.eval_shape(logits_fn, images).shape[1]
    count = taken + 1, taken * classes
    return _result(logits_fn, x, distance, images, labels, threat, *count)


@attack(
    check=_check_carlini_wagner,
    norms=("l2",),
    one_radius=True,
    infinite_eps=True,
    optional=("key",),
)
def carlini_wagner(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array | None,
    threat: ThreatModel,
    steps: int = 10_000,
    binary_searches: int = 9,
    confidence: ArrayLike = 0.0,
    learning_rate: float | Array = 0.01,
    initial_constant: ArrayLike = 1e-3,
    abort_early: bool = True,
) -> AttackResult:
    """Adam on `||x - image||^2 + c max(confidence - margin(x), 0)`, and the best c.

    x is `tanh(w)` stretched onto the bounds, so that w is free. Each image has a c of
    its own: tenfold until there is an error, then by bisection. In this loss, distances
    are divided by the width of the bounds, as in the authors' code, whose images are 1
    wide: c and the learning rate mean the same in any unit. The defaults are those
    of the authors' code, and expensive: up to 90,000 gradients. Unlike there, each
    image stops early on its own, so that its outcome does not depend on its batch, and
    distances are to the image itself.

    Args:
      logits_fn, images, labels, key: as in `deepfool`.
      threat: an "l2" ball, of one eps, and bounds; an infinite eps asks for the
        distance alone.
      steps: points that a search looks at, the image first; at most.
      binary_searches: values of c that are tried.
      confidence: margin of the logits an error needs, not negative; an image that is
        misclassified already is an error all the same.
      learning_rate: of Adam, positive. Its first step is `learning_rate sqrt(HWC) / 2`
        of the bounds' width long or less; errors much closer than that come out too
        far away.
      initial_constant: the first c, positive.
      abort_early: end a search for an image where in a tenth of the steps its loss has
        not gone down by 0.01 %.

    Returns:
      An `AttackResult`, as `deepfool` does.

    Raises:
      ValueError: for another norm, if settings are out of range, or if images, labels
        or an eps cannot be.

    References:
      Carlini and Wagner, Towards Evaluating the Robustness of Neural Networks, IEEE
      Symposium on Security and Privacy 2017, Sections V and VI.A.
    """
    del key
    settings = steps, learning_rate, abort_early
    objective = functools.partial(
        _objective, logits_fn, images, labels, threat, confidence
    )

    def search(_, state):
        best, low, high, constant = state
        loss_fn = functools.partial(objective, constant)
        best, found = _minimise(loss_fn, _to_free(images, threat), best, settings)
        low = jnp.where(found, low, jnp.maximum(low, constant))
        high = jnp.where(found, jnp.minimum(high, constant), high)
        tenfold = jnp.minimum(10 * constant, HIGHEST)
        return best, low, high, jnp.where(high < HIGHEST, (low + high) / 2, tenfold)

    wrong = largest_margin(logits_fn(images), labels) >= 0
    zero = jnp.zeros(len(images), images.dtype)
    best = images, jnp.where(wrong, 0.0, jnp.inf), jnp.zeros(len(images), jnp.int32)
    start = best, zero, zero + HIGHEST, zero + initial_constant
    best, *_ = jax.lax.fori_loop(0, binary_searches, search, start)
    found, distance, taken = best
    count = taken + 1, taken
    return _result(logits_fn, found, distance, images, labels, threat, *count)


def _result(
    logits_fn, found, distance, images, labels, threat, queries, gradients
) -> AttackResult:
    """The error found; or its projection onto the ball, where logits are not finite."""
    is_error = jnp.isfinite(distance)
    inside = is_error & (distance <= threat.eps)
    edge = threat.project(found, images)
    nearer = jnp.minimum(threat.distance(edge, images), threat.eps)  # but for rounding
    lost = is_error & ~inside & boundary.is_lost(logits_fn(edge), labels)
    return AttackResult(
        images=select(lost, edge, select(inside, found, images)),
        robust=~(inside | lost),
        distance=jnp.where(lost, nearer, distance),
        queries=queries + lost,
        gradients=gradients,
    )


def _objective(logits_fn, images, labels, threat, confidence, constant, w):
    """The loss of all images; of each, loss, x, and the distance if x is an error."""
    low, high = threat.limits(images)
    x = _to_pixels(w, threat).astype(images.dtype)
    logits = logits_fn(x)
    hinge = jnp.maximum(confidence - margin(logits, labels), 0.0)
    relative = (x - images) / jnp.max(high - low)
    squares = jnp.sum(jnp.square(relative), axis=(1, 2, 3))
    losses = squares + constant * hinge
    error = largest_margin(logits, labels) >= confidence
    distance = jnp.where(error, threat.distance(x, images), jnp.inf)
    return jnp.sum(losses), (losses, x, distance)


def _minimise(objective, w: Array, best, settings):
    """A run of Adam: the closest errors so far, and where it saw any, `[B]`."""
    steps, learning_rate, abort_early = settings
    adam = optax.adam(learning_rate)
    every = jnp.maximum(steps // LOOKS, 1)

    def unfinished(state):
        index, _, searching, *_ = state
        return (index < steps) & jnp.any(searching)

    def step(state):
        index, (w, moments), searching, before, seen, (closest, least, taken) = state
        gradients, (losses, x, distance) = jax.grad(objective, has_aux=True)(w)
        distance = jnp.where(searching, distance, jnp.inf)
        closest = select(distance < least, x, closest)
        best = closest, jnp.minimum(distance, least), taken + searching
        seen |= jnp.isfinite(distance)
        look = abort_early & (index % every == 0)
        searching &= ~look | (losses <= IMPROVED * before)
        before = jnp.where(look, losses, before)
        updates, moments = adam.update(boundary.finite(gradients), moments)
        free = optax.apply_updates(w, updates), moments
        return index + 1, free, searching, before, seen, best

    searching = best[1] > 0  # what was misclassified to begin with is not
    before = jnp.full(len(w), jnp.inf, w.dtype)
    start = 0, (w, adam.init(w)), searching, before, jnp.zeros_like(searching), best
    *_, seen, best = jax.lax.while_loop(unfinished, step, start)
    return best, seen


def _to_free(x: Array, threat: ThreatModel) -> Array:
    low, high = threat.limits(x)
    place = (x - low) / (high - low) * 2 - 1
    return jnp.arctanh(jnp.clip(place, -INSIDE, INSIDE))


def _to_pixels(w: Array, threat: ThreatModel) -> Array:
    low, high = threat.limits(w)
    return threat.clip(low + (jnp.tanh(w) + 1) / 2 * (high - low))


def _at_least(attack: str, least: float, **settings) -> None:
    for name, value in settings.items():
        if not isinstance(value, Tracer) and not least <= value < np.inf:
            raise ValueError(
                f"{attack}: {name}={value}: expected a finite number, {least} or more."
            )
