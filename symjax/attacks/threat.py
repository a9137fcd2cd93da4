"""Threat models: the set of allowed perturbations (paper, Definition 2).

    threat = Linf(eps=8 / 255)          # every pixel by at most 8/255, inside [0, 1]

The norm is static; eps and bounds are traced arrays, so that a sweep over eps compiles
once. Both are in pixel units, those of images in [0, 1].
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jax.typing import ArrayLike

from symjax import names
from symjax.attacks import projection

Norm = Literal["linf", "l2", "l1"]
Bounds = tuple[ArrayLike, ArrayLike]
NORMS = ("linf", "l2", "l1")
DUAL: dict[Norm, Norm] = {"linf": "l1", "l2": "l2", "l1": "linf"}
ORDERS: dict[float, Norm] = {np.inf: "linf", 2.0: "l2", 1.0: "l1"}
HUGE = 1e30
FAR = 16  # bounds beyond this many times an image's largest pixel do not set its span
SPARSITY = 0.01  # the fraction of pixels that an l1 step changes, as in SLIDE
ROUNDING = 1e-6
"""Tolerance as a fraction of the pixels' span: 16 times the largest error of a float32
addition, 6e-8."""


class ThreatModel(struct.PyTreeNode):
    """A norm ball around each image, intersected with the bounds of valid pixels.

    With one eps for each channel the ball is `norm(delta / eps) <= 1`. Computations are
    in the dtype of the images.

    Attributes:
      norm: "linf", "l2" or "l1"; the notations of other libraries, such as "Linf",
        `np.inf` or 2, are converted, see `as_norm`.
      eps: radius in pixel units, a scalar or `[C]`, not negative.
      bounds: lowest and highest valid value, scalars or `[C]`.

    Raises:
      ValueError: for an unknown norm.
    """

    norm: Norm = struct.field(pytree_node=False)
    eps: ArrayLike
    bounds: Bounds = (0.0, 1.0)

    def __post_init__(self):
        object.__setattr__(self, "norm", as_norm(self.norm))

    def project(self, images: Array, center: Array) -> Array:
        """The images projected into the ball around `center` and the bounds.

        In linf and l1 the result is the nearest point of the intersection. In l2 the
        images are projected onto the ball and then clipped to the bounds; they stay in
        the ball, because `center` is within the bounds.

        Args:
          images, center: `[B, H, W, C]`; the centers are within the bounds.
        """
        delta = images - center
        eps = self.radius(delta)
        if self.norm == "linf":
            delta = jnp.clip(delta, -eps, eps)
        elif self.norm == "l2":
            delta = delta / jnp.maximum(_lengths(self._relative(delta)), 1.0)
            delta = jnp.where(eps > 0, delta, 0.0)
        else:
            room = self._relative(self.room(center, delta))
            far = jnp.clip(self._relative(delta), -HUGE, HUGE)
            flat = len(far), -1
            nearest = projection.l1_ball(
                far.reshape(flat), room.reshape(flat), jnp.ones(())
            )
            delta = jnp.where(eps > 0, nearest.reshape(delta.shape) * eps, 0.0)
        return self.clip(center + delta)

    def scaled(self, factor: ArrayLike) -> "ThreatModel":
        """The threat model with eps multiplied by `factor`, and the same bounds."""
        return self.replace(eps=factor * jnp.asarray(self.eps))

    def radius(self, images: Array) -> Array:
        """The radius eps in the dtype of the images, a scalar or `[1, 1, 1, C]`."""
        return _per_channel(self.eps, images)

    def limits(self, images: Array) -> tuple[Array, Array]:
        """The bounds in the dtype of the images, each a scalar or `[1, 1, 1, C]`."""
        low, high = self.bounds
        return _per_channel(low, images), _per_channel(high, images)

    def clip(self, images: Array) -> Array:
        """The images `[B, H, W, C]` clipped to the bounds."""
        return jnp.clip(images, *self.limits(images))

    def start(self, key: Array, center: Array) -> Array:
        """A uniform random point in the ball, clipped to the bounds: `[B, H, W, C]`."""
        if self.norm == "linf":
            noise = jax.random.uniform(key, center.shape, center.dtype, -1.0, 1.0)
        else:
            direction_key, radius_key = jax.random.split(key)
            draw = jax.random.normal if self.norm == "l2" else jax.random.laplace
            noise = draw(direction_key, center.shape, center.dtype)
            dimensions = np.prod(center.shape[1:]).item()
            shape = len(center), 1, 1, 1
            radius = jax.random.uniform(radius_key, shape, center.dtype)
            noise *= radius ** (1 / dimensions) / self.lengths(noise)
        return self.project(center + self.radius(center) * noise, center)

    def ascend(
        self,
        images: Array,
        gradients: Array,
        step: ArrayLike,
        sparsity: ArrayLike | None = None,
    ) -> Array:
        """The images after one step of steepest ascent in this norm.

        In l1 the steepest direction changes one coordinate, and a step of useful length
        would leave the bounds. The step is therefore spread evenly over the coordinates
        with the largest gradients (Tramèr and Boneh 2019; Croce and Hein 2021 adapt
        their fraction).

        Args:
          images, gradients: `[B, H, W, C]`.
          step: length in pixel units, a scalar, `[C]` or `[B, 1, 1, 1]`.
          sparsity: in l1, the fraction of coordinates that change, a scalar or `[B]`.
            None: 1 %, among those that the bounds allow to change, as in Foolbox's
            SLIDE.
        """
        step = _per_channel(step, images)
        if self.norm == "linf":
            return images + step * jnp.sign(gradients)
        if self.norm == "l1":
            if sparsity is None:
                free = self.room(images, gradients) > 0
                gradients, sparsity = jnp.where(free, gradients, 0.0), SPARSITY
            sign = jnp.sign(_sparse(gradients, sparsity))
            count = jnp.maximum(self.lengths(sign), 1.0)  # 0 if all gradients are zero
            return images + step * sign / count
        scaled = gradients * step
        tiny = jnp.finfo(scaled.dtype).tiny
        largest = jnp.max(jnp.abs(scaled), axis=(1, 2, 3), keepdims=True)
        scaled = scaled / jnp.maximum(largest, tiny)  # squares of tiny values underflow
        return images + step * scaled / jnp.maximum(_lengths(scaled), tiny)

    def distance(self, images: Array, center: Array) -> Array:
        """The norm of the difference in pixel units, `[B]`."""
        return self.lengths(images - center)[:, 0, 0, 0]

    def lengths(self, delta: Array) -> Array:
        """The norm of each image's difference, `[B, 1, 1, 1]`."""
        return _lengths(delta, self.norm)

    def dual_lengths(self, gradients: Array) -> Array:
        """The dual norm of each image's gradient, `[B, 1, 1, 1]`."""
        return _lengths(gradients, DUAL[self.norm])

    def longest(self, images: Array) -> Array:
        """The norm of the longest difference within the bounds, `[B, 1, 1, 1]`."""
        low, high = self.limits(images)
        return self.lengths(jnp.broadcast_to(high - low, images.shape))

    def room(self, images: Array, direction: Array) -> Array:
        """The distance of each pixel to its bound in `direction`, `[B, H, W, C]`."""
        low, high = self.limits(images)
        room = jnp.where(direction > 0, high - images, images - low)
        return jnp.maximum(room, 0.0)

    def span(self, images: Array) -> Array:
        """The scale of the pixels, for tolerances, `[B, 1, 1, 1]`.

        It is the length of the shortest interval that contains 0 and all valid pixels:
        1 for bounds of [0, 1], 255 for [0, 255], and 2 for [-1, 1]. For each image it
        is at most 16 times the largest absolute value of its pixels, which also covers
        bounds that are infinite or very wide.
        """
        return _span(*self.limits(images), images, jnp)

    def rounding(self, images: ArrayLike) -> np.ndarray:
        """The tolerance of a pixel at a bound or the ball, `[B, 1, 1, 1]`.

        It is `ROUNDING` times the span, in float64 on the host; not for use inside jit.
        """
        low, high = (np.asarray(bound, np.float64) for bound in self.bounds)
        return ROUNDING * _span(low, high, np.asarray(images, np.float64), np)

    def contains(self, images: Array, center: Array) -> np.ndarray:
        """Whether each image is finite, in the ball and in the bounds: `[B]`, bool.

        It is computed in float64 on the host, with a tolerance of `rounding`, or of
        `ROUNDING` times eps if that is larger; not for use inside jit.
        """
        x, start = np.asarray(images, np.float64), np.asarray(center, np.float64)
        low, high = (np.asarray(bound, np.float64) for bound in self.bounds)
        eps, rounding = np.asarray(self.eps, np.float64), self.rounding(start)
        relative = (x - start) / (eps + np.maximum(ROUNDING * eps, rounding))
        inside = host_lengths(relative, self.norm) <= 1
        valid = (x >= low - rounding) & (x <= high + rounding)
        finite = np.isfinite(x).all(axis=(1, 2, 3))
        return np.asarray(inside & valid.all(axis=(1, 2, 3)) & finite)

    def _relative(self, delta: Array) -> Array:
        eps = self.radius(delta)
        return jnp.where(eps > 0, delta / jnp.where(eps > 0, eps, 1.0), 0.0)


