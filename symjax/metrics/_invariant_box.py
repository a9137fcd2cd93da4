"""The largest box around an image in which a prediction is invariant.

    box = invariant_box(logits_fn, images, labels)      # by linear programming
    fraction = verified_fraction(logits_fn, images, labels, key, box)
    box.size * fraction                                 # [B], pixel units

The paper cites this metric, the "maximally invariant data perturbation" of Hara et al.
2018, for its Figure 5: how far each pixel can change, up and down, so that no image in
the box has another class. An exact solution is not known. Hara et al. replace the net
by its linearization, which gives a linear program; the prediction of the net itself may
change in that box. `verified_fraction` is the largest fraction of the box in which an
attack does not change it: an upper estimate, not a certificate.

A pixel that raises all margins is not limited by them, so that boxes are rarely small:
compare nets with the same `max_radius`. The authors' heat maps need tangents at noisy
images, slack variables, and one variable for several pixels, which are left out here.
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
from symjax.metrics._gradient_maxima import Report
from symjax.metrics.jacobian import cotangents, input_gradients
from symjax.metrics.samples import keys_of_images
from symjax.metrics.tolerance import image_batches

MAX_RADIUS = 0.1


class Box(NamedTuple):
    """The images from `image - lower_width` to `image + upper_width`.

    Attributes:
      lower_width, upper_width: `[B, H, W, C]`, not negative, in pixel units.
    """

    lower_width: np.ndarray
    upper_width: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """The mean of all half-widths, `[B]`, in pixel units."""
        return (self.lower_width + self.upper_width).mean(axis=(1, 2, 3)) / 2

    def times(self, factor: Any) -> "Box":
        """The boxes with their widths multiplied by the factors, `[B]`."""
        factors = np.asarray(factor, np.float32).reshape(-1, 1, 1, 1)
        return Box(self.lower_width * factors, self.upper_width * factors)


def invariant_box(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    max_radius: float = MAX_RADIUS,
    chunk: int | None = None,
    report: Report | None = None,
) -> Box:
    """Computes the largest box in which the linearized margins stay positive.

    It maximizes `sum_k upper_k + lower_k` over all values k, subject to
    `sum_k upper_k max(-h_jk, 0) + lower_k max(h_jk, 0) <= g_j` for each other class j,
    where `g_j` is the margin and `h_j` its gradient at the image, to
    `0 <= upper, lower <= max_radius`, and to the box being within [0, 1]. It is a host
    driver, not for use inside jit.

    Args:
      logits_fn, images, chunk, report: as in `symjax.metrics`.
      labels: `[B]`, the class that must not change.
      max_radius: upper limit of the half-widths, in pixel units.

    Returns:
      A `Box`; its widths are 0 where the image itself is misclassified.

    Raises:
      ValueError: if an argument is invalid.
      FloatingPointError: if a margin or a gradient is not finite.
      RuntimeError: if a linear program was not solved.

    References:
      Hara, Ikeno, Soma and Maehara, Maximally Invariant Data Perturbation as
      Explanation, 2018.
    """
    if not 0 < max_radius < np.inf:
        raise ValueError(f"max_radius={max_radius}: expected a finite number above 0.")
    net, images, labels = _checked(logits_fn, images, labels)
    boxes, count = [], len(images)
    for part in image_batches(count, chunk):
        with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
            linear = _linearized()(net, images[part], labels[part])
        margins, gradients = (np.asarray(array, np.float64) for array in linear)
        if not (np.isfinite(margins).all() and np.isfinite(gradients).all()):
            raise FloatingPointError(
                "a margin or its gradient is not finite, so that there is no box: "
                "leave out nets that diverged."
            )
        for place, margin, gradient in zip(part, margins, gradients, strict=True):
            if place == len(boxes):  # skip those that fill the last batch
                pixels = images[place].reshape(-1).astype(np.float64)
                room = np.clip(np.stack([pixels, 1 - pixels]), 0, max_radius)
                boxes.append(_solved(margin, gradient, room))
                if report:
                    report(len(boxes), count)
    lower, upper = np.stack(boxes, axis=1).astype(np.float32)
    return Box(lower.reshape(images.shape), upper.reshape(images.shape))


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
    """The largest fraction of each box in which APGD finds no error, `[B]`.

    It is computed by bisection. APGD did not break the returned fraction of the box; it
    may also fail to break a larger one. With more steps, APGD breaks slightly smaller
    fractions.

    Args:
      logits_fn, images, labels, chunk, report: as in `invariant_box`.
      key: random key of the attack's starts, which are uniform in the box: one key, or
        `[B]`, see `keys_of_images`.
      box: the boxes of these images.
      steps: the number of steps of APGD, which ascends the margin loss inside the box.
      halvings: the number of bisections; the fraction is computed to `2**-halvings`.

    Returns:
      `[B]` in [0, 1]; 0 where the image itself is misclassified.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: expected 1 or more.")
    net, images, labels = _checked(logits_fn, images, labels)
    factors, count, attack = [], len(images), _attack(steps)
    keys = keys_of_images(key, count)
    for part in image_batches(count, chunk):
        whole = Box(box.lower_width[part], box.upper_width[part])

        def robust(factor, part=part, whole=whole):
            call = net, images[part], labels[part], keys[part], whole.times(factor)
            return np.asarray(attack(*call))

        with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
            factors.append(_bisected(robust, len(part), halvings))
        if report:
            report(int(part[-1]) + 1, count)
    return np.concatenate(factors)[:count]


