"""Batch norm over all axes except the channels, with sums that are fast on a CPU.

    y = nn.BatchNorm(momentum=0.9)(x, train=True)     # [B, H, W, C] or [B, H, W, G, C]

On a feature map on a group, the statistics are shared over the group axis, so that the
layer is equivariant. Values, parameters and running averages are those of Flax's
`BatchNorm`. Only the order of summation differs: with `lowering="mixed"` the sums are
pairwise sums of halves, which are as accurate as a tree and limited only by memory
bandwidth on XLA's CPU backend, both forward and backward.
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
      momentum: the weight of the old running averages in an update.
      epsilon: a constant added to the variance.
      dtype: dtype of the outputs; statistics and parameters are float32.
      lowering: with "mixed", sums are computed by halves, see the top of this module.
      unbiased: update the running variance with the unbiased variance of the batch,
        which is n / (n - 1) times larger for n values per channel, as PyTorch does;
        False does as Flax.

    Variables: `scale` and `bias` in "params", `mean` and `var` in "batch_stats", `[C]`.
    """

    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    lowering: Lowering = "patches"
    unbiased: bool = False

    @linen.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Normalizes `x`, `[B, ..., C]`; the output has the same shape.

        Args:
          x: floating point; B may be 0 if not `train`.
          train: use the statistics of the batch and update the running averages;
            otherwise, use the running averages.

        Raises:
          ValueError: for an invalid setting or input, or an empty batch in training.
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
                f"BatchNorm: the input has shape {x.shape}: expected [B, ..., C], with "
                "at least one image where train=True, and no other axis of length 0."
            )
        return x

    def _moments(self, rows: Array) -> tuple[Array, Array]:
        """Mean and variance over the batch and all positions, `[C]` each."""
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
    """The sum over the first two axes; halves are added while the length is even."""
    while rows.shape[1] % 2 == 0:
        half = rows.shape[1] // 2
        rows = rows[:, :half] + rows[:, half:]
    return _sum(rows)


@_sum_by_halves.defjvp
def _sum_by_halves_jvp(primals, tangents):
    return _sum_by_halves(*primals), _sum(*tangents)  # its transpose is a broadcast


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _spread_by_halves(values: Array, shape: tuple[int, ...]) -> Array:
    """Broadcasts `[C]` to `[B, M, C]`; the gradient is a sum by halves."""
    return jnp.broadcast_to(values, shape)


@_spread_by_halves.defjvp
def _spread_by_halves_jvp(shape, primals, tangents):
    (tangent,) = tangents
    batch, size, channels = shape
    halvings = (size & -size).bit_length() - 1  # the exponent of 2 in size
    rows = jnp.broadcast_to(tangent, (batch, size >> halvings, channels))
    for _ in range(halvings):
        rows = jnp.concatenate([rows, rows], axis=1)
    return _spread_by_halves(*primals, shape), rows
