"""Threat models: what a perturbation may be (paper, Definition 2).

    threat = Linf(eps=8 / 255)          # every pixel by at most 8/255, inside [0, 1]

The norm is static; eps and bounds are traced arrays, so that a sweep over eps compiles
once. All of them are in pixel units, of images in [0, 1].
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jax.typing import ArrayLike

Norm = Literal["linf", "l2"]
NORMS = ("linf", "l2")
ROUNDING = 1e-6  # float32 adds to a pixel with an error of at most 6e-8; 16 times that


@struct.dataclass
class ThreatModel:
    """A norm ball around each image, cut by the bounds of valid pixels.

    With one eps a channel the ball is `norm(delta / eps) <= 1`.

    Attributes:
      norm: "linf" or "l2".
      eps: radius in pixel units, a scalar or `[C]`, not negative.
      bounds: lowest and highest valid value, scalars or `[C]`.
    """

    norm: Norm = struct.field(pytree_node=False)
    eps: ArrayLike
    bounds: tuple[ArrayLike, ArrayLike] = (0.0, 1.0)

    def project(self, images: Array, center: Array) -> Array:
        """The images `[B, H, W, C]` moved into the ball around `center` and the bounds.

        The clip to the bounds comes last and stays inside the ball, since `center` lies
        within the bounds.
        """
        delta = images - center
        if self.norm == "linf":
            eps = _per_channel(self.eps)
            delta = jnp.clip(delta, -eps, eps)
        else:
            delta = delta / jnp.maximum(_lengths(self._relative(delta)), 1.0)
            delta = jnp.where(_per_channel(self.eps) > 0, delta, 0.0)
        low, high = self.bounds
        return jnp.clip(center + delta, _per_channel(low), _per_channel(high))

    def start(self, key: Array, center: Array) -> Array:
        """Uniformly drawn in the ball, then clipped to the bounds: `[B, H, W, C]`."""
        if self.norm == "linf":
            noise = jax.random.uniform(key, center.shape, minval=-1.0, maxval=1.0)
        else:
            direction_key, radius_key = jax.random.split(key)
            noise = jax.random.normal(direction_key, center.shape)
            dimensions = np.prod(center.shape[1:])
            radius = jax.random.uniform(radius_key, (len(center), 1, 1, 1))
            noise *= radius ** (1 / dimensions) / _lengths(noise)
        return self.project(center + _per_channel(self.eps) * noise, center)

    def ascend(self, images: Array, gradients: Array, step: ArrayLike) -> Array:
        """One step of steepest ascent in this norm.

        Args:
          images, gradients: `[B, H, W, C]`.
          step: length in pixel units, a scalar or `[C]`.
        """
        step = _per_channel(step)
        if self.norm == "linf":
            return images + step * jnp.sign(gradients)
        scaled = gradients * step
        tiny = jnp.finfo(scaled.dtype).tiny
        largest = jnp.max(jnp.abs(scaled), axis=(1, 2, 3), keepdims=True)
        scaled = scaled / jnp.maximum(largest, tiny)  # squares of tiny values vanish
        return images + step * scaled / jnp.maximum(_lengths(scaled), tiny)

    def distance(self, images: Array, center: Array) -> Array:
        """The norm of the difference, pixel units: `[B]`."""
        delta = jnp.abs(images - center)
        if self.norm == "linf":
            return jnp.max(delta, axis=(1, 2, 3))
        return _lengths(delta)[:, 0, 0, 0]

    def contains(self, images: Array, center: Array) -> np.ndarray:
        """Whether each image is finite, in the ball and in the bounds: `[B]`, bool.

        Computed in float64 on the host, up to `ROUNDING`; not for use inside jit.
        """
        x, start = np.asarray(images, np.float64), np.asarray(center, np.float64)
        low, high = (np.asarray(bound, np.float64) for bound in self.bounds)
        relative = (x - start) / (np.asarray(self.eps, np.float64) + ROUNDING)
        if self.norm == "linf":
            length = np.abs(relative).max(axis=(1, 2, 3))
        else:
            length = np.sqrt(np.square(relative).sum(axis=(1, 2, 3)))
        inside = length <= 1
        valid = (x >= low - ROUNDING) & (x <= high + ROUNDING)
        finite = np.isfinite(x).all(axis=(1, 2, 3))
        return np.asarray(inside & valid.all(axis=(1, 2, 3)) & finite)

    def _relative(self, delta: Array) -> Array:
        eps = _per_channel(self.eps)
        return jnp.where(eps > 0, delta / jnp.where(eps > 0, eps, 1.0), 0.0)


def _per_channel(value: ArrayLike) -> Array:
    """A scalar, or `[C]` as `[1, 1, 1, C]`."""
    array = jnp.asarray(value, jnp.float32)
    return array if array.ndim == 0 else array.reshape(1, 1, 1, -1)


def _lengths(delta: Array) -> Array:
    """Euclidean norm of each image, `[B, 1, 1, 1]`."""
    return jnp.sqrt(jnp.sum(jnp.square(delta), axis=(1, 2, 3), keepdims=True))


def Linf(  # noqa: N802 - named as the norm is
    eps: ArrayLike, bounds: tuple[ArrayLike, ArrayLike] = (0.0, 1.0)
) -> ThreatModel:
    """Every pixel by at most eps."""
    return ThreatModel("linf", eps, bounds)


def L2(  # noqa: N802 - named as the norm is
    eps: ArrayLike, bounds: tuple[ArrayLike, ArrayLike] = (0.0, 1.0)
) -> ThreatModel:
    """Every image by a Euclidean distance of at most eps."""
    return ThreatModel("l2", eps, bounds)


def in_pixels(
    eps: float, unit: Literal["pixel", "normalized"], std: Sequence[float]
) -> float | tuple[float, ...]:
    """An epsilon converted to pixel units, the only ones used further in.

    Args:
      eps: the radius, in `unit`.
      unit: "pixel", of images in [0, 1]; or "normalized", of `(image - mean) / std`.
      std: the net's normalisation, one value or one a channel.

    Returns:
      A number, or one a channel where the std differs between channels.

    Raises:
      ValueError: for another unit, or an eps that is negative or not finite.
    """
    if not np.isfinite(eps) or eps < 0:
        raise ValueError(f"eps={eps}: expected a finite number that is not negative.")
    if unit == "pixel":
        return float(eps)
    if unit != "normalized":
        raise ValueError(f"eps_unit={unit!r}: expected 'pixel' or 'normalized'.")
    pixels = tuple(float(eps * value) for value in std)
    return pixels[0] if len(set(pixels)) == 1 else pixels
