"""The largest gradient norm of each margin, in random batches of points in a ball.

    result = gradient_maxima(logits_fn, image, key, norm="l2", radius=2.0)
    result.maxima                         # [batches, K], for the fit of CLEVER

This is Algorithm 1 of Weng et al. 2018, for all classes in one pass over each sample. A
sample is uniform in the ball and has a key of its own, so that the result does not
depend on the number of samples that are computed at a time.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax import compilation
from symjax.attacks.checks import check_finite, refuse_traced
from symjax.attacks.entry import is_number, whole_number
from symjax.attacks.inputs import prepare
from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import DUAL, Norm, ThreatModel, as_norm
from symjax.metrics.program import evaluate
from symjax.metrics.samples import at_a_time

Report = Callable[[int, int], None]

ON_CPU, ELSEWHERE = 144, 2048  # gradients at a time; more exceed the caches of a CPU
FLOAT32 = float(np.finfo(np.float32).eps)


class Maxima(NamedTuple):
    """The result of the sampling around an image.

    Attributes:
      margins: `[K]`, `g_cj(x)`, the logit of class c minus that of class j; infinite
        for class c.
      maxima: `[batches, K]`, the largest dual norm of the gradient of `g_cj` in each
        batch of samples; 0 for class c.
      vanished: `[K]`, the fraction of samples whose gradient is 0, or so small that
        over the whole radius it would not change the last bit of the margin in float32.
    """

    margins: np.ndarray
    maxima: np.ndarray
    vanished: np.ndarray


def gradient_maxima(
    logits_fn: LogitsFn,
    image: Any,
    key: Array,
    norm: Norm = "l2",
    radius: float = 2.0,
    label: int | None = None,
    batches: int = 500,
    samples: int = 1024,
    clip: bool = True,
    chunk: int | None = None,
    report: Report | None = None,
) -> Maxima:
    """Computes the largest gradient norms in batches of samples of a ball.

    It is a host driver, not for use inside jit.

    Args:
      logits_fn, chunk, report: as in `symjax.metrics`.
      image: `[H, W, C]`, float, in [0, 1].
      key: one random key.
      norm: norm of the ball, "l1", "l2" or "linf".
      radius: radius of the ball, in pixel units.
      label: class c; None: the class that the net predicts for the image.
      batches: the number of batches, each of which gives a maximum.
      samples: the number of samples per batch. Sample s of batch b depends only on the
        key, b and s.
      clip: clip samples to valid pixels; otherwise they are uniform in the ball.

    Returns:
      `Maxima`.

    Raises:
      ValueError: if an argument is invalid, or if the logits of the image are not
        finite.
      FloatingPointError: if a gradient is not finite.
    """
    norm = as_norm(norm)
    if not isinstance(clip, bool):
        raise ValueError(f"CLEVER: clip={clip!r}: expected True or False.")
    _check(
        radius, batches=batches, samples=samples, chunk=1 if chunk is None else chunk
    )
    net, images, key, label = _prepared(logits_fn, image, key, label)
    bounds = (0.0, 1.0) if clip else (-np.inf, np.inf)
    threat = ThreatModel(norm, images.dtype.type(radius), bounds)
    maxima = _sampled(net, key, images, threat, label, batches, samples, chunk, report)
    if not np.isfinite(maxima.maxima).all():
        raise FloatingPointError(
            "gradients are not finite in the ball, so that there is no score: leave "
            "out nets that diverged."
        )
    return maxima


def gradient_norms(
    logits_fn: LogitsFn, images: Array, label: int | Array, norm: Norm
) -> Array:
    """The dual norms of the gradients of all margins, `||grad f_c - grad f_j||_q`.

    All classes are computed in one pass; `1/p + 1/q = 1`. The function can be traced.

    Args:
      logits_fn: `[N, H, W, C] -> [N, K]`.
      images: `[N, H, W, C]`.
      label: class c, the same for all images.
      norm: the norm p, "l1", "l2" or "linf".

    Returns:
      `[N, K]`; 0 for class c.
    """
    logits, back = jax.vjp(logits_fn, images)
    classes = logits.shape[1]
    others = (label + jnp.arange(1, classes)) % classes
    basis = jnp.eye(classes, dtype=logits.dtype)
    directions = (basis[label][None] - basis[others])[:, None]
    directions = jnp.broadcast_to(directions, (classes - 1, *logits.shape))
    (gradients,) = jax.vmap(back)(directions)
    dual = jax.vmap(ThreatModel(DUAL[norm], 1.0).lengths)(gradients)[..., 0, 0, 0]
    return jnp.zeros(logits.shape, dual.dtype).at[:, others].set(dual.T)


def partial_report(report: Report | None, index: int, parts: int) -> Report | None:
    """A report for one of several parts, which calls `report` with overall numbers."""
    if report is None:
        return None
    return lambda done, total: report(index * total + done, parts * total)


def _sampled(net, key, images, threat, label, batches, samples, chunk, report):
    """The `Maxima` of one image."""
    draw, measure = _programs(threat.norm)
    with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
        outputs = np.asarray(evaluate(net, images), np.float64)[0]
        check_finite(np.isfinite(outputs).all(keepdims=True))
        label = np.int32(outputs.argmax() if label is None else label)
        margins = outputs[label] - outputs
        total, classes = batches * samples, len(outputs)
        gradients = at_a_time(None, ON_CPU, ELSEWHERE)
        chunk = min(chunk or max(1, gradients // (classes - 1)), total)

        def compute(first):
            x = draw(threat, images, key, np.int32(first), np.int32(samples), chunk)
            return measure(net, x, label)

        maxima = np.zeros((batches, classes), np.float32)
        vanished = np.zeros(classes, int)
        for first, norms in _in_turn(compute, range(0, total, chunk)):
            norms = norms[: total - first]
            done = first + len(norms)
            np.maximum.at(maxima, np.arange(first, done) // samples, norms)
            last_bit = FLOAT32 * np.abs(margins)
            vanished += (norms * threat.eps <= last_bit).sum(axis=0)
            if report:
                report(done, total)
    own = np.arange(classes) == label
    return Maxima(
        margins=np.where(own, np.inf, margins),
        maxima=maxima,
        vanished=np.where(own, 0.0, vanished / total),
    )


def _in_turn(compute, chunks) -> Iterator[tuple[int, np.ndarray]]:
    """The results of each chunk, copied to the host while the next one is computed."""
    ahead = []
    for first in chunks:
        ahead.append((first, compute(first)))
        if len(ahead) == 2:
            done, norms = ahead.pop(0)
            yield done, np.asarray(norms)
    for done, norms in ahead:
        yield done, np.asarray(norms)


@functools.cache
def _programs(norm: Norm):
    """The programs for draws and gradients.

    In one program, the first convolution would draw its samples nine times.
    """
    jit = compilation.jit_fast_compile
    measure = functools.partial(gradient_norms, norm=norm)
    return jit(_draw, static_argnums=5), jit(measure)


def _draw(threat, images, key, first, samples, count):
    """Samples of the ball with the numbers from `first` on, `[count, H, W, C]`."""

    def one(index):
        batch_key = jax.random.fold_in(key, index // samples)
        sample_key = jax.random.fold_in(batch_key, index % samples)
        return threat.start(sample_key, images)[0]

    return jax.vmap(one)(first + jnp.arange(count))


def _prepared(logits_fn, image, key, label):
    """The arguments, checked and converted; the image as a batch of one."""
    refuse_traced("CLEVER", logits_fn, image, key)
    if not isinstance(image, (np.ndarray, Array)) or image.ndim != 3:
        raise ValueError(
            f"image: {type(image).__name__} of shape {np.shape(image)}: expected an "
            "array [H, W, C]."
        )
    labels = None
    if label is not None:
        label = whole_number("CLEVER", "label", label, 0)
        labels = np.array([label])
    with jax.default_matmul_precision("highest"):  # as for the gradients
        call = logits_fn, image[None], labels, key
        given = prepare("CLEVER", *call, optional=("labels", "threat"))
    return given.net, given.images, given.key, label


def _check(radius: float, **counts: int) -> None:
    if not (is_number(radius) and 0 < radius < np.inf):
        raise ValueError(
            f"radius={radius!r}: expected a positive and finite number, in pixel units."
        )
    for name, count in counts.items():
        whole_number("CLEVER", name, count)
