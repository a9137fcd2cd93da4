"""Minimum-norm attacks: DeepFool and the attack of Carlini and Wagner.

    result = deepfool(logits_fn, images, labels, None, attacks.L2(jnp.inf))
    result.distance                # to the closest error, inside the ball or not

See Moosavi-Dezfooli et al. 2016, and Carlini and Wagner 2017. Both attacks minimize the
distance to the nearest error; eps only decides which errors count against `robust`.
Inside `jax.jit` all settings may be traced: another value needs no new compilation.
"""

import functools

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from symjax.attacks import boundary
from symjax.attacks.entry import attack
from symjax.attacks.losses import largest_margin, margin
from symjax.attacks.result import AttackResult, LogitsFn, select
from symjax.attacks.threat import ROUNDING, ThreatModel

# As in Carlini and Wagner's code:
INSIDE = 0.9999995  # pixels are kept within this fraction of the bounds' half-width
HIGHEST = 1e10  # the upper limit of the constant before any error
LOOKS = 10  # how often a search checks whether its loss has decreased
IMPROVED = 0.9999  # a search goes on below this fraction of the last checked loss


@attack(norms=("l2", "linf"), one_radius=True, infinite_eps=True, optional=("key",))
def deepfool(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array | None,
    threat: ThreatModel,
    steps: int = 50,
    overshoot: ArrayLike = 0.02,
) -> AttackResult:
    """Steps to the nearest boundary of the linearized net until the image is broken.

    With `f_k` the logit of class k minus the label's, a step has the length
    `min_k |f_k| / ||grad f_k||_dual` and the direction of steepest ascent in the
    threat's norm. As in the authors' code, the net is linearized at
    `x + (1 + overshoot) r`, where r is the sum of the steps, and each step is slightly
    longer, so that rounding does not decide. The added length is the norm of an image
    whose pixels are all 1e-6 of the threat's `span`, which is 1 for images in [0, 1];
    the authors add 1e-4. Unlike the authors' code, each point is clipped to the bounds,
    and all classes are considered, not only ten.

    Args:
      logits_fn, images, labels, key, threat: see `symjax.attacks`. The key is not used;
        the norm is l2 or linf and eps is one number. With an infinite eps, the attack
        minimizes the distance only.
      steps: the largest number of steps; each costs K backward passes.
      overshoot: the sum of all steps is lengthened by this fraction, not negative.

    Returns:
      An `AttackResult`. `distance` is the distance to the error, inside the ball or
      not; it is infinite if there is no error, and zero if the image itself is
      misclassified. `images` and `robust` count only errors inside the ball. An error
      outside of the ball is replaced by its projection onto the ball if the logits of
      that projection are NaN or infinite.

    Raises:
      ValueError: for l1, where the steepest step changes one pixel far beyond its
        bounds (Modas et al. 2019), if settings are out of range, or if images, labels
        or eps are invalid.

    References:
      Moosavi-Dezfooli et al., DeepFool: A Simple and Accurate Method to Fool Deep
      Neural Networks, CVPR 2016, Algorithm 2 and Section 3.3.
    """
    del key
    longest = threat.longest(images)
    rounding = jnp.broadcast_to(ROUNDING * threat.span(images), images.shape)
    extra = threat.lengths(rounding)

    def point(total):
        return threat.clip(images + (1 + overshoot) * total).astype(images.dtype)

    def unfinished(state):
        index, correct, *_ = state
        return (index < steps) & jnp.any(correct)

    def step(state):
        index, _, total, taken = state
        x = point(total)
        near = boundary.nearest(logits_fn, x, labels, threat)
        correct = largest_margin(near.logits, labels) < 0
        length = jnp.minimum(near.distance[:, None, None, None] + extra, longest)
        farther = select(correct, threat.ascend(total, near.normal, length), total)
        return index + 1, correct, farther, taken + correct

    everyone, none = jnp.full(len(images), True), jnp.zeros(len(images), jnp.int32)
    start = 0, everyone, jnp.zeros_like(images), none
    *_, total, taken = jax.lax.while_loop(unfinished, step, start)
    x = point(total)
    wrong = largest_margin(logits_fn(x), labels) >= 0
    distance = jnp.where(wrong, threat.distance(x, images), jnp.inf)
    classes = jax.eval_shape(logits_fn, images).shape[1]
    count = taken + 1, taken * classes
    return _result(logits_fn, x, distance, images, labels, threat, *count)


