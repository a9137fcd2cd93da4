"""Training and evaluation of one seed: an epoch of training, some steps, a test pass.

    state, sums = train_epoch(recipe, state, key, epoch, images, labels)

The functions include shuffling, batching, augmentation, attacks and the update; images
are uint8 until a batch is made of them. Random numbers depend only on the key of the
seed and on the epoch or step, so that a resumed run equals an uninterrupted one.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen, struct
from jax import Array

from symjax.attacks import cross_entropy, is_correct
from symjax.data.augment import flip_and_crop, quarter_turns, to_unit
from symjax.mesh import ONE_DEVICE, DeviceLayout
from symjax.seeds import KeyPurpose, purpose_key
from symjax.training.adversarial import BatchMaker
from symjax.training.state import STILL_FINITE, TrainState


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """The arguments of training steps that do not change during training.

    Attributes:
      model: the net.
      tx: the optimizer.
      make_batch: see `symjax.training.adversarial.batch_maker`.
      batch_size: images per step.
      augment: whether images are randomly flipped and cropped.
      quarter_turns: whether images are then rotated by random elements of C4.
      label_smoothing: the fraction of the label's probability that is spread evenly
        over all classes, in [0, 1).
      layout: the devices over which a batch is divided.
      drop_last: whether images that do not fill the last batch of an epoch are left
        out; otherwise they form a smaller batch.
    """

    model: linen.Module
    tx: optax.GradientTransformation
    make_batch: BatchMaker
    batch_size: int
    augment: bool
    quarter_turns: bool
    label_smoothing: float
    layout: DeviceLayout = ONE_DEVICE
    drop_last: bool = True


@struct.dataclass
class Sums:
    """Sums over images: the loss, the number of correct ones, the number of images."""

    loss: Array
    correct: Array
    count: Array


def steps_of_epoch(count: int, batch_size: int, drop_last: bool) -> int:
    """The number of batches per epoch of `count` images, see `TrainSpec.drop_last`."""
    return count // batch_size if drop_last else -(-count // batch_size)


def no_sums() -> Sums:
    """Sums over zero images."""
    return Sums(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def train_epoch(
    recipe: TrainSpec,
    state: TrainState,
    key: Array,
    epoch: Array,
    images: Array,
    labels: Array,
) -> tuple[TrainState, Sums]:
    """One pass over a new permutation of the images.

    Args:
      recipe: the fixed arguments; static.
      state: the state of one seed.
      key: the key of the seed.
      epoch: number of the epoch, from 0.
      images: `[N, H, W, C]`, uint8.
      labels: `[N]`, int32.

    Returns:
      The new state, and sums over the training batches, attacked images included; zero
      for a frozen seed.
    """
    steps = steps_of_epoch(len(images), recipe.batch_size, recipe.drop_last)
    call = recipe, state, no_sums(), key, epoch, 0, steps, images, labels
    return train_steps(*call)


def train_steps(
    recipe: TrainSpec,
    state: TrainState,
    sums: Sums,
    key: Array,
    epoch: Array,
    first: int | Array,
    last: int | Array,
    images: Array,
    labels: Array,
) -> tuple[TrainState, Sums]:
    """The steps `first` to `last - 1` of an epoch.

    Args:
      recipe, state, key, epoch, images, labels: as in `train_epoch`.
      sums: sums over the steps of the epoch before `first`.
      first, last: from 0 to the number of batches. With traced numbers, one program
        serves all parts of an epoch.

    Returns:
      The new state, and the sums with these steps added.
    """
    order = jax.random.permutation(
        purpose_key(key, KeyPurpose.SHUFFLE, epoch), len(images)
    )

    def train_on(indices, carry):
        state, sums = carry
        batch = jnp.take(images, indices, axis=0), jnp.take(labels, indices)
        state, added = _train_step(recipe, state, key, *batch)
        return state, jax.tree.map(jnp.add, sums, added)

    def body(step, carry):
        start = step * recipe.batch_size
        size = recipe.batch_size
        return train_on(jax.lax.dynamic_slice_in_dim(order, start, size), carry)

    whole = len(images) // recipe.batch_size
    known = isinstance(last, int)  # the number of steps is then static
    end = min(last, whole) if known else jnp.minimum(last, whole)
    carry = jax.lax.fori_loop(first, end, body, (state, sums))
    rest = order[whole * recipe.batch_size :]
    if len(rest) and not recipe.drop_last:
        train_rest = functools.partial(train_on, rest)
        carry = jax.lax.cond(last > whole, train_rest, lambda carry: carry, carry)
    return carry


def _train_step(recipe, state, key, images, labels) -> tuple[TrainState, Sums]:
    batch = recipe.layout.spread((images, labels))
    images, labels, before = _training_batch(recipe, state, key, *batch)

    def loss_fn(params):
        logits, updated = recipe.model.apply(
            {"params": params, "batch_stats": before},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        loss = jnp.mean(_loss(logits, labels, recipe.label_smoothing))
        return loss, (logits, updated["batch_stats"])

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (logits, batch_stats)), gradients = grad_fn(state.params)
    updates, opt_state = recipe.tx.update(gradients, state.opt_state, state.params)
    after = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
        diverged_step=state.diverged_step,
    )
    state = _freeze_unless(_all_finite((loss, gradients)), after, state)
    alive = state.diverged_step == STILL_FINITE
    count = jnp.where(alive, len(labels), 0).astype(jnp.int32)
    correct = jnp.where(alive, jnp.sum(is_correct(logits, labels)), 0)
    return state, Sums(
        loss=jnp.where(alive, loss * len(labels), 0.0),
        correct=correct.astype(jnp.int32),
        count=count,
    )


def _training_batch(recipe, state, key, images, labels) -> tuple[Array, Array, Any]:
    if recipe.augment:
        images = flip_and_crop(purpose_key(key, KeyPurpose.AUGMENT, state.step), images)
    if recipe.quarter_turns:
        images = quarter_turns(
            purpose_key(key, KeyPurpose.QUARTER_TURNS, state.step), images
        )
    attack_key = purpose_key(key, KeyPurpose.TRAINING_ATTACK, state.step)
    made = recipe.make_batch(recipe.model, state, to_unit(images), labels, attack_key)
    return jax.lax.stop_gradient(made)


def _loss(logits: Array, labels: Array, smoothing: float) -> Array:
    if smoothing == 0:
        return cross_entropy(logits, labels)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def _all_finite(tree: Any) -> Array:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


def _freeze_unless(finite: Array, after: TrainState, before: TrainState) -> TrainState:
    """The state after the step, or the one before it if a loss was not finite."""
    alive = before.diverged_step == STILL_FINITE
    kept = jax.tree.map(
        lambda new, old: jnp.where(alive & finite, new, old), after, before
    )
    now = jnp.where(alive & ~finite, before.step, before.diverged_step)
    return kept.replace(diverged_step=now)


def evaluate_epoch(
    model: linen.Module,
    batch_size: int,
    state: TrainState,
    images: Array,
    labels: Array,
    layout: DeviceLayout = ONE_DEVICE,
) -> Sums:
    """Loss and accuracy on held-out images; batch norm uses the running averages.

    Args:
      model: the net.
      batch_size: images at a time; the last batch is padded and masked.
      state: the state of one seed.
      images: `[N, H, W, C]`, uint8.
      labels: `[N]`, int32.
      layout: the devices over which a batch is divided.

    Returns:
      Sums over the N images.
    """
    logits_fn = state.logits_fn(model)
    batch_size = layout.whole_batches(batch_size)
    batches = -(-len(images) // batch_size)
    indices = jnp.arange(batches * batch_size).reshape(batches, batch_size)

    def one_batch(indices):
        indices = layout.spread(indices)
        mask = indices < len(images)
        batch = jnp.take(images, indices, axis=0, mode="clip")
        answers = jnp.take(labels, indices, mode="clip")
        logits = logits_fn(to_unit(batch))
        loss = jnp.where(mask, cross_entropy(logits, answers), 0.0)
        correct = mask & is_correct(logits, answers)
        return Sums(jnp.sum(loss), jnp.sum(correct), jnp.sum(mask))

    return jax.tree.map(jnp.sum, jax.lax.map(one_batch, indices))
