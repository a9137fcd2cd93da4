"""FAB, the fast adaptive boundary attack (Croce and Hein 2020b): small perturbations.

    result = fab(logits_fn, images, labels, key, attacks.L2(0.5), targeted=True)
    result.distance                # to the closest error, inside the ball or not

A step projects both the current point and the image onto the linearized decision
boundary, and takes a weighted mean of the two projections. From a misclassified point,
the attack then moves part of the way back to the image.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from symjax.attacks import boundary, iterative, projection
from symjax.attacks.entry import attack
from symjax.attacks.iterative import AttackInputs, Best
from symjax.attacks.losses import largest_margin, ranked_class
from symjax.attacks.result import AttackResult, LogitsFn, select
from symjax.attacks.threat import ThreatModel

SHORTEST = 1e-8  # lower limit of a projection's length, of the span of the pixels


STATIC = "steps", "targeted", "alpha_max", "eta", "beta"


@attack(*STATIC, one_radius=True, infinite_eps=True)
def fab(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    steps: int = 100,
    targeted: bool = False,
    rank: int | Array = 2,
    restart: int | Array = 0,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
) -> AttackResult:
    """Runs FAB once, to find the closest misclassified point of each image.

    Args:
      logits_fn, images, labels, key, threat: see `symjax.attacks`. The key is used if
        `restart` is not 0; eps is one number. With an infinite eps, the attack
        minimizes the distance only.
      steps: the number of gradient steps. A step costs K backward passes, or one if
        targeted.
      targeted: use only the boundary to the class given by `rank` (FAB-T).
      rank: the target is the class with the rank-th largest logit on the image; 2 is
        the most likely wrong class.
      restart: 0 starts at the image; any other number starts at a random point at half
        of eps from it.
      alpha_max: largest weight of the projection that starts from the image.
      eta: factor by which a step goes beyond the linearized boundary.
      beta: the fraction of the perturbation that is kept in the step back.

    Returns:
      An `AttackResult`. `distance` is the distance to the closest error, or infinite if
      there is none; `images` and `robust` count only errors inside the ball.

    Raises:
      ValueError: if settings are out of range, or images, labels or eps are invalid.

    References:
      Croce and Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive
      Boundary Attack, ICML 2020. As in the public reference implementation, there is no
      final search towards the image. Where a step reaches logits that are NaN or
      infinite outside of the ball, the next step starts from the projection of that
      point onto the ball.
    """
    run = FAB(steps, targeted, alpha_max, eta, beta)
    rank = rank if targeted else restart
    problem = AttackInputs(images, labels, key, threat, rank)
    state = iterative.run(run, logits_fn, problem)
    return state.best.result(problem).replace(distance=state.closest)


class _State(struct.PyTreeNode):
    best: Best
    x: Array
    closest: Array  # [B], distance to the closest error
    target: Array
    logit_difference: Array  # [B], wrong minus label's logit at x; 0 on the boundary
    normal: Array  # the gradient of logit_difference


@dataclasses.dataclass(frozen=True)
class FAB:
    """`fab` as an `IterativeAttack`; its attributes are the arguments of `fab`."""

    steps: int = 100
    targeted: bool = False
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def init(self, logits_fn: LogitsFn, problem: AttackInputs) -> _State:
        """The state at the image, or at a random point for a restart."""
        images = problem.images
        logits = logits_fn(images)
        clean = largest_margin(logits, problem.labels)
        x, target = images, problem.labels
        if problem.start is not None:
            x = problem.start
        elif not self.targeted:
            x = jnp.where(jnp.asarray(problem.rank) > 0, _random_start(problem), x)
        if self.targeted:
            target = ranked_class(logits, problem.rank)
        wrong = clean >= 0
        best = self._spend(Best.none(images).spend(1), logits.shape[1])
        best = best.offer(images, jnp.where(wrong, clean, -jnp.inf))
        closest = jnp.where(wrong, 0.0, jnp.inf)
        empty = jnp.zeros_like(closest), jnp.zeros_like(x)
        state = _State(best, x, closest, target, *empty)
        return self._linearize(logits_fn, problem, state)

    def propose(self, logits_fn, problem, index, state) -> tuple[_State, Array]:
        """A step onto the linearized boundary and a little beyond it."""
        del logits_fn, index
        images, threat, x = problem.images, problem.threat, state.x
        difference, normal = state.logit_difference, state.normal
        at_image = difference + _dot(normal, images - x)
        from_x = _to_hyperplane(threat, x, normal, difference)
        from_image = _to_hyperplane(threat, images, normal, at_image)
        shortest = SHORTEST * threat.span(images)
        length_x, length_image = (
            jnp.maximum(threat.lengths(d), shortest) for d in (from_x, from_image)
        )
        alpha = jnp.minimum(length_x / (length_x + length_image), self.alpha_max)
        x = (x + self.eta * from_x) * (1 - alpha) + (
            images + self.eta * from_image
        ) * alpha
        return state, threat.clip(x).astype(images.dtype)

    def update(self, logits_fn, problem, index, state, x) -> _State:
        """Keeps the closest error; moves an error part of the way back to the image."""
        del index
        images, threat = problem.images, problem.threat
        logits = logits_fn(x)
        margin = largest_margin(logits, problem.labels)
        distance = threat.distance(x, images)
        error = margin >= 0
        inside = distance <= threat.eps
        best = self._spend(state.best.spend(1), logits.shape[1])
        state = _take(state.replace(best=best), error, inside, x, margin, distance)
        after = select(error, images + (x - images) * self.beta, x)
        edge = boundary.is_lost(logits, problem.labels) & ~inside
        after = select(edge, threat.project(x, images), after)
        return self._linearize(logits_fn, problem, state.replace(x=after), edge)

    def _spend(self, best: Best, classes: int) -> Best:
        """Counts the passes of `_linearize`."""
        return best.spend(1, 1 if self.targeted else classes)

    def _linearize(self, logits_fn, problem, state: _State, edge=False) -> _State:
        """Computes the linearized boundary at x, to the nearest class or the target.

        A point in the ball, or on its `edge` up to rounding, whose logits are not
        finite is an error as well.
        """
        images, threat, x = problem.images, problem.threat, state.x
        call = logits_fn, x, problem.labels
        if self.targeted:
            near = boundary.targeted(*call, state.target, threat)
        else:
            near = boundary.nearest(*call, threat)
        distance = threat.distance(x, images)
        distance = jnp.where(edge, jnp.minimum(distance, threat.eps), distance)
        inside = distance <= threat.eps
        lost = boundary.is_lost(near.logits, problem.labels) & inside
        state = state.replace(
            logit_difference=near.logit_difference, normal=near.normal
        )
        return _take(state, lost, inside, x, jnp.inf, distance)


def _take(state: _State, error, inside, x, margin, distance) -> _State:
    """Replaces the best error of each image by a closer one, whatever its margin."""
    closer = error & (distance < state.closest)
    which, best = closer & inside, state.best
    best = best.replace(
        images=select(which, x, best.images),
        margin=jnp.where(which, margin, best.margin),
    )
    closest = jnp.where(closer, distance, state.closest)
    return state.replace(best=best, closest=closest)


def _to_hyperplane(threat: ThreatModel, x: Array, normal: Array, value: Array) -> Array:
    """The smallest step within the bounds to a zero of the linear function."""
    direction = -jnp.where(value >= 0, 1.0, -1.0)[:, None, None, None] * normal
    flat = normal.reshape(len(x), -1)
    room = threat.room(x, direction).reshape(len(x), -1)
    return projection.hyperplane(flat, value, room, threat.norm).reshape(x.shape)


def _random_start(problem: AttackInputs) -> Array:
    """A random point at half of eps, scaled as in the reference implementation."""
    images, threat = problem.images, problem.threat
    key = jax.random.fold_in(problem.key, problem.rank)
    if threat.norm == "linf":
        noise = jax.random.uniform(key, images.shape, images.dtype, -1.0, 1.0)
    else:
        noise = jax.random.normal(key, images.shape, images.dtype)
    radius = jnp.minimum(threat.eps, threat.longest(images)) / 2  # eps may be infinite
    x = images + radius * noise / threat.lengths(noise)
    return threat.clip(x).astype(images.dtype)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=(1, 2, 3))
