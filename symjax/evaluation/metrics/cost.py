"""The cost of a net: operations, memory and speed (paper, Appendix B).

    measure(run, store, cost.build(), n=100)

The value of the row is the number of multiply-adds of a forward pass of one image.
Operations are counted for the net with `lowering="conv"`, whatever lowering the run
has, so that the counts are the same on every machine. Speeds are measured for one seed
on one device, with the lowering of the run; they belong to the device that the row
names.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from symjax import compilation, models
from symjax.attacks import Linf, pgd
from symjax.attacks.entry import unchecked
from symjax.evaluation.metrics.base import Metric, MetricResult, SeedContext
from symjax.mesh import ONE_DEVICE, to_host
from symjax.metrics.cost import cost, throughput
from symjax.metrics.operations import operations
from symjax.seeds import of_seed
from symjax.training.step import train_epoch

BATCH = 128  # images in each pass and attack that is timed
REPEATS = 3
ATTACK_STEPS = 5
TRAINING_STEPS = 4
EPS = 8 / 255


def build() -> list[Metric]:
    """One metric, "cost"; its row holds all counts and speeds."""
    return [Metric({"metric": "cost"}, _compute)]


def _compute(context: SeedContext) -> MetricResult:
    net = models.logits_fn(
        context.run.experiment.model.clone(lowering="conv"),
        of_seed(context.run.state.variables, context.index),
    )
    counted = cost(net, context.images)
    assert counted.parameters is not None, "the net is a Flax module"
    return MetricResult(
        float(counted.forward.products),
        {},
        {
            "parameters": counted.parameters.free,
            "expanded_parameters": counted.parameters.expanded,
            "flops_forward": counted.forward.flops,
            "flops_attack_step": counted.attack_step.flops,
            "flops_training_step": _training_flops(context),
            "activation_bytes": counted.forward.product_bytes,
            **_speeds(context),
        },
    )


def _training_flops(context: SeedContext) -> float:
    """Floating-point operations of a training step per image, attack and update
    included."""
    recipe = _recipe(context)
    model = recipe.model.clone(lowering="conv")
    step = functools.partial(train_epoch, dataclasses.replace(recipe, model=model))
    return operations(step, *_training(context, 1)).flops / recipe.batch_size


def _speeds(context: SeedContext) -> dict[str, Any]:
    """Images per second; for an attack, images times steps per second."""
    images, labels = (
        np.resize(x, (BATCH, *x.shape[1:])) for x in (context.images, context.labels)
    )
    call, attack, train = _programs()
    net, key = context.logits_fn, context.key
    work = images, labels, key, Linf(np.float32(EPS))
    batch = _recipe(context).batch_size
    steps = min(TRAINING_STEPS, len(context.run.experiment.dataset.train[0]) // batch)
    state, *epoch = _training(context, steps)

    def train_on():
        nonlocal state
        state, sums = train(_recipe(context), state, *epoch)
        return sums

    def timed(call: Callable[[], Any], items: int) -> float:
        return round(throughput(call, items, REPEATS), 1)

    return {
        "load": round(os.getloadavg()[0], 2),  # of all processes
        "images_per_second_forward": timed(lambda: call(net, images), BATCH),
        "images_per_second_attack_step": timed(
            lambda: attack(net, *work).robust, BATCH * ATTACK_STEPS
        ),
        "images_per_second_training": timed(train_on, batch * steps),
    }


def _training(context: SeedContext, steps: int) -> tuple[Any, ...]:
    """The arguments of `train_epoch` for this number of steps, without the recipe."""
    run, count = context.run, steps * _recipe(context).batch_size
    state = to_host(of_seed(run.state, context.index))
    key = of_seed(run.experiment.keys, context.index)
    split = run.experiment.dataset.train
    return state, key, np.int32(0), split.images[:count], split.labels[:count]


def _recipe(context: SeedContext):
    return dataclasses.replace(context.run.experiment.recipe, layout=ONE_DEVICE)


@functools.cache
def _programs():
    """Compiled programs for one seed: a forward pass, an attack, a training epoch."""
    attack = functools.partial(unchecked(pgd), steps=ATTACK_STEPS)
    return (
        compilation.jit(lambda net, images: net(images)),
        compilation.jit(attack),
        compilation.jit(train_epoch, static_argnums=0, donate_argnums=1),
    )
