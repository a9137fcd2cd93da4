"""What a training batch is made of: clean images, or attacked ones.

make_batch = adversarial.batch_maker("pgd", eps=8 / 255, steps=7, step_size=2 / 255)
images, labels = make_batch(logits_fn, images, labels, key)
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from symjax import attacks
from symjax.attacks.entry import unchecked

MODES = ("clean", "pgd", "fgsm_augmented")
BatchMaker = Callable[[Partial, Array, Array, Array], tuple[Array, Array]]


def batch_maker(
    mode: str,
    eps: float,
    steps: int,
    step_size: float,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> BatchMaker:
    """How a batch `[B, H, W, C]` in [0, 1] becomes the one that is trained on.

    Attacks see the net as it is at this step, with running averages in batch norm.

    Args:
      mode: "clean". "pgd": adversarial training (Madry et al. 2018), every image
        replaced by the last iterate of linf PGD with a random start. "fgsm_augmented":
        the batch and its FGSM version, 2 B images, as the published parallel rot net.
      eps, step_size: pixel units.
      steps: of PGD.
      bounds: "fgsm_augmented" clips to these pixel values. The published net clips
        normalised images to [0, 1], in pixels (0.5, 1): darker pixels become mid-grey,
        far outside the eps ball.

    Returns:
      `(logits_fn, images, labels, key) -> (images, labels)`, pure.

    Raises:
      ValueError: for another mode.
    """
    if mode == "clean":
        return _clean
    if mode == "pgd":
        attack = functools.partial(
            unchecked(attacks.pgd), steps=steps, step_size=step_size, keep="last"
        )
        return functools.partial(_pgd, attack, attacks.Linf(eps))
    if mode == "fgsm_augmented":
        return functools.partial(_fgsm_augmented, eps, bounds)
    raise ValueError(f"training mode {mode!r}: expected one of {MODES}.")


def _clean(logits_fn, images, labels, key):
    return images, labels


def _pgd(attack, threat, logits_fn, images, labels, key):
    return attack(logits_fn, images, labels, key, threat).images, labels


def _fgsm_augmented(eps, bounds, logits_fn, images, labels, key):
    def total(images):
        return jnp.sum(attacks.cross_entropy(logits_fn(images), labels))

    attacked = jnp.clip(images + eps * jnp.sign(jax.grad(total)(images)), *bounds)
    return jnp.concatenate([images, attacked]), jnp.concatenate([labels, labels])
