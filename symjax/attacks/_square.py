"""Square attack (Andriushchenko et al. 2020): random search, without gradients.

    result = square(logits_fn, images, labels, key, attacks.Linf(8 / 255))

Each query changes one square window of the perturbation; an image keeps the change if
its margin becomes larger. The windows become smaller over time. The position of the
window is the same for all images of a batch; in linf its signs, one per channel, are
the same as well.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from symjax.attacks import iterative, windows
from symjax.attacks.entry import attack
from symjax.attacks.iterative import AttackInputs, Best
from symjax.attacks.losses import largest_margin
from symjax.attacks.result import AttackResult, LogitsFn, select
from symjax.attacks.threat import ThreatModel

TINY = 1e-12  # of the span of the pixels, to avoid a division by zero
INSIDE = 1 - 1e-6  # l1: of eps, so that the rounded image is in the ball


@attack("n_queries", "initial_share", "rescale", one_radius=True)
def square(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    n_queries: int = 5000,
    initial_share: float = 0.8,
    rescale: bool = False,
) -> AttackResult:
    """Runs the Square attack once, with the margin as its loss.

    As in the public reference implementation, a window never reaches the last row and
    the last column, and has the same position in every image of a batch; the paper
    draws a position for each image.

    Args:
      logits_fn, images, labels, key, threat: see `symjax.attacks`; eps is one number.
        No gradients are used.
      n_queries: the number of queries after the first one.
      initial_share: the fraction of the pixels in the first windows (p in the paper).
      rescale: choose the window sizes as if there were 10,000 queries; AutoAttack does
        not.

    Raises:
      ValueError: if settings are out of range, or images, labels or eps are invalid.

    References:
      Andriushchenko et al., Square Attack: a Query-Efficient Black-Box Adversarial
      Attack via Random Search, ECCV 2020; in l1, Croce and Hein, ICML 2021.
    """
    run = Square(n_queries, initial_share, rescale)
    problem = AttackInputs(images, labels, key, threat)
    return iterative.run(run, logits_fn, problem).best.result(problem)


class _State(struct.PyTreeNode):
    best: Best  # its margin is never above the margin at x
    x: Array
    margin: Array  # [B], of x


@dataclasses.dataclass(frozen=True)
class Square:
    """`square` as an `IterativeAttack`; its attributes are arguments of `square`."""

    n_queries: int = 5000
    initial_share: float = 0.8
    rescale: bool = False

    @property
    def steps(self) -> int:
        """The number of steps, one per query."""
        return self.n_queries

    def init(self, logits_fn: LogitsFn, problem: AttackInputs) -> _State:
        """The state with stripes in linf, with a grid of bumps in l2 and l1."""
        key = jax.random.fold_in(problem.key, problem.rank)
        if problem.threat.norm == "linf":
            x = _stripes(key, problem)
        else:
            x = _grid(key, problem)
        margin = largest_margin(logits_fn(x), problem.labels)
        best = Best.none(problem.images).spend(1).offer(x, margin)
        return _State(best, x, margin)

    def propose(self, logits_fn, problem, index, state) -> tuple[_State, Array]:
        """The images with one window changed."""
        del logits_fn
        key = jax.random.fold_in(problem.key, problem.rank)
        key = jax.random.fold_in(key, 1 + index)
        height, width = problem.images.shape[1:3]
        norm = problem.threat.norm
        sizes = windows.sizes(
            self.n_queries, self.initial_share, self.rescale, height, width, norm
        )
        size = jnp.asarray(sizes)[index]
        change = _paint if norm == "linf" else _shift_mass
        return state, change(key, problem, state.x, size, tuple(sorted(set(sizes))))

    def update(self, logits_fn, problem, index, state, x) -> _State:
        """Keeps the change of each image whose margin became larger."""
        del index
        margin = largest_margin(logits_fn(x), problem.labels)
        better = (margin > state.margin) & ~state.best.broken
        best = state.best.spend(1)
        best = best.offer(x, jnp.where(better, margin, -jnp.inf))
        return _State(
            best, select(better, x, state.x), jnp.where(better, margin, state.margin)
        )


def _signs(key: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.rademacher(key, shape, jnp.float32)


def _stripes(key: Array, problem: AttackInputs) -> Array:
    """Vertical stripes of plus and minus eps, one sign per column and channel."""
    batch, _, width, channels = problem.images.shape
    stripes = _signs(key, (batch, 1, width, channels))
    threat = problem.threat
    return threat.project(problem.images + threat.eps * stripes, problem.images)


def _paint(key, problem: AttackInputs, x, size, sizes) -> Array:
    """The images with a window of one sign per channel, in linf."""
    del sizes
    place_key, sign_key = jax.random.split(key)
    mask = windows.drawn(place_key, x.shape[1:3], size)[None, :, :, None]
    sign = _signs(sign_key, (1, 1, 1, x.shape[-1]))
    threat = problem.threat
    return threat.project(x + 2 * threat.eps * sign * mask, problem.images)


def _shift_mass(key, problem: AttackInputs, x, size, sizes) -> Array:
    """The images with the mass of two windows moved into one bump, in l2 and l1."""
    keys = jax.random.split(key, 4)
    images, threat = problem.images, problem.threat
    batch, height, width, channels = images.shape
    delta = x - images
    corner = windows.corner(keys[0], (height, width), size)
    here = windows.inside(corner, (height, width), size)[None, :, :, None]
    there = windows.drawn(keys[1], (height, width), size)[None, :, :, None]
    bumps = jnp.stack(
        [jnp.asarray(windows.padded_bump(s, height, width, threat.norm)) for s in sizes]
    )
    bump = bumps[jnp.searchsorted(jnp.asarray(sizes), size)]
    bump = jnp.where(jax.random.bernoulli(keys[2]), windows.transposed(bump), bump)
    bump = jnp.roll(bump, corner, (0, 1))[None, :, :, None]
    new = bump * _signs(keys[3], (batch, 1, 1, channels))
    tiny = TINY * threat.span(images)
    new += here * delta / (tiny + _mass(here * delta, threat.norm))
    new /= TINY + _mass(new, threat.norm)
    delta_windows = _mass(jnp.maximum(here, there) * delta, threat.norm)
    new *= _budget(threat, delta, delta_windows, channels)
    delta = jnp.where(here > 0, new, jnp.where(there > 0, 0.0, delta))
    return _onto(threat, images, delta)


def _budget(threat: ThreatModel, delta, in_windows, channels: int) -> Array:
    """The norm a window may have in each channel: its mass and its part of the rest."""
    length = threat.lengths(delta)
    if threat.norm == "l1":
        left = jnp.maximum(threat.eps - length, 0.0)
        return (left / channels + in_windows) * channels
    left = jnp.maximum(threat.eps**2 - length**2, 0.0)
    return jnp.sqrt(left / channels + in_windows**2)


def _onto(threat: ThreatModel, images: Array, delta: Array) -> Array:
    """The images plus delta, scaled to the ball's boundary and within the bounds."""
    if threat.norm == "l1":
        return threat.scaled(INSIDE).project(images + delta, images)
    tiny = jnp.finfo(delta.dtype).tiny
    delta = delta / (tiny + threat.lengths(delta)) * threat.eps
    return threat.project(images + delta, images)


