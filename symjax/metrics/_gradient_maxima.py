"""The largest gradients of all margins, in batches of points of a ball.

    found = gradient_maxima(logits_fn, image, key, norm="l2", radius=2.0)
    found.maxima                          # [batches, K], what CLEVER fits a law to

Algorithm 1 of Weng et al. 2018, for all classes in one pass over each sample. A sample
is uniform in the ball and has a key of its own, so that nothing depends on how many are
taken at a time.
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
from symjax.seeds import of_seed

Report = Callable[[int, int], None]

ON_CPU, ELSEWHERE = 144, 2048  # gradients at a time; on a CPU, more leave the caches
FLOAT32 = float(np.finfo(np.float32).eps)


class Maxima(NamedTuple):
    """What the sampling finds of an image; with a leading axis S, under S nets.

    Attributes:
      margins: `[K]`, `g_cj(x)`, the logit of class c less that of class j; infinite at
        c.
      maxima: `[batches, K]`, the largest dual norm of the gradient of `g_cj` among each
        batch of samples; 0 at c.
      vanished: `[K]`, the share of samples whose gradient is 0, or so small that over
        the whole radius it would not move the margin by its last bit in float32.
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
    """Samples the ball around one image; driven from the host, not for use inside jit.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own. Other weights of
        the same net compile nothing.
      image: `[H, W, C]`, float, in [0, 1].
      key: one key; or `[S]` keys, and a leading axis S on every leaf of `logits_fn`:
        S nets, together on an accelerator and in turn on a CPU.
      norm: of the ball, "l1", "l2" or "linf".
      radius: of the ball, in pixel units.
      label: c; None: the class that the net predicts for the image.
      batches: how many maxima are taken.
      samples: of a batch. Sample s of batch b depends on the key, b and s alone.
      clip: move samples to the nearest valid pixels; otherwise they fill the ball.
      chunk: samples at a time; changes nothing beyond rounding. None: as many as suit
        the backend.
      report: called after each chunk with the number of samples done, and of all.

    Returns:
      `Maxima`; leading axis S if there were S keys.

    Raises:
      ValueError: if settings, the image or the label cannot be, or if the logits of
        the image are not finite.
      FloatingPointError: if a gradient is not finite.
    """
    norm = as_norm(norm)
    if not isinstance(clip, bool):
        raise ValueError(f"CLEVER: clip={clip!r}: expected True or False.")
    _check(
        radius, batches=batches, samples=samples, chunk=1 if chunk is None else chunk
    )
    nets, images, key, label = _prepared(logits_fn, image, key, label)
    bounds = (0.0, 1.0) if clip else (-np.inf, np.inf)
    threat = ThreatModel(norm, images.dtype.type(radius), bounds)
    work = images, threat, label, batches, samples, chunk
    if key.ndim and (_on_cpu() or len(key) == 1):
        parts = [
            _sampled(
                of_seed(nets, seed), key[seed], *work, share(report, seed, len(key))
            )
            for seed in range(len(key))
        ]
        found = jax.tree.map(lambda *part: np.stack(part), *parts)
    else:
        found = _sampled(nets, key, *work, report)
    _check_finite(found)
    return found


def gradient_norms(
    logits_fn: LogitsFn, images: Array, label: int | Array, norm: Norm
) -> Array:
    """The dual norm of the gradient of each margin, from one pass for all classes.

    `||grad f_c - grad f_j||_q` with `1/p + 1/q = 1`; traceable.

    Args:
      logits_fn: `[N, H, W, C] -> [N, K]`.
      images: `[N, H, W, C]`.
      label: c, the same for all images.
      norm: p: "l1", "l2" or "linf".

    Returns:
      `[N, K]`; 0 at c.
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


def share(report: Report | None, index: int, parts: int) -> Report | None:
    """One part's progress, told as that of the whole."""
    if report is None:
        return None
    return lambda done, total: report(index * total + done, parts * total)


