"""Iterative attacks split into init, propose and update.

    result = run(attack, logits_fn, problem)       # in one program

The split lets a driver on the host stop early between steps, see `host_loop`. On an
accelerator the loop over steps is inside the program. On a CPU the loop is on the host
and a step is two programs, propose and update: XLA's CPU backend runs a convolution
inside a loop up to four times slower, and in one program it computes the proposed
images again for every position in the convolution's kernel that reads them.
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
    """The inputs of an attack on one model, see `symjax.attacks`.

    Attributes:
      rank: for a targeted attack, the target is the class with the rank-th largest
        logit; for an untargeted attack, the number of the restart, from 0.
      start: `[B, H, W, C]`, the first iterate; None: chosen by the attack.
    """

    images: Array
    labels: Array
    key: Array
    threat: ThreatModel
    rank: Any = 0
    start: Array | None = None


class Best(struct.PyTreeNode):
    """The image with the largest margin so far, for each image of the batch."""

    images: Array  # [B, H, W, C], inside the ball and the bounds
    margin: Array  # [B], of these images
    queries: Array  # [B], int32, forward passes spent until the image was broken
    gradients: Array  # [B], int32, backward passes

    @classmethod
    def none(cls, images: Array) -> "Best":
        """The state before any point was evaluated: the images, of margin -inf."""
        count = jnp.zeros(len(images), jnp.int32)
        margin = jnp.full(len(images), -jnp.inf, images.dtype)
        return cls(images, margin, count, count)

    @property
    def broken(self) -> Array:
        """Whether an adversarial example is known for each image, `[B]`."""
        return self.margin >= 0

    def spend(self, queries: int, gradients: int = 0) -> "Best":
        """Counts passes of the images that are not broken yet."""
        robust = ~self.broken
        return self.replace(
            queries=self.queries + queries * robust,
            gradients=self.gradients + gradients * robust,
        )

    def offer(self, images: Array, margin: Array) -> "Best":
        """Takes each image whose margin is larger than the largest one so far."""
        images, margin = larger((self.images, self.margin), (images, margin))
        return self.replace(images=images, margin=margin)

    def result(self, problem: AttackInputs) -> AttackResult:
        """The `AttackResult` with these images."""
        return AttackResult(
            images=self.images,
            robust=~self.broken,
            distance=problem.threat.distance(self.images, problem.images),
            queries=self.queries,
            gradients=self.gradients,
        )


class IterativeAttack(Protocol):
    """An attack whose steps a driver can run one by one.

    An attack is hashable, so that it can be a static argument. Its state is a pytree
    with the attribute `best: Best`.
    """

    @property
    def steps(self) -> int:
        """The number of steps."""
        ...

    def init(self, logits_fn: LogitsFn, problem: AttackInputs) -> Any:
        """The state before the first step."""
        ...

    def propose(
        self, logits_fn: LogitsFn, problem: AttackInputs, index: Array, state: Any
    ) -> tuple[Any, Array]:
        """The state, and the images that step `index` proposes, `[B, H, W, C]`."""
        ...

    def update(
        self,
        logits_fn: LogitsFn,
        problem: AttackInputs,
        index: Array,
        state: Any,
        x: Array,
    ) -> Any:
        """The state after step `index`, which proposed the images x."""
        ...


def run(
    attack: IterativeAttack, logits_fn: LogitsFn, problem: AttackInputs, *draw: Array
) -> Any:
    """The state after all steps of the attack; pure, for `jax.jit` and `jax.vmap`.

    An image that is misclassified without an attack counts as broken. `draw` is the key
    with which a randomized `logits_fn` classifies the images themselves.
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