def _mass(delta: Array, norm: str) -> Array:
    """The norm of each channel, `[B, 1, 1, C]`."""
    if norm == "l1":
        return jnp.sum(jnp.abs(delta), axis=(1, 2), keepdims=True)
    return jnp.sqrt(jnp.sum(jnp.square(delta), axis=(1, 2), keepdims=True))


def _grid(key: Array, problem: AttackInputs) -> Array:
    """The start in l2 and l1: 5 x 5 bumps, with a sign for each image and channel."""
    images, threat = problem.images, problem.threat
    batch, height, width, channels = images.shape
    side = max(min(height, width) // 5, 1)
    rows, columns = height // side, width // side
    origin = max(min(height, width) - 5 * side, 0) // 2
    sign_key, transpose_key = jax.random.split(key)
    bump = jnp.asarray(windows.bump(side, threat.norm))
    transposed = jax.random.bernoulli(transpose_key, shape=(rows, columns, 1, 1))
    tiles = jnp.where(transposed, bump.T, bump)
    signs = _signs(sign_key, (batch, rows, columns, channels))
    delta = jnp.einsum("rcij,brck->bricjk", tiles, signs)
    delta = delta.reshape(batch, rows * side, columns * side, channels)
    delta = delta[:, : height - origin, : width - origin]
    after = [
        (origin, n - origin - m)
        for n, m in zip((height, width), delta.shape[1:3], strict=True)
    ]
    delta = jnp.pad(delta, [(0, 0), *after, (0, 0)])
    return _onto(threat, images, delta * threat.span(images))