def as_norm(norm: Any) -> Norm:
    """The name of a norm: "linf", "l2" or "l1".

    Args:
      norm: one of these names, or the notation of RobustBench, torchattacks or ART:
        "Linf", "L2", "L1", "inf", `np.inf`, 2 or 1.

    Raises:
      ValueError: for anything else; the message has the nearest name.
    """
    if isinstance(norm, (int, float, np.number)) and not isinstance(norm, bool):
        if float(norm) not in ORDERS:
            raise ValueError(f"norm {norm!r}: expected 1, 2 or np.inf.")
        return ORDERS[float(norm)]
    return cast(Norm, names.matched("norm", norm, NORMS))


def _per_channel(value: ArrayLike, images: Array) -> Array:
    """The value in the images' dtype; `[C]` becomes `[1, 1, 1, C]`."""
    array = jnp.asarray(value, images.dtype)
    return array.reshape(1, 1, 1, -1) if array.ndim == 1 else array


def _span(low, high, images, xp: Any):
    """`ThreatModel.span`, by NumPy or `jax.numpy`."""
    span = xp.maximum(xp.max(high), 0.0) - xp.minimum(xp.min(low), 0.0)
    most = FAR * xp.max(xp.abs(images), axis=(1, 2, 3), keepdims=True)
    span = xp.where(most > 0, xp.minimum(span, most), span)
    return xp.where(xp.isfinite(span), span, 1.0)


