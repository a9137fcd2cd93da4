"""Batch norm over all axes but the channels, with sums that a CPU is fast at.

    y = nn.BatchNorm(momentum=0.9)(x, train=True)     # [B, H, W, C] or [B, H, W, G, C]

On a field the statistics are shared over the group, so the layer commutes with it. It
is Flax's `BatchNorm` in values, parameters and running averages. What differs is how
it adds up: with `lowering="mixed"` by halves, which is as exact as a tree is and which
XLA's CPU backend runs at the speed of memory, in both directions of differentiation.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array
from jax.typing import DTypeLike

from symjax.nn import settings
from symjax.nn.convolution import LOWERINGS, Lowering


class BatchNorm(linen.Module):
    """`(x - mean) / sqrt(variance + epsilon) * scale + bias` (Ioffe and Szegedy, 2015).

    Attributes:
      momentum: share of the running averages that one batch leaves in place.
      epsilon: added to the variance.
      dtype: of the outputs; statistics and parameters are float32.
      lowering: "mixed" adds up by halves, see the top of this module.
      unbiased: move the running variance by the unbiased variance of the batch,
        n / (n - 1) times larger for n values a channel, as PyTorch does; False is Flax.

    Variables: `scale` and `bias` in "params", `mean` and `var` in "batch_stats", `[C]`.
    """

    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    lowering: Lowering = "patches"
    unbiased: bool = False

    @linen.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """`[B, ..., C]` to the same shape.

        `train` uses the statistics of the batch and updates the running averages. B may
        be 0 otherwise.

        Raises:
          ValueError: for a setting or an input that cannot be, and in training if there
            is nothing to take statistics of.
        """
        x = self._checked(x, train)
        shape = x.shape[-1:]
        averages = (
            self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32),
            self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32),
        )
        wide = jnp.promote_types(x.dtype, jnp.float32)
        rows = x.reshape(len(x), math.prod(x.shape[1:-1]), *shape).astype(wide)
        if train:
            statistics = self._moments(rows)
            if not self.is_initializing():
                mean, variance = statistics
                count = rows.shape[0] * rows.shape[1]
                if self.unbiased:
                    variance = variance * (count / max(count - 1, 1))
                for average, new in zip(averages, (mean, variance), strict=True):
                    kept = self.momentum * average.value
                    average.value = kept + (1 - self.momentum) * new
        else:
            statistics = tuple(average.value for average in averages)
        mean, variance = statistics
        scale = self.param("scale", linen.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", linen.initializers.zeros, shape, jnp.float32)
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale
        rows = (rows - self._spread(mean, rows)) * self._spread(factor, rows)
        rows = rows + self._spread(bias, rows)
        return rows.astype(self.dtype).reshape(x.shape)

    def _checked(self, x: Array, train: bool) -> Array:
        settings.number("BatchNorm", "momentum", self.momentum, most=1)
        settings.number("BatchNorm", "epsilon", self.epsilon)
        settings.dtype("BatchNorm", "dtype", self.dtype)
        settings.one_of("BatchNorm", "lowering", self.lowering, LOWERINGS)
        x = settings.floating("BatchNorm", x)
        if x.ndim < 2 or 0 in (x.shape if train else x.shape[1:]):
            raise ValueError(
                f"BatchNorm: the input is {x.shape}: expected [B, ..., C], with at "
                "least one image where train=True, and no other axis of length 0."
            )
        return x

    def _moments(self, rows: Array) -> tuple[Array, Array]:
        """Mean and variance over the batch and the places, `[C]` each."""
        total = _sum_by_halves if self.lowering == "mixed" else _sum
        count = rows.shape[0] * rows.shape[1]
        mean, square = total(rows) / count, total(rows * rows) / count
        return mean, jnp.maximum(square - mean * mean, 0)

    def _spread(self, values: Array, rows: Array) -> Array:
        if self.lowering == "mixed":
            return _spread_by_halves(values, rows.shape)
        return values.reshape(1, 1, -1)


def _sum(rows: Array) -> Array:
    return jnp.sum(rows, axis=(0, 1))


@jax.custom_jvp
def _sum_by_halves(rows: Array) -> Array:
    """One half is added to the other while it can be; few rows are left to sum."""
    while rows.shape[1] % 2 == 0:
        half = rows.shape[1] // 2
        rows = rows[:, :half] + rows[:, half:]
    return _sum(rows)


@_sum_by_halves.defjvp
def _sum_by_halves_jvp(primals, tangents):
    return _sum_by_halves(*primals), _sum(*tangents)  # whose transpose broadcasts


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _spread_by_halves(values: Array, shape: tuple[int, ...]) -> Array:
    """`[C]` to `[B, M, C]`; its gradient is a sum by halves."""
    return jnp.broadcast_to(values, shape)


@_spread_by_halves.defjvp
def _spread_by_halves_jvp(shape, primals, tangents):
    (tangent,) = tangents
    batch, size, channels = shape
    halvings = (size & -size).bit_length() - 1  # how often two divides it
    rows = jnp.broadcast_to(tangent, (batch, size >> halvings, channels))
    for _ in range(halvings):
        rows = jnp.concatenate([rows, rows], axis=1)
    return _spread_by_halves(*primals, shape), rows
