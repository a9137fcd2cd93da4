"""Are gradients smoother? (Paper, Sections 4.4 and 4.5: Definition 13, Lemma 5)

    average = orbit_average(logits_fn, images, labels)         # Lemma 5, left side
    spread = gradient_variance(logits_fn, images, labels, key, attacks.L2(0.5))
    spread.relative                                            # [B]
    high_frequency_share(logits_fn, images, labels)            # [B]

The right side of Lemma 5 is in `curvature`. Sections 4.4 and 4.5 give no figures: the
variance and the share of a symmetric net are to be compared with the baseline's.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import ThreatModel
from symjax.groups import C4, Group
from symjax.metrics.jacobian import (
    Of,
    aligned_orbit_gradients,
    apply_group,
    cotangents,
    input_gradients,
    spectral_norm,
)
from symjax.metrics.program import measure
from symjax.metrics.samples import draw, keys_of_images, over_samples

SAMPLES = 256
CHUNK = 8  # samples of every image at a time
CUTOFF = 0.5


class OrbitAverage(NamedTuple):
    """The gradient `phi_j(x)`, and how far its averages over the orbit are from it.

    Attributes:
      gradient: `[B]`, `||phi_j(x)||`.
      as_written: `[B]`, `||mean_g phi_j(g x) - phi_j(x)||`.
      turned_back: `[B]`, `||mean_g g^-1 phi_j(g x) - phi_j(x)||`.
    """

    gradient: Array
    as_written: Array
    turned_back: Array


class GradientVariance(NamedTuple):
    """Moments of the gradient in a ball.

    Attributes:
      variance: `[B]`, `E ||grad - E grad||^2`, unbiased.
      mean_square: `[B]`, `||E grad||^2`, of the samples' mean.
    """

    variance: Array
    mean_square: Array

    @property
    def relative(self) -> Array:
        """`[B]`, variance over mean square; NaN where all gradients are 0."""
        return self.variance / self.mean_square


@measure("of", "group")
def orbit_average(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    of: Of = "logit",
    group: Group = C4,
) -> OrbitAverage:
    """Definition 13, and the left side of Lemma 5: `||mean - phi_j(x)||`.

    The definition averages `grad f_j(g x)` as it stands. Of an invariant net that is
    the mean of `g phi_j(x)`, the symmetric part of the gradient: its distance from the
    gradient is the length of the rest, and not small. Section 4.4 speaks of a smoothed
    gradient field, which would be the gradient of the orbit-averaged net, each term
    turned back: of an invariant net that is the gradient itself, and the distance is 0.
    Both are measured. The right side is `tangent_changes` or `orbit_changes`, with the
    same `of`.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, in [0, 1], square if the group has quarter turns.
      labels: `[B]`, integers in [0, K): j.
      of: "logit", as the paper; others as in `jacobian.cotangents`, the length then
        being the spectral norm.
      group: the group.

    Returns:
      `OrbitAverage`, logits a pixel unit in l2.

    Raises:
      ValueError: for images or labels that cannot be.
    """
    v = cotangents(logits_fn(images), labels, of)
    back = aligned_orbit_gradients(logits_fn, images, v, group)
    there = apply_group(back, group)
    return OrbitAverage(
        gradient=spectral_norm(back[0]),
        as_written=spectral_norm(jnp.mean(there, axis=0) - back[0]),
        turned_back=spectral_norm(jnp.mean(back, axis=0) - back[0]),
    )


@measure("samples", "of", "chunk")
def gradient_variance(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    samples: int = SAMPLES,
    of: Of = "logit",
    chunk: int = CHUNK,
) -> GradientVariance:
    """How much the gradient varies nearby (Sections 4.4 and 4.5).

    The paper says that symmetric nets have "low-variance gradient fields", and that a
    scale branch lowers the variance "across local neighborhoods". The relative variance
    is the one to compare: logits twice as large have four times the variance.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, in the threat's bounds.
      labels: `[B]`, integers in [0, K).
      key: one key, or `[B]`, see `samples.keys_of_images`.
      threat: the neighbourhood; samples are uniform in it, then moved to valid pixels.
      samples: of each neighbourhood, 2 or more.
      of: what is differentiated, as in `jacobian.cotangents`; of several gradients,
        their variances are summed. The rival of "margin" is chosen at x.
      chunk: samples of every image at a time; changes nothing beyond rounding.

    Returns:
      `GradientVariance`, in squared logits a pixel unit.

    Raises:
      ValueError: for images, labels, counts or a radius that cannot be.
    """
    if samples < 2:
        raise ValueError(f"gradient_variance: samples={samples}: expected 2 or more.")
    v = cotangents(logits_fn(images), labels, of)
    keys = keys_of_images(key, len(images))
    base = input_gradients(logits_fn, images, v)  # [R, B, H, W, C]

    def step(carry, numbers, counts):
        total, squares = carry
        points = draw(threat, images, keys, numbers).reshape(-1, *images.shape[1:])
        found = input_gradients(logits_fn, points, jnp.tile(v, (1, len(numbers), 1)))
        change = found.reshape(len(v), len(numbers), *images.shape) - base[:, None]
        change = jnp.where(counts[None, :, None, None, None, None], change, 0.0)
        squares = squares + jnp.sum(change**2, axis=(0, 1, 3, 4, 5))
        return total + jnp.sum(change, axis=1), squares

    start = jnp.zeros_like(base), jnp.zeros(len(images), base.dtype)
    total, squares = over_samples(step, start, samples, chunk)
    about = squares - _square(total) / samples  # sums are of changes from that at x
    variance = jnp.maximum(about, 0.0) / (samples - 1)
    return GradientVariance(variance, _square(base + total / samples))


@measure("of")
def high_frequency_share(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    cutoff: ArrayLike = CUTOFF,
    of: Of = "logit",
) -> Array:
    """The share of the gradient's power in fine detail (Section 4.5).

    The paper says that aggregating over scales suppresses "high-frequency components"
    of the gradient, like a low-pass filter. Here: of the power spectrum over height and
    width, summed over channels, what lies above `cutoff` times the highest frequency of
    an axis, half a wave a pixel, in length of the frequency vector.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, in [0, 1].
      labels: `[B]`, integers in [0, K).
      cutoff: 0 to sqrt(2), traced; of white noise, about `1 - pi cutoff^2 / 4` of the
        power lies above it, 0.80 for 0.5.
      of: what is differentiated, as in `jacobian.cotangents`; powers are summed.

    Returns:
      `[B]`, in [0, 1]; NaN where the gradient is 0.

    Raises:
      ValueError: for images or labels that cannot be.
    """
    v = cotangents(logits_fn(images), labels, of)
    gradients = input_gradients(logits_fn, images, v)
    largest = jnp.max(jnp.abs(gradients), axis=(0, 2, 3, 4), keepdims=True)
    waves = jnp.fft.fft2(gradients / largest, axes=(2, 3))  # the share has no unit
    power = jnp.sum(jnp.abs(waves) ** 2, axis=(0, 4))
    rows, columns = (jnp.fft.fftfreq(size) / 0.5 for size in images.shape[1:3])
    fine = jnp.hypot(rows[:, None], columns[None, :]) > cutoff
    above = jnp.where(fine[None], power, 0.0)
    return jnp.sum(above, axis=(1, 2)) / jnp.sum(power, axis=(1, 2))


def _square(gradients: Array) -> Array:
    return jnp.sum(gradients**2, axis=(0, 2, 3, 4))
