"""Runs an iterative attack on several nets at once, with the loop on the host.

    best = host_loop.run(attack, nets, problem, real)     # leading axis S on everything

The host inspects the state at intervals, and stops the attack when all images are
broken. Each attack is compiled once per shape, norm and kind of net.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax import compilation
from symjax.attacks import iterative
from symjax.attacks.iterative import AttackInputs, Best, IterativeAttack
from symjax.attacks.losses import largest_margin

LOOKS = 20  # the largest number of times that the state is inspected


def run(
    attack: IterativeAttack, nets: Any, problem: AttackInputs, real: np.ndarray
) -> Best:
    """Runs the attack until all real images are broken, or to its last step.

    Args:
      attack: the attack.
      nets: S nets, with a leading axis S on every leaf.
      problem: its inputs, with a leading axis S on every leaf.
      real: `[S, B]`, bool; False for images that only fill the batch.

    Returns:
      The best images so far, with a leading axis S.
    """
    init, advance = _programs(attack, len(problem.key))
    state = init(nets, problem)
    look = max(1, -(-attack.steps // LOOKS))
    for first in range(0, attack.steps, look):
        if (np.asarray(state.best.broken) | ~real).all():
            break
        last = min(first + look, attack.steps)
        state = advance(nets, problem, first, last, state)
    return state.best


@functools.cache
def _programs(attack: IterativeAttack, seeds: int):
    """`init` and `advance` of an attack, for all seeds, compiled once per shape.

    The loop over steps is inside the program on an accelerator, and on the host on a
    CPU.
    """
    over = _over(seeds)
    init = compilation.jit(over(attack.init))
    if jax.default_backend() == "cpu":
        propose, update = (
            compilation.jit(over(part), donate_argnums=3)
            for part in (attack.propose, attack.update)
        )

        def advance(nets, problem, first, last, state):
            for index in range(first, last):
                indices = np.full(seeds, index, np.int32)
                state, x = propose(nets, problem, indices, state)
                state = update(nets, problem, indices, state, x)
            return state

        return init, advance
    steps = functools.partial(iterative.advance, attack)
    loop = compilation.jit(over(steps), donate_argnums=4)

    def advance_together(nets, problem, first, last, state):
        bounds = (np.full(seeds, index, np.int32) for index in (first, last))
        return loop(nets, problem, *bounds, state)

    return init, advance_together


@functools.cache
def verifier(seeds: int, randomized: bool):
    """A function that returns the margins at batch size 1, `[S, B]`."""

    def margins(net, images, labels, key):
        def one(item):
            image, label, index = item
            draw = (jax.random.fold_in(key, index),) if randomized else ()
            return largest_margin(net(image[None], *draw), label[None])[0]

        return jax.lax.map(one, (images, labels, jnp.arange(len(images))))

    return compilation.jit(_over(seeds)(margins))


@functools.cache
def finite(seeds: int, randomized: bool):
    """A function that returns whether all logits of each image are finite, `[S, B]`."""

    def check(net, images, key):
        logits = net(images, key) if randomized else net(images)
        return jnp.all(jnp.isfinite(logits), axis=1)

    return compilation.jit(_over(seeds)(check))


def _over(seeds: int):
    """`jax.vmap`, except for a single seed, whose convolutions it would slow down."""
    if seeds > 1:
        return jax.vmap

    def wrap(function):
        def run(*arguments):
            alone = jax.tree.map(lambda x: x[0], arguments)
            return jax.tree.map(lambda x: x[None], function(*alone))

        return run

    return wrap