def _sampled(nets, key, images, threat, label, batches, samples, chunk, report):
    """The `Maxima` of one net and one key, or of S of them in one program."""
    draw, measure, logits = _programs(threat.norm, key.ndim > 0)
    with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
        outputs = np.asarray(logits(nets, images), np.float64)[..., 0, :]
        check_finite(np.isfinite(outputs).all(axis=-1, keepdims=True))
        label = outputs.argmax(axis=-1) if label is None else label
        label = np.broadcast_to(np.int32(label), outputs.shape[:-1])
        margins = np.take_along_axis(outputs, label[..., None], axis=-1) - outputs
        total, classes = batches * samples, outputs.shape[-1]
        chunk = min(chunk or _fitting(classes), total)

        def compute(first):
            x = draw(threat, images, key, np.int32(first), np.int32(samples), chunk)
            return measure(nets, x, label)

        maxima = np.zeros((batches, *outputs.shape), np.float32)
        still = np.zeros(outputs.shape, int)
        for first, norms in _in_turn(compute, range(0, total, chunk)):
            norms = np.moveaxis(norms, -2, 0)[: total - first]
            done = first + len(norms)
            np.maximum.at(maxima, np.arange(first, done) // samples, norms)
            last_bit = FLOAT32 * np.abs(margins)
            still += (norms * threat.eps <= last_bit).sum(axis=0)
            if report:
                report(done, total)
    own = np.arange(classes) == label[..., None]
    return Maxima(
        margins=np.where(own, np.inf, margins),
        maxima=np.moveaxis(maxima, 0, -2),
        vanished=np.where(own, 0.0, still / total),
    )


def _in_turn(compute, chunks) -> Iterator[tuple[int, np.ndarray]]:
    """What the device computed for each chunk, fetched while it is at the next."""
    ahead = []
    for first in chunks:
        ahead.append((first, compute(first)))
        if len(ahead) == 2:
            done, norms = ahead.pop(0)
            yield done, np.asarray(norms)
    for done, norms in ahead:
        yield done, np.asarray(norms)


def _fitting(classes: int) -> int:
    """How many samples to take at a time."""
    return max(1, (ON_CPU if _on_cpu() else ELSEWHERE) // (classes - 1))


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


@functools.cache
def _programs(norm: Norm, several: bool):
    """What the device does, for one net or for S: draws, gradients, logits.

    Programs of their own: a first convolution would draw its samples nine times over.
    """
    draw, measure, logits = _draw, functools.partial(gradient_norms, norm=norm), _call
    if several:
        draw = jax.vmap(draw, (None, None, 0, None, None, None))
        measure, logits = jax.vmap(measure), jax.vmap(logits, (0, None))
    quick = compilation.jit_fast_compile
    return quick(draw, static_argnums=5), quick(measure), quick(logits)


def _draw(threat, images, key, first, samples, count):
    """Samples `[count, H, W, C]` of the ball, from the first-th of all on."""

    def one(index):
        of_batch = jax.random.fold_in(key, index // samples)
        of_sample = jax.random.fold_in(of_batch, index % samples)
        return threat.start(of_sample, images)[0]

    return jax.vmap(one)(first + jnp.arange(count))


def _call(net, images):
    return net(images)


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
    with jax.default_matmul_precision("highest"):  # as the gradients are taken
        call = logits_fn, image[None], labels, key
        given = prepare("CLEVER", *call, optional=("labels", "threat"), seeds=True)
    return given.net, given.images, given.key, label


def _check(radius: float, **counts: int) -> None:
    if not (is_number(radius) and 0 < radius < np.inf):
        raise ValueError(
            f"radius={radius!r}: expected pixel units, positive and finite."
        )
    for name, count in counts.items():
        whole_number("CLEVER", name, count)


def _check_finite(found: Maxima) -> None:
    finite = np.isfinite(found.maxima).all(axis=(-2, -1))
    if not finite.all():
        bad = np.flatnonzero(~finite).tolist()
        which = f" of nets {bad}" if finite.ndim else ""
        raise FloatingPointError(
            f"gradients{which} are not finite in the ball: no score. Leave out nets "
            "that diverged."
        )
