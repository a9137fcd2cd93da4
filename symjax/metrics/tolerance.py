"""Tolerance: the largest level of a perturbation with a correct prediction (Figure 5).

    result = tolerance(logits_fn, images, labels, key, Noise(), levels=[0.1, 0.2, 0.3])
    result.largest                        # [B, draws]

The prediction must be correct at this level and at all smaller levels; predictions
after the first error do not count.

The paper's Figure 5 shows the fraction of values that can be removed at random.
`published_removal` reproduces the loop of the published code. `tolerance` measures the
same with several draws, in which removed values stay removed at larger levels, and for
the other perturbations of `symjax.metrics.perturbations`. The metric that the paper
cites (Hara et al. 2018) is a different one, `symjax.metrics._invariant_box`.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax import compilation
from symjax.attacks.checks import refuse_traced
from symjax.attacks.entry import whole_number
from symjax.attacks.inputs import OPTIONAL, prepare
from symjax.attacks.losses import is_correct
from symjax.attacks.result import LogitsFn
from symjax.io import in_batches
from symjax.metrics._gradient_maxima import Report
from symjax.metrics.perturbations import Perturbation, Removal
from symjax.metrics.samples import at_a_time, keys_of_images
from symjax.nets import as_partial
from symjax.seeds import as_key

DRAWS = 4
ON_CPU, ELSEWHERE = 50, 512  # the number of images at a time
PUBLISHED_STEP = 0.05
PUBLISHED_LEVELS = np.arange(2, 20) / 20  # the published loop always ends at 1.00


class Tolerance(NamedTuple):
    """Outcomes for B images, D draws and L levels.

    Attributes:
      correct: `[B, D, L]`, bool: whether the prediction at this level is the label.
      correct_so_far: `[B, D, L]`, bool: whether it is also the label at all smaller
        levels and, except for `published_removal`, for the image itself.
      clean: `[B]`, bool: whether the prediction for the image itself is the label.
      levels: `[L]`, in ascending order.
      identity_level: the value of `largest` if the prediction is not correct at any of
        the levels.
    """

    correct: np.ndarray
    correct_so_far: np.ndarray
    clean: np.ndarray
    levels: np.ndarray
    identity_level: float

    @property
    def largest(self) -> np.ndarray:
        """The largest level up to which predictions are correct, `[B, D]`."""
        count = self.correct_so_far.sum(axis=-1)
        return np.append(self.identity_level, self.levels)[count]


def tolerance(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    key: Array,
    perturbation: Perturbation,
    levels: Any,
    draws: int = DRAWS,
    chunk: int | None = None,
    report: Report | None = None,
) -> Tolerance:
    """Measures at which levels the prediction is correct; a host driver.

    Args:
      logits_fn, images, labels, chunk, report: as in `symjax.metrics`.
      key: as in `symjax.metrics`. With the same key, all nets get the same perturbed
        images.
      perturbation: one of `symjax.metrics.perturbations`, or another `Perturbation`.
      levels: `[L]`, ascending, all above the perturbation's `identity_level`.
      draws: the number of draws of a random perturbation; of a perturbation with
        directions, all directions are measured instead.

    Returns:
      A `Tolerance`. Equal largest logits, or logits that are not finite, are errors.
    """
    levels = np.asarray(levels, float)
    ascending = np.diff(np.append(perturbation.identity_level, levels)) > 0
    if levels.ndim != 1 or not levels.size or not ascending.all():
        raise ValueError(
            f"levels={levels.tolist()}: expected [L], in ascending order and all above "
            f"{perturbation.identity_level}, at which the image does not change."
        )
    if draws < 1:
        raise ValueError(f"draws={draws}: expected 1 or more.")
    draws = perturbation.directions or draws
    pairs = [(0, perturbation.identity_level)]
    pairs += [(draw, level) for draw in range(draws) for level in levels]
    outcomes = _outcomes(
        logits_fn, images, labels, key, perturbation, pairs, chunk, report
    )
    clean, correct = outcomes[:, 0], outcomes[:, 1:].reshape(-1, draws, len(levels))
    so_far = np.logical_and.accumulate(correct, axis=-1) & clean[:, None, None]
    return Tolerance(correct, so_far, clean, levels, perturbation.identity_level)


def published_removal(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    key: Array,
    mean: Any = 0.5,
    std: Any = 0.5,
    chunk: int | None = None,
    report: Report | None = None,
) -> Tolerance:
    """Measures the tolerance as the paper's code does, for Figure 5.

    A random fraction of all values is set to zero, at first 0.10 and then 0.05 more,
    with a new draw each time, until the prediction is not the label. The tolerance is
    the last fraction before the error; if there is an error at 0.10 it is 0.05, which
    is not tested. The loop always ends at 1.00, so that the largest tolerance is 0.95.
    There is one draw per fraction. The image itself is not tested, so that a
    misclassified image can have a tolerance. The published code gives pixels in [0, 1]
    to nets that were trained on normalized images; this function therefore evaluates
    the net at `mean + std x` instead of x, so that removed values become the mean.

    Args:
      logits_fn, images, labels, key, chunk, report: as in `tolerance`. The published
        code uses the first 117 test images.
      mean, std: the net's normalization, one value or one per channel.

    Returns:
      A `Tolerance` of one draw; `largest[:, 0]` is the published tolerance. `clean` is
      the outcome at `mean + std x` for the unperturbed image.
    """
    raw = Partial(_unnormalized, as_partial(logits_fn), *map(_per_channel, (mean, std)))
    pairs = [(0, 0.0), *enumerate(PUBLISHED_LEVELS, 1)]
    outcomes = _outcomes(raw, images, labels, key, Removal(), pairs, chunk, report)
    correct = outcomes[:, None, 1:]
    so_far = np.logical_and.accumulate(correct, axis=-1)
    clean = outcomes[:, 0]
    return Tolerance(correct, so_far, clean, PUBLISHED_LEVELS, PUBLISHED_STEP)


def perturbed(
    images: Any, key: Array, perturbation: Perturbation, draws: Any, levels: Any
) -> np.ndarray:
    """The perturbed images that `tolerance` evaluates with the same key.

    Args:
      images: `[B, H, W, C]`, the first B images of the call of `tolerance`.
      key, perturbation: as in `tolerance`.
      draws, levels: one per image, `[B]`, or one for all images. `published_removal`
        has the draw `i + 1` at the level with index i.

    Returns:
      `[B, H, W, C]`.
    """
    count = len(images)
    keys = keys_of_images(key, count)
    draws = np.broadcast_to(np.asarray(draws, np.int32), count)
    levels = np.broadcast_to(np.asarray(levels, np.float32), count)
    return np.asarray(_perturb(perturbation)(jnp.asarray(images), keys, draws, levels))


def image_batches(count: int, chunk: int | None) -> Iterator[np.ndarray]:
    """Indices of `count` images in batches as in `io.in_batches`."""
    if chunk is not None:
        whole_number("images at a time", "chunk", chunk)
    return in_batches(count, min(at_a_time(chunk, ON_CPU, ELSEWHERE), count))


def _outcomes(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    key: Array,
    perturbation: Perturbation,
    pairs: Sequence[tuple[int, float]],
    chunk: int | None,
    report: Report | None,
) -> np.ndarray:
    """Whether the prediction is the label, for each draw and level `[B, pairs]`."""
    outcomes, count = [], len(images)
    with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
        refuse_traced("tolerance", logits_fn, images, labels, key)
        given = prepare("tolerance", logits_fn, images, labels, optional=OPTIONAL)
        net, images, labels = given.net, np.asarray(given.images), given.labels
        labels, key = np.asarray(labels), as_key(key)
        keys = keys_of_images(key, count)
        for part in image_batches(count, chunk):
            x, truth, own = jnp.asarray(images[part]), labels[part], keys[part]
            correct = [
                _classified()(net, _perturb(perturbation)(x, own, *pair), truth)
                for pair in _for_all(pairs, len(part))
            ]
            outcomes.append(np.stack(jax.device_get(correct), axis=1))
            if report:
                report(int(part[-1]) + 1, count)
    return np.concatenate(outcomes)[:count]


def _for_all(pairs, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for draw, level in pairs:
        yield np.full(count, draw, np.int32), np.full(count, level, np.float32)


@functools.cache
def _perturb(perturbation: Perturbation):
    """The program of the perturbation.

    In one program with the net, the first convolution would compute it nine times.
    """

    def one(image, key, draw, level):
        return perturbation(image, key, draw, level)

    return compilation.jit_fast_compile(jax.vmap(one))


@functools.cache
def _classified():
    """A program that returns whether images are classified correctly."""

    def run(net, images, labels):
        logits = net(images)
        return is_correct(logits, labels) & jnp.isfinite(logits).all(axis=1)

    return compilation.jit_fast_compile(run)


def _unnormalized(net: Partial, mean: Array, std: Array, images: Array) -> Array:
    return net(mean + std * images)


def _per_channel(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32).reshape(1, 1, 1, -1)
