"""The largest box around an image in which a prediction holds (Hara et al. 2018).

    box = invariant_box(logits_fn, images, labels)      # by linear programming
    box.size * holding(logits_fn, images, labels, key, box)       # [B], pixel units

The metric that the paper cites for its Figure 5, "maximally invariant data
perturbation": how far each pixel can go, up and down, so that no image in the box
changes the class. Nobody solves that exactly. Hara et al. put the net's linearisation
in its place, which makes it a linear program; whether the net itself holds in that box
is left open. `holding` finds how much of the box an attack cannot break: an estimate
from above, no certificate.

A pixel that moves all margins up is free, so that boxes are seldom small: compare nets
at the same `largest`. Left out of the linear program is what serves the authors' heat
maps: tangents at noisy images, with slack, and one variable for several pixels.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from scipy import optimize

from symjax import compilation
from symjax.attacks._apgd import apgd
from symjax.attacks.entry import unchecked
from symjax.attacks.inputs import OPTIONAL, prepare
from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import Linf
from symjax.io import in_batches
from symjax.metrics._gradient_maxima import Report
from symjax.metrics.jacobian import cotangents, input_gradients
from symjax.metrics.samples import keys_of_images
from symjax.metrics.tolerance import default_chunk

LARGEST = 0.1


class Box(NamedTuple):
    """Images from `image - below` to `image + above`.

    Attributes:
      below, above: `[B, H, W, C]`, not negative, pixel units.
    """

    lower_width: np.ndarray
    upper_width: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """The mean of all half-widths, `[B]`, pixel units."""
        return (self.lower_width + self.upper_width).mean(axis=(1, 2, 3)) / 2

    def times(self, factor: Any) -> "Box":
        """Each image's box, that much as large: `[B]`."""
        wide = np.asarray(factor, np.float32).reshape(-1, 1, 1, 1)
        return Box(self.lower_width * wide, self.upper_width * wide)


def invariant_box(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    largest: float = LARGEST,
    chunk: int | None = None,
    report: Report | None = None,
) -> Box:
    """The largest box in which the linearised margins stay positive; from the host.

    Maximises `sum_k above_k + below_k`, of all values k, subject to
    `sum_k above_k max(-h_jk, 0) + below_k max(h_jk, 0) <= g_j` for each other class j,
    the margin `g_j` and its gradient `h_j` at the image, to
    `0 <= above, below <= largest`, and to the box lying in [0, 1].

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own. Weights that lie
        in a `jax.tree_util.Partial` are traced: other weights compile nothing.
      images: `[B, H, W, C]`, float, in [0, 1].
      labels: `[B]`, the class that should hold.
      largest: of one pixel, in pixel units.
      chunk: images at a time; changes nothing beyond rounding. None: as many as suit
        the backend.
      report: called with the number of images done, and of all.

    Returns:
      A `Box`; empty where the image itself is misclassified.

    Raises:
      ValueError: if arguments cannot be.
      FloatingPointError: if a margin or a gradient is not finite.
      RuntimeError: if a linear program was not solved.

    References:
      Hara, Ikeno, Soma and Maehara, Maximally Invariant Data Perturbation as
      Explanation, 2018.
    """
    if not 0 < largest < np.inf:
        raise ValueError(f"largest={largest}: expected a number above 0.")
    net, images, labels = _checked(logits_fn, images, labels)
    boxes, count = [], len(images)
    for part in in_batches(count, min(default_chunk(chunk), count)):
        with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
            linear = _linearised()(net, images[part], labels[part])
        margins, gradients = (np.asarray(array, np.float64) for array in linear)
        if not (np.isfinite(margins).all() and np.isfinite(gradients).all()):
            raise FloatingPointError("a margin or its gradient is not finite: no box.")
        for place, margin, gradient in zip(part, margins, gradients, strict=True):
            if place == len(boxes):  # not one that fills up the last part
                pixels = images[place].reshape(-1).astype(np.float64)
                room = np.clip(np.stack([pixels, 1 - pixels]), 0, largest)
                boxes.append(_solved(margin, gradient, room))
                if report:
                    report(len(boxes), count)
    below, above = np.stack(boxes, axis=1).astype(np.float32)
    return Box(below.reshape(images.shape), above.reshape(images.shape))


