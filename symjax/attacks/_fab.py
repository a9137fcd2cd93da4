"""FAB, the fast adaptive boundary attack (Croce and Hein 2020b): small perturbations.

    result = fab(logits_fn, images, labels, key, attacks.L2(0.5), targeted=True)
    result.distance                # of the closest error, in the ball or not

Each step goes to the decision boundary as the gradient says, from the point and from
the image, and mixes the two; from beyond the boundary it goes part of the way back.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from symjax.attacks import boundary, iterative, projection
from symjax.attacks.checks import one_number
from symjax.attacks.entry import attack
from symjax.attacks.iterative import AttackInputs, Best
from symjax.attacks.losses import largest_margin, ranked_class
from symjax.attacks.result import (
    AttackResult,
    LogitsFn,
    check_rank,
    select,
)
from symjax.attacks.threat import ThreatModel

SHORTEST = 1e-8  # projection, where two are compared; of the span of the pixels


def _check(classes: int, rank: int | Array, targeted: bool, **settings: Any) -> None:
    del settings
    check_rank(rank, classes, targeted)


@attack(
    "steps",
    "targeted",
    "alpha_max",
    "eta",
    "beta",
    check=_check,
    one_radius=True,
    infinite_eps=True,
)
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
    """One run of FAB.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, within the threat's bounds.
      labels: `[B]`, integers in [0, K).
      key: for the start of a restart.
      threat: ball and bounds, of one eps; an infinite one asks for the distance alone.
      steps: gradient steps. One costs K backward passes, or one where targeted.
      targeted: look at the boundary to the class of that rank alone (FAB-T).
      rank: that class has the rank-th largest logit on the image; 2 is the most likely
        wrong one.
      restart: 0 begins at the image; another, at random, half of eps away.
      alpha_max: largest weight of the step that begins at the image.
      eta: overshoot over the boundary.
      beta: what is kept of the perturbation on the way back.

    Returns:
      An `AttackResult`: `distance` is that of the closest error found, infinite where
      there was none; `images` and `robust` take those inside the ball alone.

    Raises:
      ValueError: if settings are out of range, or images, labels or an eps cannot be.

    References:
      Croce and Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive
      Boundary Attack, ICML 2020. As in the public reference implementation, there is no
      final search towards the image. Where a step meets logits that are NaN or infinite
      outside of the ball, the next one begins at its projection onto the ball.
    """
    run = FAB(steps, targeted, alpha_max, eta, beta)
    rank = rank if targeted else restart
    problem = AttackInputs(images, labels, key, threat, rank)
    state = iterative.run(run, logits_fn, problem)
    return state.best.result(problem).replace(distance=state.closest)


class _State(struct.PyTreeNode):
    best: Best
    x: Array
    closest: Array  # [B], distance of the closest error
    target: Array
    gap: Array  # [B], value of the nearest linearised boundary at x
    normal: Array  # its gradient


@dataclasses.dataclass(frozen=True)
class FAB:
    """`fab` step by step; attributes as its arguments."""

    steps: int = 100
    targeted: bool = False
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"fab: steps={self.steps}: expected 1 or more.")
        for name, value in (("alpha_max", self.alpha_max), ("beta", self.beta)):
            if not 0 <= value <= 1:
                raise ValueError(f"fab: {name}={value}: expected 0 to 1.")
        if self.eta < 1:
            raise ValueError(f"fab: eta={self.eta}: expected 1 or more.")

    def init(self, logits_fn: LogitsFn, problem: AttackInputs) -> _State:
        """At the image, or for a restart at random."""
        one_number("fab", problem.threat)
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
        return self._linearise(logits_fn, problem, state)

    def propose(
        self, logits_fn: LogitsFn, problem: AttackInputs, index: Array, state: _State
    ) -> tuple[_State, Array]:
        """To the linearised boundary and over it."""
        del logits_fn, index
        images, threat, x = problem.images, problem.threat, state.x
        gap, normal = state.gap, state.normal
        from_image = gap + _dot(normal, images - x)
        to_here = _to_hyperplane(threat, x, normal, gap)
        to_there = _to_hyperplane(threat, images, normal, from_image)
        shortest = SHORTEST * threat.span(images)
        length_here, length_there = (
            jnp.maximum(threat.lengths(d), shortest) for d in (to_here, to_there)
        )
        share = length_here / (length_here + length_there)
        alpha = jnp.minimum(share, self.alpha_max)
        x = (x + self.eta * to_here) * (1 - alpha) + (
            images + self.eta * to_there
        ) * alpha
        return state, threat.clip(x).astype(images.dtype)

    def update(
        self,
        logits_fn: LogitsFn,
        problem: AttackInputs,
        index: Array,
        state: _State,
        x: Array,
    ) -> _State:
        """Keeps the closest error; from an error, part of the way back."""
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
        return self._linearise(logits_fn, problem, state.replace(x=after), edge)

    def _spend(self, best: Best, classes: int) -> Best:
        """What `_linearise` costs."""
        return best.spend(1, 1 if self.targeted else classes)

    def _linearise(
        self,
        logits_fn: LogitsFn,
        problem: AttackInputs,
        state: _State,
        edge: Any = False,
    ) -> _State:
        """Finds the boundary from x, nearest or to the target.

        Where x is in the ball, or on its `edge` up to rounding, and its logits are not
        finite, it is an error as well.
        """
        images, threat, x = problem.images, problem.threat, state.x
        call = logits_fn, x, problem.labels
        if self.targeted:
            near = boundary.towards(*call, state.target, threat)
        else:
            near = boundary.nearest(*call, threat)
        distance = threat.distance(x, images)
        distance = jnp.where(edge, jnp.minimum(distance, threat.eps), distance)
        inside = distance <= threat.eps
        lost = boundary.is_lost(near.logits, problem.labels) & inside
        state = state.replace(gap=near.gap, normal=near.normal)
        return _take(state, lost, inside, x, jnp.inf, distance)


def _take(
    state: _State,
    error: Array,
    inside: Array,
    x: Array,
    margin: Array | float,
    distance: Array,
) -> _State:
    """The closest error replaces the one before, however it is classified."""
    closer = error & (distance < state.closest)
    which, best = closer & inside, state.best
    best = best.replace(
        images=select(which, x, best.images),
        margin=jnp.where(which, margin, best.margin),
    )
    closest = jnp.where(closer, distance, state.closest)
    return state.replace(best=best, closest=closest)


def _to_hyperplane(threat: ThreatModel, x: Array, normal: Array, gap: Array) -> Array:
    """The least step within the bounds to where the linear function is zero."""
    against = -jnp.where(gap >= 0, 1.0, -1.0)[:, None, None, None] * normal
    flat = normal.reshape(len(x), -1)
    room = threat.room(x, against).reshape(len(x), -1)
    return projection.hyperplane(flat, gap, room, threat.norm).reshape(x.shape)


def _random_start(problem: AttackInputs) -> Array:
    """Half of eps away, scaled as the reference does."""
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
