"""A sound lower bound on the distance of the nearest error (paper, Definition 4).

    metrics.distance_bound(logits_fn, images, labels, norm="linf")      # [B]

No image nearer than that, with pixels in [0, 1], is misclassified: a ball is pushed
through the net as intervals, one for each value (Gowal et al. 2018), and its radius
found by bisection. That costs little and is loose in deep nets. Three things are known
better than value by value: what is linear in the image, as a first layer is, moves by
eps times the dual norm of its row; margins are bounded as one linear function of what
the last bend gives, not logit by logit; and maxima are known as such. Behind the first
layer a ball is treated as the box that holds it.

The bound is one of the net as a function of real numbers. It is computed in float64 and
rounded outwards; what does not depend on the image, as batch norm's factors, counts as
it comes out in float64. A float32 net may differ from that function by its rounding.

Any `logits_fn` will do whose operations are in `interval.RULES`. Convolutions by
Winograd's tiles add and subtract what cancels, so that intervals explode: build such a
net with the lowering "patches", which is also the fastest here.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax.attacks.checks import check_finite, refuse_traced
from symjax.attacks.entry import whole_number
from symjax.attacks.inputs import OPTIONAL, prepare
from symjax.attacks.losses import is_correct
from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import Norm, as_norm, host_lengths
from symjax.metrics.interval import TINY, Interval, roundings, widened
from symjax.metrics.linear import Linear, jitted, linear_parts, margin_columns
from symjax.metrics.program import evaluate
from symjax.metrics.propagation import Program, push
from symjax.metrics.samples import parts
from symjax.metrics.steps import Value

SMALLEST = 1e-9  # in pixel units; a bound below that is called 0
TOGETHER = 20  # images at a time


def distance_bound(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    norm: Norm = "linf",
    steps: int = 12,
) -> np.ndarray:
    """The largest radius at which every margin is proven positive, by bisection.

    Driven from the host, not for use inside jit. Other weights of the same net compile
    nothing.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, float, in [0, 1].
      labels: `[B]`, integers in [0, K).
      norm: of the ball, "linf", "l2" or "l1".
      steps: of the bisection, of the logarithm of the radius between 1e-9 and d, the
        diameter of [0, 1]^D; n of them leave a factor of `(1e9 d)^(1 / 2^n)`.

    Returns:
      `[B]`, float64, pixel units; 0 where the image is misclassified, or where nothing
      is proven; at most the diameter.

    Raises:
      ValueError: if arguments cannot be, an operation of the net has no rule, or a
        logit is not finite.

    References:
      Gowal et al., On the Effectiveness of Interval Bound Propagation for Training
      Verifiably Robust Models, 2018.
    """
    norm, steps = as_norm(norm), whole_number("distance_bound", "steps", steps)
    with jax.default_matmul_precision("highest"):
        refuse_traced("distance_bound", logits_fn, images, labels)
        given = prepare("distance_bound", logits_fn, images, labels, optional=OPTIONAL)
    net, labels = given.net, np.asarray(given.labels)
    images = np.asarray(given.images, np.float32)
    weights, structure = jax.tree.flatten(net)
    types = tuple((np.shape(x), jnp.result_type(x)) for x in weights)
    program = _read(structure, types, images.shape[1:])
    correct = _correct(net, images, labels)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        linear = linear_parts(program, weights, norm)
        wide = images.astype(np.float64)
        found = [
            _bisect(program, weights, linear, wide[part], labels[part], norm, steps)
            for part in parts(len(images), TOGETHER)
        ]
    return np.where(correct, np.concatenate(found)[: len(images)], 0.0)


def margin_bounds(
    program: Program,
    weights: Sequence[Any],
    linear: Linear,
    images: Array,
    labels: Array,
    eps: Array,
) -> Array:
    """Lower bounds of `g_cj = f_c - f_j` over balls in [0, 1]^D; traceable.

    Args:
      program, weights: the net, and what it is given.
      linear: of both, for the norm of the balls.
      images: `[B, H, W, C]`, float64, as all that follows.
      labels: `[B]`.
      eps: radii, `[B]`.

    Returns:
      `[B, K]`; infinite at class c. NaN or negative where nothing is proven.
    """
    known = program.known(weights)

    def one(image, label, eps):
        found = _whole(program, known, linear.reach, image, eps)
        low = linear.offset.lower[0, label] - linear.offset.upper[0]
        terms = [low - roundings(1) * jnp.abs(low)]
        for source, columns in zip(program.last.sources, linear.columns, strict=True):
            rows = margin_columns(columns, label)
            term = _least(rows, found[source])
            if source is program.image:
                center = _least(rows, Interval(image, image))
                term = jnp.maximum(term, center - eps * linear.margin_reach[label])
            terms.append(term)
        summed = jnp.stack(terms)
        loose = roundings(len(terms)) * jnp.abs(summed).sum(axis=0)
        margins = summed.sum(axis=0) - loose
        return jnp.where(jnp.arange(margins.size) == label, jnp.inf, margins)

    return jax.vmap(one)(images, labels, eps)


def _whole(program: Program, known, reach, image: Array, eps: Array):
    """The intervals of all values, for one image `[H, W, C]`."""
    exact = {program.image: Interval(image[None], image[None])}
    center = push(program.first.steps, known | exact)
    far = {
        value: eps * unit * (1 + roundings(1))
        for value, unit in zip(program.first.ends, reach, strict=True)
    }

    def cut(value: Value, ends: Interval) -> Interval:
        if value not in far:
            return ends
        low, high = center[value]
        low, high = widened(low - far[value], high + far[value])
        return Interval(jnp.maximum(ends.lower, low), jnp.minimum(ends.upper, high))

    low, high = widened(image[None] - eps, image[None] + eps)
    box = Interval(jnp.maximum(low, 0.0), jnp.minimum(high, 1.0))
    return push(program.steps, known | {program.image: box}, cut)


def _least(rows: Interval, source: Interval) -> Array:
    """The least of `sum_s rows[s] source[s]`, `[K]`."""
    ends = [x.reshape(-1, 1) for x in source]
    corners = jnp.stack([row * end for row in rows for end in ends])
    loose = roundings(corners.shape[1]) * jnp.abs(corners).max(axis=0) + TINY
    return jnp.sum(corners.min(axis=0) - loose, axis=0)


def _proven(program, weights, linear: Linear, images, labels, eps):
    bounds = margin_bounds(program, weights, linear, images, labels, eps)
    return jnp.min(bounds, axis=1) > 0


def _bisect(program, weights, linear, images, labels, norm, steps: int) -> np.ndarray:
    """The largest proven radius of each image, `[B]`."""
    proven = jitted(_proven, (0,))

    def holds(logarithm):
        eps = np.exp(logarithm)
        return np.asarray(proven(program, weights, linear, images, labels, eps)), eps

    diameter = host_lengths(np.ones(images.shape), norm)
    high = np.log(diameter)
    low = np.full_like(high, np.log(SMALLEST))
    (everywhere, _), (somewhere, best) = holds(high), holds(low)
    for _ in range(steps):
        middle = (low + high) / 2
        held, eps = holds(middle)
        low, high = np.where(held, middle, low), np.where(held, high, middle)
        best = np.where(held, eps, best)
    return np.where(everywhere, diameter, np.where(somewhere, best, 0.0))


def _correct(net, images, labels) -> np.ndarray:
    """Which images the net itself, in float32, gets right: `[B]`."""
    with jax.default_matmul_precision("highest"):
        logits = np.concatenate(
            [
                np.asarray(evaluate(net, jnp.asarray(images[part], jnp.float32)))
                for part in parts(len(images), TOGETHER)
            ]
        )[: len(images)]
    check_finite(np.isfinite(logits).all(axis=1))
    return np.asarray(is_correct(jnp.asarray(logits), labels))


@functools.lru_cache(maxsize=16)
def _read(structure: Any, types: tuple, shape: tuple[int, ...]) -> Program:
    """The program of a net, traced as it is: in float32."""
    weights = [jax.ShapeDtypeStruct(*each) for each in types]
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def logits(*given):
        *leaves, image = given
        return jax.tree.unflatten(structure, leaves)(image)

    return Program(jax.make_jaxpr(logits)(*weights, image))
