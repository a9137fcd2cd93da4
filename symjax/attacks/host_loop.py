"""Programs of attacks on several nets at once, run from the host.

    best = programs.run(attack, nets, problem, real)      # leading axis S on everything

An attack is looked at now and then between its steps, and ends when there is nothing
left for it to do. Each attack compiles once for a shape, a norm and a kind of net.
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

LOOKS = 20  # at most so many times an attack is looked at


def run(
    attack: IterativeAttack, nets: Any, problem: AttackInputs, real: np.ndarray
) -> Best:
    """Steps until the images that count are broken, or none are left to take.

    Args:
      attack: the attack.
      nets: S of them, leading axis S on every leaf.
      problem: leading axis S on every leaf.
      real: `[S, B]`, which images count; the others fill the batch.
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
    """`init` and `advance` of an attack, for all seeds, compiled once a shape.

    On an accelerator the steps are a loop in the program; on a CPU, on the host.
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
def verifier(seeds: int, randomised: bool):
    """Margins of images fed again one by one, `[S, B]`."""

    def margins(net, images, labels, key):
        def one(item):
            image, label, index = item
            draw = (jax.random.fold_in(key, index),) if randomised else ()
            return largest_margin(net(image[None], *draw), label[None])[0]

        return jax.lax.map(one, (images, labels, jnp.arange(len(images))))

    return compilation.jit(_over(seeds)(margins))


@functools.cache
def finite(seeds: int, randomised: bool):
    """Whether all logits of each image are finite, `[S, B]`."""

    def check(net, images, key):
        logits = net(images, key) if randomised else net(images)
        return jnp.all(jnp.isfinite(logits), axis=1)

    return compilation.jit(_over(seeds)(check))


def _over(seeds: int):
    """`jax.vmap`, but for a single seed, whose convolutions it would slow down."""
    if seeds > 1:
        return jax.vmap

    def wrap(function):
        def run(*arguments):
            alone = jax.tree.map(lambda x: x[0], arguments)
            return jax.tree.map(lambda x: x[None], function(*alone))

        return run

    return wrap