@attack(norms=("l2",), one_radius=True, infinite_eps=True, optional=("key",))
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
    """Minimizes `||x - image||^2 + c max(confidence - margin(x), 0)` by Adam over x.

    x is `tanh(w)` scaled to the bounds, so that w is unconstrained. The constant c is
    searched for each image: it is multiplied by ten until there is an error, and then
    bisected. In this loss, distances are divided by the width of the bounds, so that c
    and the learning rate have the same meaning for any range of pixels; in the authors'
    code the width is 1. The defaults are those of the authors' code, and they are
    expensive: up to 90,000 gradients. Unlike in the authors' code, each image stops
    early independently, so that its result does not depend on its batch, and distances
    are measured to the image itself.

    Args:
      logits_fn, images, labels, key, threat: as in `deepfool`; the norm is l2.
      steps: the largest number of points that are evaluated for one value of c,
        including the image.
      binary_searches: the number of values of c that are tried.
      confidence: the margin of the logits that an error must have, not negative; an
        image that is misclassified without an attack is an error in any case.
      learning_rate: learning rate of Adam, positive. The first step has a length of at
        most `learning_rate sqrt(HWC) / 2` times the width of the bounds; the distance
        of errors much closer than that is overestimated.
      initial_constant: the first c, positive.
      abort_early: end the search for an image if its loss has not decreased by 0.01 %
        within a tenth of the steps.

    Returns:
      An `AttackResult`, as in `deepfool`.

    Raises:
      ValueError: for another norm, if settings are out of range, or if images, labels
        or eps are invalid.

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
        best, error = _minimize(loss_fn, _to_free(images, threat), best, settings)
        low = jnp.where(error, low, jnp.maximum(low, constant))
        high = jnp.where(error, jnp.minimum(high, constant), high)
        tenfold = jnp.minimum(10 * constant, HIGHEST)
        return best, low, high, jnp.where(high < HIGHEST, (low + high) / 2, tenfold)

    wrong = largest_margin(logits_fn(images), labels) >= 0
    zero = jnp.zeros(len(images), images.dtype)
    best = images, jnp.where(wrong, 0.0, jnp.inf), jnp.zeros(len(images), jnp.int32)
    start = best, zero, zero + HIGHEST, zero + initial_constant
    best, *_ = jax.lax.fori_loop(0, binary_searches, search, start)
    closest, distance, taken = best
    count = taken + 1, taken
    return _result(logits_fn, closest, distance, images, labels, threat, *count)


def _result(
    logits_fn, closest, distance, images, labels, threat, queries, gradients
) -> AttackResult:
    """The result with the closest errors, or projections with logits not finite."""
    is_error = jnp.isfinite(distance)
    inside = is_error & (distance <= threat.eps)
    edge = threat.project(closest, images)
    nearer = jnp.minimum(threat.distance(edge, images), threat.eps)  # despite rounding
    lost = is_error & ~inside & boundary.is_lost(logits_fn(edge), labels)
    return AttackResult(
        images=select(lost, edge, select(inside, closest, images)),
        robust=~(inside | lost),
        distance=jnp.where(lost, nearer, distance),
        queries=queries + lost,
        gradients=gradients,
    )


def _objective(logits_fn, images, labels, threat, confidence, constant, w):
    """The sum of the losses; and of each image, loss, x and distance (if an error)."""
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


def _minimize(objective, w: Array, best, settings):
    """Runs Adam; returns the closest errors, and whether there were any, `[B]`."""
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

    searching = best[1] > 0  # not for images that are misclassified without an attack
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
