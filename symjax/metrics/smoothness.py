"""Smoothness of gradients (paper, Sections 4.4 and 4.5: Definition 13, Lemma 5).

    average = orbit_average(logits_fn, images, labels)         # Lemma 5, left side
    variance = gradient_variance(logits_fn, images, labels, key, attacks.L2(0.5))
    variance.relative                                          # [B]
    high_frequency_fraction(logits_fn, images, labels)         # [B]

The right side of Lemma 5 is in `curvature`. Sections 4.4 and 4.5 give no numbers; the
variance and the fraction of a symmetric net are to be compared with the baseline's.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import ThreatModel
from symjax.groups import C4, Group
from symjax.metrics.jacobian import (
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
    """Distances between the gradient `phi_j(x)` and its averages over the orbit.

    Attributes:
      gradient: `[B]`, `||phi_j(x)||`.
      as_written: `[B]`, `||mean_g phi_j(g x) - phi_j(x)||`.
      aligned: `[B]`, `||mean_g g^-1 phi_j(g x) - phi_j(x)||`.
    """

    gradient: Array
    as_written: Array
    aligned: Array


class GradientVariance(NamedTuple):
    """Moments of the gradient in a ball.

    Attributes:
      variance: `[B]`, the unbiased estimate of `E ||grad - E grad||^2`.
      mean_square: `[B]`, `||E grad||^2` for the mean of the samples.
    """

    variance: Array
    mean_square: Array

    @property
    def relative(self) -> Array:
        """The variance over the mean square, `[B]`; NaN if all gradients are 0."""
        return self.variance / self.mean_square


@measure("group")
def orbit_average(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    group: Group = C4,
) -> OrbitAverage:
    """Measures Definition 13 and the left side of Lemma 5, `||mean - phi_j(x)||`.

    The definition averages `grad f_j(g x)`, where j is the label. Section 4.4 describes
    a smoothed gradient, which is the mean of `g^-1 grad f_j(g x)`, the gradient of the
    orbit-averaged net. The distance of the gradient from both means is measured
    (`docs/theory.md`, remarks 8 and 9). The right side of the lemma is
    `tangent_changes` or `orbit_changes` with `output="logit"`.

    Args:
      logits_fn, images, labels, group: as in `symjax.metrics`.

    Returns:
      `OrbitAverage`, in logits per pixel unit in l2.
    """
    v = cotangents(logits_fn(images), labels, "logit")
    aligned = aligned_orbit_gradients(logits_fn, images, v, group)
    gradients = apply_group(aligned, group)
    return OrbitAverage(
        gradient=spectral_norm(aligned[0]),
        as_written=spectral_norm(jnp.mean(gradients, axis=0) - aligned[0]),
        aligned=spectral_norm(jnp.mean(aligned, axis=0) - aligned[0]),
    )


@measure("samples", "chunk")
def gradient_variance(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    samples: int = SAMPLES,
    chunk: int = CHUNK,
) -> GradientVariance:
    """The variance of the gradient in a ball around each image (Sections 4.4 and 4.5).

    The gradient is that of the label's logit. The paper states that symmetric nets have
    "low-variance gradient fields", and that a scale branch lowers the variance "across
    local neighborhoods". Compare the relative variance: logits twice as large have four
    times the variance.

    Args:
      logits_fn, images, labels, key, threat, chunk: as in `symjax.metrics`.
      samples: the number of samples per image, 2 or more.

    Returns:
      `GradientVariance`, in squared logits per squared pixel unit.
    """
    if samples < 2:
        raise ValueError(f"gradient_variance: samples={samples}: expected 2 or more.")
    v = cotangents(logits_fn(images), labels, "logit")
    keys = keys_of_images(key, len(images))
    base = input_gradients(logits_fn, images, v)  # [R, B, H, W, C]

    def step(carry, numbers, counts):
        total, squares = carry
        points = draw(threat, images, keys, numbers).reshape(-1, *images.shape[1:])
        repeated = jnp.tile(v, (1, len(numbers), 1))
        gradients = input_gradients(logits_fn, points, repeated)
        gradients = gradients.reshape(len(v), len(numbers), *images.shape)
        change = gradients - base[:, None]
        change = jnp.where(counts[None, :, None, None, None, None], change, 0.0)
        squares = squares + jnp.sum(change**2, axis=(0, 1, 3, 4, 5))
        return total + jnp.sum(change, axis=1), squares

    start = jnp.zeros_like(base), jnp.zeros(len(images), base.dtype)
    total, squares = over_samples(step, start, samples, chunk)
    deviations = squares - _square(total) / samples  # of changes from the gradient at x
    variance = jnp.maximum(deviations, 0.0) / (samples - 1)
    return GradientVariance(variance, _square(base + total / samples))


@measure()
def high_frequency_fraction(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    cutoff: ArrayLike = CUTOFF,
) -> Array:
    """The fraction of the gradient's power at high frequencies (Section 4.5).

    The paper states that aggregation over scales suppresses "high-frequency components"
    of the gradient, like a low-pass filter. This function computes the power spectrum
    of the gradient of the label's logit over height and width, summed over channels,
    and returns the fraction of it above the cutoff. A frequency is the norm of the
    frequency vector, in units of the highest frequency of an axis, half a wave per
    pixel.

    Args:
      logits_fn, images, labels: as in `symjax.metrics`.
      cutoff: 0 to sqrt(2); can be traced. For white noise the fraction is about
        `1 - pi cutoff^2 / 4`, which is 0.80 for 0.5.

    Returns:
      `[B]`, in [0, 1]; NaN where the gradient is 0.
    """
    v = cotangents(logits_fn(images), labels, "logit")
    gradients = input_gradients(logits_fn, images, v)
    largest = jnp.max(jnp.abs(gradients), axis=(0, 2, 3, 4), keepdims=True)
    waves = jnp.fft.fft2(gradients / largest, axes=(2, 3))  # the fraction has no unit
    power = jnp.sum(jnp.abs(waves) ** 2, axis=(0, 4))
    rows, columns = (jnp.fft.fftfreq(size) / 0.5 for size in images.shape[1:3])
    fine = jnp.hypot(rows[:, None], columns[None, :]) > cutoff
    above = jnp.where(fine[None], power, 0.0)
    return jnp.sum(above, axis=(1, 2)) / jnp.sum(power, axis=(1, 2))


def _square(gradients: Array) -> Array:
    return jnp.sum(gradients**2, axis=(0, 2, 3, 4))
