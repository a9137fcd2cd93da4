"""Local Lipschitz constants of margins, by sampling and by ascent (Definition 4, A.1).

    result = ball_suprema(logits_fn, images, labels, key, attacks.L2(0.5), samples=256)
    result.ratio                              # [G, B, K - 1]; 1 in Appendix A.1
    steepest(logits_fn, images, labels, key, attacks.L2(0.5)).constant        # [B]

Both functions compute lower bounds of the local Lipschitz constant `L_q`, the largest
dual norm of the margin's gradient in the ball `B_p(x, r)`, with `1/p + 1/q = 1`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

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
PROBE = 0.2  # h, as a fraction of the radius


class BallSuprema(NamedTuple):
    """Dual norms of margin gradients at the points of an orbit, and around them.

    Attributes:
      center: `[G, B, K - 1]`, the norm at g x.
      largest: `[G, B, K - 1]`, the largest norm at g x and the samples around it, a
        lower bound of the supremum. The samples around g x are those around x, rotated
        by g.
    """

    center: Array
    largest: Array

    @property
    def ratio(self) -> Array:
        """The ratio `largest / center`, `[G, B, K - 1]`; NaN if all gradients are 0."""
        return self.largest / self.center


class Steepest(NamedTuple):
    """The result of `steepest`.

    Attributes:
      constant: `[B]`, the largest dual norm of the gradient at any evaluated point, a
        lower bound of the Lipschitz constant, in logits per pixel unit in lp.
      center: `[B]`, the dual norm at the image.
      images: `[B, H, W, C]`, the points of the largest norm, in the ball and the
        bounds.
      flat: `[B]`, the fraction of steps without a direction of ascent. If it is 1, only
        the random starts were evaluated.
    """

    constant: Array
    center: Array
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

    By Theorem 1, the supremum of `||grad g_cj||_q` is the same over the balls around
    all points of the orbit. For an invariant net, `largest` is the same for all g. The
    last line of Appendix A.1 states in addition that the supremum is the norm at x, so
    that `ratio` would be 1 (`docs/theory.md`, remark 5).

    Args:
      logits_fn, images, labels, key, threat, chunk: as in `symjax.metrics`.
      samples: the number of points in each ball.
      group: the group; with C1, only x is measured.

    Returns:
      `BallSuprema`, in logits per pixel unit in lp.
    """
    v = cotangents(logits_fn(images), labels, "margins")
    keys = keys_of_images(key, len(images))

    def norms(points, v):  # [G, B, K - 1]
        aligned = aligned_orbit_gradients(logits_fn, points, v, group)
        return jnp.moveaxis(lengths(aligned, DUAL[threat.norm]), 1, 2)

    def step(largest, numbers, counts):
        points = draw(threat, images, keys, numbers).reshape(-1, *images.shape[1:])
        values = norms(points, jnp.tile(v, (1, len(numbers), 1)))
        values = values.reshape(group.order, len(numbers), *largest.shape[1:])
        values = jnp.where(counts[None, :, None, None], values, 0.0)
        return jnp.maximum(largest, jnp.max(values, axis=1))

    center = norms(images, v)
    return BallSuprema(center, over_samples(step, center, samples, chunk))


@measure("steps", "n_restarts")
def steepest(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    steps: int = 20,
    n_restarts: int = 2,
) -> Steepest:
    """A lower bound of a margin's local Lipschitz constant, by projected ascent.

    It ascends `||grad g_cj(x')||_q` in the ball, where j is the other class with the
    largest logit at x, by steps of 2.5 r / steps. With u the unit step in lp of
    steepest ascent, this norm is `<grad g, u>`, and its gradient is `H u`, where H is
    the second derivative. For a net of ReLUs and maxima, H is 0 almost everywhere.
    Therefore the finite difference `grad g(x' + h u) - grad g(x' - h u)` with
    h = 0.2 r is used instead, which depends on other linear pieces of the net.

    Args:
      logits_fn, images, labels, key, threat: as in `symjax.metrics`.
      steps: the number of steps per restart.
      n_restarts: the number of restarts, each from a random point.

    Returns:
      `Steepest`. All evaluated points count, including `x' + h u` and `x' - h u`; all
      of them are in the ball.
    """
    v = cotangents(logits_fn(images), labels, "margin")
    keys, dual = keys_of_images(key, len(images)), DUAL[threat.norm]
    radius = jnp.asarray(threat.eps)
    step = 2.5 * radius / steps

    def gradient(x):
        return input_gradients(logits_fn, x, v)[0]

    def direction_of_ascent(best, x, gradients):
        ends = []
        for side in (1.0, -1.0):
            end = threat.ascend(x, side * gradients, PROBE * radius, sparsity=0.0)
            end = threat.project(end, images)
            ends.append(gradient(end))
            best = _steeper(best, end, lengths(ends[-1], dual))
        return best, ends[0] - ends[1]

    def ascend(_, carry):
        x, best, flat = carry
        gradients = gradient(x)
        best = _steeper(best, x, lengths(gradients, dual))
        best, direction = direction_of_ascent(best, x, gradients)
        flat = flat + jnp.all(direction == 0, axis=(1, 2, 3))
        x = threat.project(threat.ascend(x, direction, step), images)
        return x, best, flat

    def restart(number, carry):
        best, flat = carry
        x = draw(threat, images, keys, number[None])[0]
        x, best, flat = jax.lax.fori_loop(0, steps, ascend, (x, best, flat))
        return _steeper(best, x, lengths(gradient(x), dual)), flat

    center = lengths(gradient(images), dual)
    start = (images, center), jnp.zeros(len(images))
    (points, constant), flat = jax.lax.fori_loop(0, n_restarts, restart, start)
    return Steepest(constant, center, points, flat / (steps * n_restarts))


def _steeper(best: tuple[Array, Array], x: Array, norms: Array):
    """The points and norms, replaced where the new norm is larger or NaN."""
    wins = (norms > best[1]) | jnp.isnan(norms)
    return select(wins, x, best[0]), jnp.where(wins, norms, best[1])