def _bisected(robust, count: int, halvings: int) -> np.ndarray:
    """The largest factor in [0, 1] for which `robust` is true; 0 if it never is."""
    high = np.ones(count)
    low = np.where(robust(high), 1.0, 0.0)
    for _ in range(halvings):
        middle = (low + high) / 2
        passed = robust(middle)
        low, high = np.where(passed, middle, low), np.where(passed, high, middle)
    return low


def _solved(margins: np.ndarray, gradients: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The solution of one image's linear program, lower and upper widths `[2, N]`.

    Args:
      margins: `[K - 1]`.
      gradients: `[K - 1, N]`.
      room: `[2, N]`, the upper limits of the widths.
    """
    if margins.min() <= 0:
        return np.zeros_like(room)
    losses = np.concatenate(
        [np.maximum(gradients, 0), np.maximum(-gradients, 0)], axis=1
    )
    limits = np.stack([np.zeros(room.size), room.reshape(-1)], axis=1)
    solution = optimize.linprog(
        -np.ones(room.size), A_ub=losses, b_ub=margins, bounds=limits, method="highs"
    )
    if solution.status != 0:
        raise RuntimeError(f"a linear program was not solved: {solution.message}")
    return np.clip(solution.x.reshape(room.shape), 0, room)


@functools.cache
def _linearized():
    """A program that returns margins `[B, K - 1]` and gradients `[B, K - 1, N]`."""

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
    """A program that runs APGD with the box scaled to [-1, 1] in every pixel."""
    cube = Linf(1.0, bounds=(-1.0, 1.0))

    def run(net, images, labels, keys, box):
        draw = functools.partial(jax.random.uniform, minval=-1.0)
        start = jax.vmap(lambda key: draw(key, images.shape[1:]))(keys)
        inside, middle = Partial(_in_box, net, images, box), jnp.zeros_like(images)
        call = inside, middle, labels, keys[0], cube  # the key is not used: see `start`
        return unchecked(apgd)(*call, loss="margin", steps=steps, start=start).robust

    return compilation.jit_fast_compile(run)


def _in_box(net: Partial, images: Array, box: Box, places: Array) -> Array:
    """The logits at places in the box, or NaN, an error for APGD, if not finite."""
    delta = (1 + places) / 2 * box.upper_width - (1 - places) / 2 * box.lower_width
    logits = net(images + delta)
    return jnp.where(jnp.isfinite(logits), logits, jnp.nan)


def _checked(logits_fn: LogitsFn, images: Any, labels: Any):
    with jax.default_matmul_precision("highest"):
        given = prepare("invariant", logits_fn, images, labels, optional=OPTIONAL)
    return given.net, np.asarray(given.images), np.asarray(given.labels)
