"""The images of a training batch: clean, or attacked.

make_batch = adversarial.batch_maker("pgd", eps=8 / 255, steps=7, step_size=2 / 255)
images, labels, batch_stats = make_batch(model, state, images, labels, key)
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from symjax import attacks, models
from symjax.attacks.entry import unchecked
from symjax.training.state import TrainState

MODES = ("clean", "pgd", "fgsm_augmented", "fgsm_published")
BatchMaker = Callable[
    [linen.Module, TrainState, Array, Array, Array], tuple[Array, Array, Any]
]


def batch_maker(
    mode: str,
    eps: float,
    steps: int,
    step_size: float,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> BatchMaker:
    """A function that makes the training batch from clean images `[B, H, W, C]`.

    The net is attacked with its parameters at this step. Batch norm uses the running
    averages, except in the mode "fgsm_published".

    Args:
      mode: "clean": the images are not changed.
        "pgd": adversarial training (Madry et al. 2018); every image is replaced by the
        last iterate of linf PGD with a random start.
        "fgsm_augmented": the batch consists of the images and their FGSM versions, 2 B
        images.
        "fgsm_published": as "fgsm_augmented", but the FGSM pass runs in training mode
        as in the published training of the parallel rot net. Its gradient is that of
        the net with the statistics of the batch, and the pass updates the running
        averages, which are therefore updated twice per step.
      eps, step_size: radius and step size in pixel units.
      steps: the number of steps of PGD.
      bounds: the FGSM versions are clipped to these pixel values. The published
        training clips normalized images to [0, 1], which is (0.5, 1) in pixels: darker
        pixels become mid-gray, far outside the eps ball.

    Returns:
      A pure function `(model, state, images, labels, key) -> (images, labels,
      batch_stats)` on images in [0, 1]; `batch_stats` are the running averages from
      which the training pass continues.
    """
    if mode == "clean":
        return _clean
    if mode == "pgd":
        attack = functools.partial(
            unchecked(attacks.pgd), steps=steps, step_size=step_size, keep="last"
        )
        return functools.partial(_pgd, attack, attacks.Linf(eps))
    forward = {"fgsm_augmented": _running, "fgsm_published": _training}[mode]
    return functools.partial(_fgsm_augmented, forward, eps, bounds)


def _clean(model, state, images, labels, key):
    return images, labels, state.batch_stats


def _pgd(attack, threat, model, state, images, labels, key):
    result = attack(state.logits_fn(model), images, labels, key, threat)
    return result.images, labels, state.batch_stats


def _fgsm_augmented(forward, eps, bounds, model, state, images, labels, key):
    def total(images):
        logits, batch_stats = forward(model, state, images)
        return jnp.sum(attacks.cross_entropy(logits, labels)), batch_stats

    slope, batch_stats = jax.grad(total, has_aux=True)(images)
    attacked = jnp.clip(images + eps * jnp.sign(slope), *bounds)
    both = jnp.concatenate([images, attacked]), jnp.concatenate([labels, labels])
    return *both, batch_stats


def _running(model, state, images):
    return state.logits_fn(model)(images), state.batch_stats


def _training(model, state, images):
    return models.training_fn(model, state.variables)(images)
