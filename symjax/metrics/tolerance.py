"""How much a prediction tolerates: the largest level at which it holds (Figure 5).

    found = tolerance(logits_fn, images, labels, key, Noise(), levels=[0.1, 0.2, 0.3])
    found.largest                         # [B, draws]

The largest level is the last one such that the prediction holds at it and at all milder
ones; what it does beyond its first failure does not count.

The paper's Figure 5 shows the share of values that can be removed at random.
`published_removal` is the loop of its code, quirks included; `tolerance` does it with
several draws, each of which goes on removing from what it has removed, and likewise for
the other perturbations of `symjax.metrics.perturbations`. The metric that the paper
cites (Hara et al. 2018) is another one: `symjax.metrics.invariant`.
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
from symjax.metrics.samples import keys_of_images
from symjax.nets import as_partial
from symjax.seeds import as_key

DRAWS = 4
ON_CPU, ELSEWHERE = 50, 512  # images at a time
PUBLISHED_STEP = 0.05
PUBLISHED_LEVELS = np.arange(2, 20) / 20  # at 1.00 the published loop ends in any case


class Tolerance(NamedTuple):
    """Of B images, D draws and L levels.

    Attributes:
      held: `[B, D, L]`, bool: at that level, the prediction is the label.
      still: `[B, D, L]`, bool: so it is at that level, at all milder ones and, but for
        `published_removal`, of the image itself.
      clean: `[B]`, bool: so it is of the image itself.
      levels: `[L]`, the identity_level first.
      identity_level: the level that counts where it holds at none of these.
    """

    held: np.ndarray
    still: np.ndarray
    clean: np.ndarray
    levels: np.ndarray
    identity_level: float

    @property
    def largest(self) -> np.ndarray:
        """The last level at which it holds, `[B, D]`; `identity_level` if at none."""
        return np.append(self.identity_level, self.levels)[self.still.sum(axis=-1)]


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
    """At which levels the prediction holds; driven from the host, not for use in jit.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own. Other weights of
        the same net compile nothing, nor do other levels.
      images: `[B, H, W, C]`, float, in [0, 1].
      labels: `[B]`, what the prediction should be.
      key: one key, or `[B]`, see `keys_of_images`. Nets that are asked with the same
        key meet the same perturbations.
      perturbation: one of `symjax.metrics.perturbations`, or another such value.
      levels: `[L]`, growing, all beyond the perturbation's identity_level.
      draws: of a random perturbation; one that has directions is asked in all of them.
      chunk: images at a time; changes nothing beyond rounding in the net. None: as many
        as suit the backend.
      report: called with the number of images done, and of all.

    Returns:
      A `Tolerance`. A tie of logits, or a logit that is not finite, does not hold.

    Raises:
      ValueError: if arguments cannot be.
    """
    levels = np.asarray(levels, float)
    growing = np.diff(np.append(perturbation.identity_level, levels)) > 0
    if levels.ndim != 1 or not levels.size or not growing.all():
        raise ValueError(
            f"levels={levels.tolist()}: expected [L], growing from the level that "
            f"changes nothing, {perturbation.identity_level}, which is not among them."
        )
    if draws < 1:
        raise ValueError(f"draws={draws}: expected 1 or more.")
    draws = perturbation.directions or draws
    pairs = [(draw, level) for draw in range(draws) for level in levels]
    asked = [(0, perturbation.identity_level), *pairs]
    answers = _answers(
        logits_fn, images, labels, key, perturbation, asked, chunk, report
    )
    clean, held = answers[:, 0], answers[:, 1:].reshape(-1, draws, len(levels))
    still = np.logical_and.accumulate(held, axis=-1) & clean[:, None, None]
    return Tolerance(held, still, clean, levels, perturbation.identity_level)


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
    """The tolerance as the paper's code measures it, for Figure 5.

    A share of all values, drawn at random, is set to zero: 0.10, then 0.05 more, with a
    fresh draw each time, until the prediction is not the label. The tolerance is the
    last share before that: 0.05, which is never tried, if it was wrong at the first.
    At 1.00 the loop ends whatever the prediction, so that the largest tolerance is
    0.95. There is one draw a share, and
    the image itself is not asked about: one that is misclassified can have a tolerance.
    The code feeds nets trained on normalised images with [0, 1] pixels: the net is
    asked about `mean + std x` in place of x, so that what is removed becomes the mean.

    Args:
      logits_fn, images, labels, key, chunk, report: as in `tolerance`. The code takes
        the first 117 test images.
      mean, std: of the net's normalisation, one value or one a channel.

    Returns:
      A `Tolerance` of one draw; `largest[:, 0]` is the published tolerance. `clean` is
      of images that are fed likewise.

    Raises:
      ValueError: if arguments cannot be.
    """
    fed = Partial(_unnormalised, as_partial(logits_fn), *map(_per_channel, (mean, std)))
    asked = [(0, 0.0), *enumerate(PUBLISHED_LEVELS, 1)]
    answers = _answers(fed, images, labels, key, Removal(), asked, chunk, report)
    held = answers[:, None, 1:]
    still = np.logical_and.accumulate(held, axis=-1)
    return Tolerance(held, still, answers[:, 0], PUBLISHED_LEVELS, PUBLISHED_STEP)


def perturbed(
    images: Any, key: Array, perturbation: Perturbation, draws: Any, levels: Any
) -> np.ndarray:
    """The images that `tolerance` asks about with the same key.

    Args:
      images: `[B, H, W, C]`; the first B there.
      key, perturbation: as there.
      draws, levels: of each image `[B]`, or of all. `published_removal` takes draw
        `i + 1` at the level of index i.

    Returns:
      `[B, H, W, C]`.
    """
    count = len(images)
    keys = keys_of_images(key, count)
    draws = np.broadcast_to(np.asarray(draws, np.int32), count)
    levels = np.broadcast_to(np.asarray(levels, np.float32), count)
    return np.asarray(_perturb(perturbation)(jnp.asarray(images), keys, draws, levels))


def default_chunk(chunk: int | None) -> int:
    """How many images at a time: as asked, or as many as suit the backend."""
    if chunk is not None:
        return whole_number("images at a time", "chunk", chunk)
    return ON_CPU if jax.default_backend() == "cpu" else ELSEWHERE


def _answers(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    key: Array,
    perturbation: Perturbation,
    asked: Sequence[tuple[int, float]],
    chunk: int | None,
    report: Report | None,
) -> np.ndarray:
    """Whether the prediction is the label, by draw and level: `[B, len(asked)]`."""
    answers, count = [], len(images)
    with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
        refuse_traced("tolerance", logits_fn, images, labels, key)
        given = prepare("tolerance", logits_fn, images, labels, optional=OPTIONAL)
        net, images, labels = given.net, np.asarray(given.images), given.labels
        labels, key = np.asarray(labels), as_key(key)
        keys = keys_of_images(key, count)
        for part in in_batches(count, min(default_chunk(chunk), count)):
            x, truth, own = jnp.asarray(images[part]), labels[part], keys[part]
            held = [
                _judge()(net, _perturb(perturbation)(x, own, *pair), truth)
                for pair in _for_all(asked, len(part))
            ]
            answers.append(np.stack(jax.device_get(held), axis=1))
            if report:
                report(int(part[-1]) + 1, count)
    return np.concatenate(answers)[:count]


def _for_all(asked, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for draw, level in asked:
        yield np.full(count, draw, np.int32), np.full(count, level, np.float32)


@functools.cache
def _perturb(perturbation: Perturbation):
    """A program of its own: a first convolution would draw its images nine times."""

    def one(image, key, draw, level):
        return perturbation(image, key, draw, level)

    return compilation.jit_fast_compile(jax.vmap(one))


@functools.cache
def _judge():
    def run(net, images, labels):
        logits = net(images)
        return is_correct(logits, labels) & jnp.isfinite(logits).all(axis=1)

    return compilation.jit_fast_compile(run)


def _unnormalised(net: Partial, mean: Array, std: Array, images: Array) -> Array:
    return net(mean + std * images)


def _per_channel(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32).reshape(1, 1, 1, -1)