def _sparse(gradients: Array, sparsity: ArrayLike) -> Array:
    """The gradients with only the given fraction of largest entries, zero elsewhere."""
    size = jnp.abs(gradients).reshape(len(gradients), -1)
    count = size.shape[1]
    place = jnp.clip((1 - jnp.asarray(sparsity)) * count, 0, count - 1).astype(int)
    place = jnp.broadcast_to(place, len(size))[:, None]
    smallest = jnp.take_along_axis(jnp.sort(size, axis=1), place, axis=1)
    kept = (size >= smallest).reshape(gradients.shape)
    return jnp.where(kept, gradients, 0.0)


def _lengths(delta: Array, norm: Norm = "l2") -> Array:
    """The norm of each image, `[B, 1, 1, 1]`."""
    over = {"axis": (1, 2, 3), "keepdims": True}
    if norm == "l2":
        return jnp.sqrt(jnp.sum(jnp.square(delta), **over))
    return (jnp.max if norm == "linf" else jnp.sum)(jnp.abs(delta), **over)


def host_lengths(delta: np.ndarray, norm: Norm) -> np.ndarray:
    """The norm of each image's difference `[B, H, W, C]`, on the host: `[B]`."""
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    return np.linalg.norm(delta.reshape(len(delta), -1), order, axis=1)


def Linf(eps: ArrayLike, bounds: Bounds = (0.0, 1.0)) -> ThreatModel:  # noqa: N802
    """The threat model in which every pixel changes by at most eps."""
    return ThreatModel("linf", eps, bounds)


def L2(eps: ArrayLike, bounds: Bounds = (0.0, 1.0)) -> ThreatModel:  # noqa: N802
    """The threat model of perturbations whose Euclidean norm is at most eps."""
    return ThreatModel("l2", eps, bounds)


def L1(eps: ArrayLike, bounds: Bounds = (0.0, 1.0)) -> ThreatModel:  # noqa: N802
    """The threat model of perturbations whose sum of absolute values is at most eps."""
    return ThreatModel("l1", eps, bounds)


def in_pixels(
    eps: float, unit: Literal["pixel", "normalized"], std: Sequence[float]
) -> float | tuple[float, ...]:
    """The radius eps converted to pixel units, which all attacks use.

    Args:
      eps: the radius, in `unit`.
      unit: "pixel" for images in [0, 1], or "normalized" for `(image - mean) / std`.
      std: the std of the net's normalization, one value or one per channel.

    Returns:
      A number, or one number per channel if the std differs between channels.

    Raises:
      ValueError: for an unknown unit, or an eps that is negative or not finite.
    """
    if not np.isfinite(eps) or eps < 0:
        raise ValueError(f"eps={eps}: expected a finite number that is not negative.")
    if unit == "pixel":
        return float(eps)
    if unit != "normalized":
        raise ValueError(f"eps_unit={unit!r}: expected 'pixel' or 'normalized'.")
    pixels = tuple(float(eps * value) for value in std)
    return pixels[0] if len(set(pixels)) == 1 else pixels
