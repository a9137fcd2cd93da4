"""An attack as a start and a step, so that somebody can look in between.

    result = run(attack, logits_fn, problem)       # in one program

On an accelerator the steps are a loop inside the program. On a CPU the host takes them,
each in two programs, propose and update: XLA's CPU backend runs a convolution inside a
loop up to four times slower, and computes a step anew for each place in a kernel that
reads it.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from symjax.attacks.losses import largest_margin
from symjax.attacks.result import AttackResult, LogitsFn, larger
from symjax.attacks.threat import ThreatModel


class AttackInputs(struct.PyTreeNode):
    """What an attack is asked for, one model.

    Attributes:
      images: `[B, H, W, C]`, within the bounds.
      labels: `[B]`.
      key: for all that is random.
      threat: ball and bounds.
      rank: which attempt this is: of a targeted attack, the class with the rank-th
        largest logit; of another, a restart, from 0.
      start: `[B, H, W, C]`, where to begin; None: where the attack does.
    """

    images: Array
    labels: Array
    key: Array
    threat: ThreatModel
    rank: Any = 0
    start: Array | None = None


class Best(struct.PyTreeNode):
    """The best that was found so far, one an image.

    Attributes:
      images: `[B, H, W, C]`, inside the ball and the bounds.
      margin: `[B]`, of these images; not negative: broken.
      queries, gradients: `[B]`, int32, passes spent until it was broken.
    """

    images: Array
    margin: Array
    queries: Array
    gradients: Array

    @classmethod
    def none(cls, images: Array) -> "Best":
        """Nothing found: the images themselves."""
        count = jnp.zeros(len(images), jnp.int32)
        margin = jnp.full(len(images), -jnp.inf, images.dtype)
        return cls(images, margin, count, count)

    @property
    def broken(self) -> Array:
        """Which images have an adversarial one in the ball, `[B]`."""
        return self.margin >= 0

    def spend(self, queries: int, gradients: int = 0) -> "Best":
        """Counts passes of the images that are not broken yet."""
        open_still = ~self.broken
        return self.replace(
            queries=self.queries + queries * open_still,
            gradients=self.gradients + gradients * open_still,
        )

    def offer(self, images: Array, margin: Array) -> "Best":
        """Takes each image that is classified worse than the best so far."""
        images, margin = larger((self.images, self.margin), (images, margin))
        return self.replace(images=images, margin=margin)

    def result(self, problem: AttackInputs) -> AttackResult:
        """As every attack returns it."""
        return AttackResult(
            images=self.images,
            robust=~self.broken,
            distance=problem.threat.distance(self.images, problem.images),
            queries=self.queries,
            gradients=self.gradients,
        )


class IterativeAttack(Protocol):
    """An attack that can be looked at between its steps; hashable, and so static.

    A state is a pytree with `best: Best`.
    """

    @property
    def steps(self) -> int:
        """How many there are."""
        ...

    def init(self, logits_fn: LogitsFn, problem: AttackInputs) -> Any:
        """The state before the first step."""
        ...

    def propose(
        self, logits_fn: LogitsFn, problem: AttackInputs, index: Array, state: Any
    ) -> tuple[Any, Array]:
        """Where the step of that index goes, `[B, H, W, C]`."""
        ...

    def update(
        self,
        logits_fn: LogitsFn,
        problem: AttackInputs,
        index: Array,
        state: Any,
        x: Array,
    ) -> Any:
        """The state after that step, which led to x."""
        ...


def run(
    attack: IterativeAttack, logits_fn: LogitsFn, problem: AttackInputs, *draw: Array
) -> Any:
    """The state after the whole attack; pure, for `jax.jit` and `jax.vmap`.

    An image that is misclassified as it is counts as broken by itself; `draw` is the
    key that a randomised `logits_fn` takes for that.
    """
    clean = largest_margin(logits_fn(problem.images, *draw), problem.labels)
    state = attack.init(logits_fn, problem)
    best = state.best.offer(problem.images, jnp.where(clean >= 0, jnp.inf, -jnp.inf))
    state = state.replace(best=best.replace(queries=best.queries + 1))
    return advance(attack, logits_fn, problem, 0, attack.steps, state)


def advance(
    attack: IterativeAttack,
    logits_fn: LogitsFn,
    problem: AttackInputs,
    first: int | Array,
    last: int | Array,
    state: Any,
) -> Any:
    """The state after the steps `first ... last - 1`."""

    def step(index, state):
        state, x = attack.propose(logits_fn, problem, index, state)
        return attack.update(logits_fn, problem, index, state, x)

    return jax.lax.fori_loop(first, last, step, state)