def verified_fraction(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    key: Array,
    box: Box,
    steps: int = 20,
    halvings: int = 7,
    chunk: int | None = None,
    report: Report | None = None,
) -> np.ndarray:
    """How much of each box holds: the largest factor that APGD does not break, `[B]`.

    Found by bisection. The factor itself passed; where holding is not monotone, a
    larger one may pass as well. More steps break a little more.

    Args:
      logits_fn, images, labels, chunk, report: as in `invariant_box`.
      key: of the attack's starts, uniform in the box: one, or `[B]`, see
        `keys_of_images`.
      box: of these images.
      steps: of APGD, which ascends the margin loss inside the box.
      halvings: of the bisection: the factor is known to `2**-halvings`.

    Returns:
      `[B]` in [0, 1]; 0 where the image itself is misclassified.

    Raises:
      ValueError: if arguments cannot be.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: expected 1 or more.")
    net, images, labels = _checked(logits_fn, images, labels)
    factors, count, attack = [], len(images), _attack(steps)
    keys = keys_of_images(key, count)
    for part in in_batches(count, min(default_chunk(chunk), count)):
        whole = Box(box.lower_width[part], box.upper_width[part])

        def holds(factor, part=part, whole=whole):
            call = net, images[part], labels[part], keys[part], whole.times(factor)
            return np.asarray(attack(*call))

        with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
            factors.append(_bisected(holds, len(part), halvings))
        if report:
            report(int(part[-1]) + 1, count)
    return np.concatenate(factors)[:count]


def _bisected(holds, count: int, halvings: int) -> np.ndarray:
    """The largest factor in [0, 1] that holds, of each; 0 where none does."""
    high = np.ones(count)
    low = np.where(holds(high), 1.0, 0.0)
    for _ in range(halvings):
        middle = (low + high) / 2
        held = holds(middle)
        low, high = np.where(held, middle, low), np.where(held, high, middle)
    return low


def _solved(margins: np.ndarray, gradients: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The linear program of one image: `[2, N]`, below and above.

    Args:
      margins: `[K - 1]`.
      gradients: `[K - 1, N]`.
      room: `[2, N]`, how far each may go.
    """
    if margins.min() <= 0:
        return np.zeros_like(room)
    losses = np.concatenate(
        [np.maximum(gradients, 0), np.maximum(-gradients, 0)], axis=1
    )
    limits = np.stack([np.zeros(room.size), room.reshape(-1)], axis=1)
    found = optimize.linprog(
        -np.ones(room.size), A_ub=losses, b_ub=margins, bounds=limits, method="highs"
    )
    if found.status != 0:
        raise RuntimeError(f"a linear program was not solved: {found.message}")
    return np.clip(found.x.reshape(room.shape), 0, room)


@functools.cache
def _linearised():
    """Of a net, images and labels: margins `[B, K - 1]`, gradients `[B, K - 1, N]`."""

    def run(net, images, labels):
        logits = net(images)
        directions = cotangents(logits, labels, "margins")
        margins = jnp.einsum("jbk,bk->bj", directions, logits)
        gradients = input_gradients(net, images, directions)
        flat = gradients.reshape(*gradients.shape[:2], -1)
        return margins, flat.swapaxes(0, 1)

    return compilation.jit_fast_compile(run)


@functools.cache
def _attack(steps: int):
    """APGD where a pixel's lower end is -1 and its upper end 1."""
    cube = Linf(1.0, bounds=(-1.0, 1.0))

    def run(net, images, labels, keys, box):
        draw = functools.partial(jax.random.uniform, minval=-1.0)
        start = jax.vmap(lambda key: draw(key, images.shape[1:]))(keys)
        inside, middle = Partial(_in_box, net, images, box), jnp.zeros_like(images)
        call = inside, middle, labels, keys[0], cube  # the start is all that is drawn
        return unchecked(apgd)(*call, loss="margin", steps=steps, start=start).robust

    return compilation.jit_fast_compile(run)


def _in_box(net: Partial, images: Array, box: Box, places: Array) -> Array:
    """The logits; NaN, which APGD takes for an error, where one is not finite."""
    moved = (1 + places) / 2 * box.upper_width - (1 - places) / 2 * box.lower_width
    logits = net(images + moved)
    return jnp.where(jnp.isfinite(logits), logits, jnp.nan)


def _checked(logits_fn: LogitsFn, images: Any, labels: Any):
    with jax.default_matmul_precision("highest"):
        given = prepare("invariant", logits_fn, images, labels, optional=OPTIONAL)
    return given.net, np.asarray(given.images), np.asarray(given.labels)
