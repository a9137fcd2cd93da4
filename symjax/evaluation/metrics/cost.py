"""What a trained run costs (paper, Appendix B: "computational trade-offs").

    measure(run, store, cost.figures(), n=100)

The row's value is the multiply-adds of a forward pass of one image. Counts are those of
the net with `lowering="conv"`, whatever it was run with, and so are alike on every
machine. Speeds are of one seed on one device, with the lowering that the run has, and
belong to the device that the row names.
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

BATCH = 128  # images, of the passes and attacks that are timed
REPEATS = 3
ATTACK_STEPS = 5
TRAINING_STEPS = 4
EPS = 8 / 255


def figures() -> list[Metric]:
    """One figure, whose row says all that was counted and timed."""
    return [Metric({"metric": "cost"}, _find)]


def _find(subject: SeedContext) -> MetricResult:
    net = models.logits_fn(
        subject.run.experiment.model.clone(lowering="conv"),
        of_seed(subject.run.state.variables, subject.index),
    )
    counted = cost(net, subject.images)
    assert counted.parameters is not None, "the net is a Flax module"
    return MetricResult(
        float(counted.forward.products),
        {},
        {
            "parameters": counted.parameters.free,
            "expanded_parameters": counted.parameters.expanded,
            "flops_forward": counted.forward.flops,
            "flops_attack_step": counted.attack_step.flops,
            "flops_training_step": _training_flops(subject),
            "activation_bytes": counted.forward.product_bytes,
            **_speeds(subject),
        },
    )


def _training_flops(subject: SeedContext) -> float:
    """Of an image's share in a training step: attack, update and all."""
    recipe = _recipe(subject)
    model = recipe.model.clone(lowering="conv")
    step = functools.partial(train_epoch, dataclasses.replace(recipe, model=model))
    return operations(step, *_training(subject, 1)).flops / recipe.batch_size


def _speeds(subject: SeedContext) -> dict[str, Any]:
    """Images a second; of an attack, times its steps."""
    images, labels = (
        np.resize(x, (BATCH, *x.shape[1:])) for x in (subject.images, subject.labels)
    )
    call, attack, train = _programs()
    net, key = subject.logits_fn, subject.key
    work = images, labels, key, Linf(np.float32(EPS))
    batch = _recipe(subject).batch_size
    steps = min(TRAINING_STEPS, len(subject.run.experiment.dataset.train[0]) // batch)
    state, *epoch = _training(subject, steps)

    def train_on():
        nonlocal state
        state, sums = train(_recipe(subject), state, *epoch)
        return sums

    def timed(call: Callable[[], Any], items: int) -> float:
        return round(throughput(call, items, REPEATS), 1)

    return {
        "load": round(os.getloadavg()[0], 2),  # tasks that run or wait: others' as well
        "images_per_second_forward": timed(lambda: call(net, images), BATCH),
        "images_per_second_attack_step": timed(
            lambda: attack(net, *work).robust, BATCH * ATTACK_STEPS
        ),
        "images_per_second_training": timed(train_on, batch * steps),
    }


def _training(subject: SeedContext, steps: int) -> tuple[Any, ...]:
    """What so many steps begin with: state, key, epoch, images and labels."""
    run, count = subject.run, steps * _recipe(subject).batch_size
    state = to_host(of_seed(run.state, subject.index))
    key = of_seed(run.experiment.keys, subject.index)
    split = run.experiment.dataset.train
    return state, key, np.int32(0), split.images[:count], split.labels[:count]


def _recipe(subject: SeedContext):
    return dataclasses.replace(subject.run.experiment.recipe, layout=ONE_DEVICE)


@functools.cache
def _programs():
    """Of one seed: a forward pass, an attack, an epoch of `symjax.training`."""
    attack = functools.partial(unchecked(pgd), steps=ATTACK_STEPS)
    return (
        compilation.jit(lambda net, images: net(images)),
        compilation.jit(attack),
        compilation.jit(train_epoch, static_argnums=0, donate_argnums=1),
    )
