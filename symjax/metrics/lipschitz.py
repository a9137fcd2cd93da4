"""How steep margins get in a ball: by samples, and by ascent (Definition 4, A.1).

    found = ball_suprema(logits_fn, images, labels, key, attacks.L2(0.5), samples=256)
    found.ratio                               # [G, B, K - 1]; Appendix A.1 says 1
    steepest(logits_fn, images, labels, key, attacks.L2(0.5)).constant        # [B]

Both find lower bounds of the local Lipschitz constant `L_q`, the largest dual norm of
the margin's gradient in the ball `B_p(x, r)`, `1/p + 1/q = 1`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from symjax.attacks.result import LogitsFn, select
from symjax.attacks.threat import DUAL, ThreatModel
from symjax.groups import C4, Group
from symjax.metrics.jacobian import (
    aligned_orbit_gradients,
    cotangents,
    input_gradients,
    lengths,
)
from symjax.metrics.program import measure
from symjax.metrics.samples import draw, keys_of_images, over_samples

SAMPLES = 256
CHUNK = 8  # samples of every image at a time
PROBE = 0.2


class BallSuprema(NamedTuple):
    """Dual norms of margin gradients at the points of an orbit, and around them.

    Attributes:
      centre: `[G, B, K - 1]`, at g x, j as `jacobian.rivals` has them.
      largest: `[G, B, K - 1]`, of g x and the samples around it; those around x, turned
        along with it. No more than the supremum.
    """

    centre: Array
    largest: Array

    @property
    def ratio(self) -> Array:
        """`[G, B, K - 1]`, at least 1; NaN where all gradients are 0."""
        return self.largest / self.centre


class Steepest(NamedTuple):
    """The steepest place that an ascent found.

    Attributes:
      constant: `[B]`, the largest dual norm met, a lower bound of the Lipschitz
        constant, logits a pixel unit in lp.
      centre: `[B]`, the dual norm at the image.
      images: `[B, H, W, C]`, where it is, in the ball and the bounds.
      flat: `[B]`, the share of steps at which nothing showed the way up; 1 where the
        ascent was no more than its random starts.
    """

    constant: Array
    centre: Array
    images: Array
    flat: Array


@measure("samples", "group", "chunk")
def ball_suprema(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    samples: int = SAMPLES,
    group: Group = C4,
    chunk: int = CHUNK,
) -> BallSuprema:
    """The largest margin gradients in balls around the orbit (Theorem 1, Appendix A.1).

    Theorem 1: the supremum of `||grad g_cj||_q` over the balls around all of the orbit
    is that over the ball around x. So it is for an invariant net, as a turned ball is
    the ball around the turned image: `largest` is the same for all g. The last line of
    Appendix A.1 says more, that it is the norm at x: `ratio` would be 1. That is so
    where the gradient is largest at the centre, as a linear net's is.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, in the threat's bounds, square if the group has quarter
        turns.
      labels: `[B]`, c, integers in [0, K).
      key: one key, or `[B]`, see `samples.keys_of_images`.
      threat: the ball `B_p(x, r)` and the bounds.
      samples: points of each ball, uniform in it, then moved to valid pixels.
      group: the group; C1 looks at x alone.
      chunk: samples of every image at a time; changes nothing beyond rounding.

    Returns:
      `BallSuprema`, logits a pixel unit in lp.

    Raises:
      ValueError: for images, labels, counts or a radius that cannot be.
    """
    v = cotangents(logits_fn(images), labels, "margins")
    keys = keys_of_images(key, len(images))

    def norms(points, v):  # [G, B, K - 1]
        back = aligned_orbit_gradients(logits_fn, points, v, group)
        return jnp.moveaxis(lengths(back, DUAL[threat.norm]), 1, 2)

    def step(largest, numbers, counts):
        points = draw(threat, images, keys, numbers).reshape(-1, *images.shape[1:])
        found = norms(points, jnp.tile(v, (1, len(numbers), 1)))
        found = found.reshape(group.order, len(numbers), *largest.shape[1:])
        found = jnp.where(counts[None, :, None, None], found, 0.0)
        return jnp.maximum(largest, jnp.max(found, axis=1))

    centre = norms(images, v)
    return BallSuprema(centre, over_samples(step, centre, samples, chunk))


@measure("steps", "n_restarts", "exact")
def steepest(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    steps: int = 20,
    n_restarts: int = 2,
    step_size: ArrayLike | None = None,
    probe: ArrayLike = PROBE,
    targets: Array | None = None,
    exact: bool = False,
) -> Steepest:
    """The local Lipschitz constant of a margin, by projected gradient ascent.

    Ascends `||grad g_cj(x')||_q` in the ball. With u the unit step of lp along which
    the margin rises fastest, that norm is `<grad g, u>` and its gradient is `H u`, H
    the second derivative. A net of ReLUs and maxima has H = 0 almost everywhere: this
    takes `grad g(x' + h u) - grad g(x' - h u)` in its place, which sees other pieces.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, in the threat's bounds.
      labels: `[B]`, c, integers in [0, K).
      key: one key, or `[B]`, see `samples.keys_of_images`.
      threat: the ball `B_p(x, r)` and the bounds.
      steps: of each run.
      n_restarts: runs, each from a random point.
      step_size: pixel units; `2.5 r / steps` if None.
      probe: h, a share of the radius.
      targets: `[B]`, j; the largest other logit at the image if None.
      exact: ascend along `H u` itself, for smooth nets.

    Returns:
      `Steepest`. All points that were looked at count, probes too; all are in the ball.

    Raises:
      ValueError: for images, labels, counts or a radius that cannot be.
    """
    v = cotangents(logits_fn(images), labels, "margin")
    if targets is not None:
        basis = jnp.eye(v.shape[-1], dtype=v.dtype)
        v = (basis[labels] - basis[targets])[None]
    keys, dual = keys_of_images(key, len(images)), DUAL[threat.norm]
    radius = jnp.asarray(threat.eps)
    step = 2.5 * radius / steps if step_size is None else step_size

    def gradient(x):
        return input_gradients(logits_fn, x, v)[0]

    def uphill(best, x, gradients):
        if exact:
            u = threat.ascend(jnp.zeros_like(x), gradients, 1.0, sparsity=0.0)
            return best, jax.jvp(gradient, (x,), (u,))[1]
        ends = []
        for side in (1.0, -1.0):
            end = threat.ascend(x, side * gradients, probe * radius, sparsity=0.0)
            end = threat.project(end, images)
            ends.append(gradient(end))
            best = _steeper(best, end, lengths(ends[-1], dual))
        return best, ends[0] - ends[1]

    def ascend(_, carry):
        x, best, flat = carry
        gradients = gradient(x)
        best = _steeper(best, x, lengths(gradients, dual))
        best, direction = uphill(best, x, gradients)
        flat = flat + jnp.all(direction == 0, axis=(1, 2, 3))
        moved = threat.project(threat.ascend(x, direction, step), images)
        return moved, best, flat

    def restart(number, carry):
        best, flat = carry
        x = draw(threat, images, keys, number[None])[0]
        x, best, flat = jax.lax.fori_loop(0, steps, ascend, (x, best, flat))
        return _steeper(best, x, lengths(gradient(x), dual)), flat

    centre = lengths(gradient(images), dual)
    start = (images, centre), jnp.zeros(len(images))
    (found, constant), flat = jax.lax.fori_loop(0, n_restarts, restart, start)
    return Steepest(constant, centre, found, flat / (steps * n_restarts))


def _steeper(best: tuple[Array, Array], x: Array, found: Array):
    """Points and norms, the new where it is larger; NaN is told, not passed over."""
    wins = (found > best[1]) | jnp.isnan(found)
    return select(wins, x, best[0]), jnp.where(wins, found, best[1])
