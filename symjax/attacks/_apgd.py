"""Auto-PGD (Croce and Hein 2020): PGD that chooses its own step sizes.

    result = apgd(logits_fn, images, labels, key, attacks.Linf(8 / 255), loss="dlr")

The first steps are long. Progress is reviewed at checkpoints, at shorter and shorter
intervals: an image whose loss has not risen often enough returns to its best point, and
its step size is halved. In l1 the fraction of pixels that a step changes is adapted as
well (Croce and Hein 2021).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from symjax.attacks import iterative, schedule
from symjax.attacks.checks import one_number
from symjax.attacks.entry import attack
from symjax.attacks.iterative import AttackInputs, Best
from symjax.attacks.losses import largest_margin, pick_loss, ranked_class
from symjax.attacks.result import AttackResult, LogitsFn, select
from symjax.attacks.threat import ThreatModel
from symjax.seeds import fold_in

LONGEST_STEP = {"linf": 2.0, "l2": 2.0, "l1": 1.0}  # in eps
SPARSER = 1.5  # l1: a step changes this many times fewer pixels than the best point
SHRINK = 1.5  # l1: the step is divided by this at a checkpoint
SHORTEST_STEP = 0.1  # l1: lower limit of the step, in eps
AS_MANY = 0.95  # l1: below this fraction of the pixels before, steps are long again


@attack("loss", "steps", "targeted", "rho", "momentum", "eot_iter")
def apgd(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    loss: str = "cross_entropy",
    steps: int = 100,
    targeted: bool = False,
    rank: int | Array = 2,
    rho: float = 0.75,
    momentum: float = 0.75,
    eot_iter: int = 0,
    start: Array | None = None,
) -> AttackResult:
    """Runs APGD once and returns the iterate with the largest margin.

    The steps are those of the public reference implementation; `docs/attacks.md` lists
    the differences, and how close the attack comes to the optimum in l1.

    Args:
      logits_fn, images, labels, key, threat: see `symjax.attacks`; in l1, eps is one
        number.
      loss: "cross_entropy", "dlr" or "margin".
      steps: the number of gradient steps.
      targeted: ascend the targeted form of the loss, towards the class given by `rank`.
      rank: the target is the class with the rank-th largest logit on the image; 2 is
        the most likely wrong class.
      rho: the step size of an image is halved if less than this fraction of its steps
        since the last checkpoint raised the loss.
      momentum: weight of the new step; the previous step has the weight
        `1 - momentum`. Not used in l1.
      eot_iter: the number of gradients that are averaged for a randomized defense,
        `logits_fn(images, key)` (expectation over transformation, Athalye et al. 2018);
        0 for any other net.
      start: `[B, H, W, C]`, the first iterate; None: a random point on the boundary of
        the ball.

    Raises:
      ValueError: for an unknown loss, too few classes for the loss, settings out of
        range, or invalid images, labels or eps.

    References:
      Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
      Diverse Parameter-free Attacks, ICML 2020, Algorithm 1.
      Croce and Hein, Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image
      Classifiers, ICML 2021.
    """
    run = APGD(loss, steps, targeted, rho, momentum, eot_iter)
    problem = AttackInputs(images, labels, key, threat, rank, start)
    draw = (jax.random.fold_in(key, 2),) if eot_iter else ()
    return iterative.run(run, logits_fn, problem, *draw).best.result(problem)


class _State(struct.PyTreeNode):
    """The state between two steps; arrays have a leading axis B, `step` is in eps."""

    best: Best
    x: Array
    x_before: Array
    gradients: Array
    x_highest: Array  # the point of the highest loss so far
    gradients_highest: Array  # at this point
    highest: Array  # the highest loss so far
    step: Array  # [B, 1, 1, 1]
    loss: Array
    rises: Array  # how often the loss rose since the last checkpoint
    highest_then: Array  # the highest loss at the last checkpoint
    reduced_then: Array  # whether the step was halved at the last checkpoint
    sparsity: Array  # l1: the fraction of the pixels that a step changes
    moved_then: Array  # l1: the number of changed pixels at the last checkpoint
    target: Array


@dataclasses.dataclass(frozen=True)
class APGD:
    """`apgd` as an `IterativeAttack`.

    Attributes:
      loss, steps, targeted, rho, momentum, eot_iter: as the arguments of `apgd`.
      radii: radii of a sequence of balls, in eps; the public implementation uses
        (3, 2, 1) in l1. The attack of a ball starts from the best point of the ball
        before it.
    """

    loss: str = "cross_entropy"
    steps: int = 100
    targeted: bool = False
    rho: float = 0.75
    momentum: float = 0.75
    eot_iter: int = 0
    radii: tuple[float, ...] = (1.0,)

    def init(self, logits_fn: LogitsFn, problem: AttackInputs) -> _State:
        """The state at the start, where the net is evaluated."""
        threat = problem.threat
        if threat.norm == "l1":
            one_number("apgd in l1", threat)
        x, widest = problem.start, self.radii[0]
        if x is None:
            key = jax.random.fold_in(problem.key, problem.rank)
            x = _random_start(key, problem.images, threat.scaled(widest))
        best = Best.none(problem.images)
        target = problem.labels
        if self.targeted:
            target = ranked_class(logits_fn(problem.images), problem.rank)
            best = best.spend(1)
        adaptive = problem.start is not None or len(self.radii) > 1
        start = 0, widest, best, x, target, adaptive
        return self._begin_at(logits_fn, problem, *start)

    def propose(self, logits_fn, problem, index, state) -> tuple[_State, Array]:
        """A step along the gradient, projected into the ball of this step."""
        first, radius, _ = (jnp.asarray(x)[index] for x in self._plan(problem))

        def begin_again(state):  # the next ball, from the projected best point
            radius = jnp.asarray(self._plan(problem)[1])[index]
            ball = problem.threat.scaled(radius)
            x = ball.project(state.x_highest, problem.images)
            start = index, radius, state.best, x, state.target, True
            return self._begin_at(logits_fn, problem, *start)

        if len(self.radii) > 1:
            state = jax.lax.cond(first & (index > 0), begin_again, lambda s: s, state)
        return state, self._along(problem, problem.threat.scaled(radius), first, state)

    def update(self, logits_fn, problem, index, state, x) -> _State:
        """Evaluates the new point; at a checkpoint, adapts the step size."""
        _, radius, window = (jnp.asarray(x)[index] for x in self._plan(problem))
        loss, margin, gradients, best = self._evaluate(
            logits_fn, problem, index + 1, x, state.target, state.best
        )
        higher = loss > state.highest
        state = state.replace(
            best=best.offer(x, jnp.where(radius == 1, margin, -jnp.inf)),
            x=x,
            x_before=state.x,
            gradients=gradients,
            x_highest=select(higher, x, state.x_highest),
            gradients_highest=select(higher, gradients, state.gradients_highest),
            highest=jnp.where(higher, loss, state.highest),
            loss=loss,
            rises=state.rises + (loss > state.loss),
        )
        review = _review_l1 if problem.threat.norm == "l1" else _review
        reviewed = review(state, problem.images, window, self.rho)
        return jax.tree.map(lambda a, b: jnp.where(window > 0, a, b), reviewed, state)

    def _begin_at(self, logits_fn, problem, index, radius, best, x, target, adaptive):
        """The state at x, in a ball of `radius` eps; only points of radius 1 count."""
        loss, margin, gradients, best = self._evaluate(
            logits_fn, problem, index, x, target, best
        )
        pixels = np.prod(x.shape[1:])
        moved = jnp.sum(x != problem.images, axis=(1, 2, 3)).astype(x.dtype)
        sparsity = moved / pixels / SPARSER if adaptive else jnp.full_like(moved, 0.2)
        return _State(
            best=best.offer(x, jnp.where(radius == 1, margin, -jnp.inf)),
            x=x,
            x_before=x,
            gradients=gradients,
            x_highest=x,
            gradients_highest=gradients,
            highest=loss,
            step=jnp.full_like(x[:, :1, :1, :1], LONGEST_STEP[problem.threat.norm]),
            loss=jnp.zeros_like(loss),
            rises=jnp.zeros(len(x), jnp.int32),
            highest_then=loss,
            reduced_then=jnp.ones(len(x), bool),
            sparsity=sparsity,
            moved_then=moved if adaptive else jnp.full_like(moved, pixels),
            target=target,
        )

    def _along(self, problem, threat, first, state: _State) -> Array:
        center, x = problem.images, state.x
        length = state.step * threat.radius(x)
        if threat.norm == "l1":
            x = threat.ascend(x, state.gradients, length, state.sparsity)
            return threat.project(x, center)
        weight = jnp.where(first, 1.0, self.momentum)
        ascended = threat.project(threat.ascend(x, state.gradients, length), center)
        step = (ascended - x) * weight + (x - state.x_before) * (1 - weight)
        return threat.project(x + step, center)

    def _evaluate(self, logits_fn, problem, index, x, target, best: Best):
        """Loss, margin and gradients at x; `best` with the passes counted."""
        loss_fn = pick_loss(self.loss, self.targeted)
        about = (problem.labels, target) if self.targeted else (problem.labels,)

        def total(x, *key):
            logits = logits_fn(x, *key)
            loss = loss_fn(logits, *about)
            return jnp.sum(loss), (loss, largest_margin(logits, problem.labels))

        ascent = jax.grad(total, has_aux=True)
        if not self.eot_iter:
            gradients, (loss, margin) = ascent(x)
        else:
            key = fold_in(problem.key, 1, index)
            keys = jax.random.split(key, self.eot_iter)
            gradients, (loss, margin) = jax.lax.map(lambda key: ascent(x, key), keys)
            gradients, loss, margin = jnp.mean(gradients, 0), loss[-1], margin[-1]
        count = max(1, self.eot_iter)
        gradients, loss = jnp.nan_to_num(gradients), jnp.nan_to_num(loss)
        return loss, margin, gradients, best.spend(count, count)

    def _plan(self, problem: AttackInputs) -> tuple[np.ndarray, ...]:
        return schedule.plan(problem.threat.norm, self.steps, self.radii)


def _random_start(key: Array, images: Array, threat: ThreatModel) -> Array:
    """Random noise scaled to the boundary (projected in l1), as in the reference."""
    draw = jax.random.uniform if threat.norm == "linf" else jax.random.normal
    noise = draw(key, images.shape, images.dtype)
    if threat.norm == "linf":
        noise = 2 * noise - 1
    if threat.norm == "l1":
        return threat.project(images + threat.span(images) * noise, images)
    eps = threat.radius(images)
    return threat.project(images + eps * noise / threat.lengths(noise), images)


def _review(state: _State, images: Array, window: Array, rho: float) -> _State:
    """Halves the steps that rarely raise the loss and returns to the best point."""
    del images
    few_rises = state.rises <= rho * window
    no_progress = ~state.reduced_then & (state.highest_then >= state.highest)
    reduced = few_rises | no_progress
    return _back(state, reduced).replace(
        step=jnp.where(reduced[:, None, None, None], state.step / 2, state.step),
        rises=jnp.zeros_like(state.rises),
        highest_then=state.highest,
        reduced_then=reduced,
    )


def _review_l1(state: _State, images: Array, window: Array, rho: float) -> _State:
    """Adapts the number of pixels that a step changes, or shortens the step.

    The step becomes long again, and the image returns to its best point, if this point
    changes clearly fewer pixels than the one at the last checkpoint.
    """
    del window, rho
    moved = jnp.sum(state.x_highest != images, axis=(1, 2, 3)).astype(images.dtype)
    sparser = moved < AS_MANY * state.moved_then
    shorter = jnp.maximum(state.step / SHRINK, SHORTEST_STEP * LONGEST_STEP["l1"])
    longest = jnp.full_like(state.step, LONGEST_STEP["l1"])
    return _back(state, sparser).replace(
        step=select(sparser, longest, shorter),
        sparsity=moved / np.prod(images.shape[1:]) / SPARSER,
        moved_then=moved,
    )


def _back(state: _State, which: Array) -> _State:
    return state.replace(
        x=select(which, state.x_highest, state.x),
        gradients=select(which, state.gradients_highest, state.gradients),
    )
