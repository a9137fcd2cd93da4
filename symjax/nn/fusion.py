"""Fusion of parallel branches of a net (paper, equation 14 and Section 6.1).

y = nn.concatenate([standard, rotation, scale])         # along the channels
y = nn.WeightedSum()([standard, rotation, scale])       # learned softmax weights
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from symjax.nn import settings


def concatenate(branches: Sequence[Array]) -> Array:
    """Concatenates branches along the channels.

    A feature map on a group `[B, H, W, G, C]` has `G * C` channels.

    Args:
      branches: arrays `[B, H, W, C_i]` or `[B, H, W, G_i, C_i]`; B may be 0.

    Returns:
      `[B, H, W, sum of channels]`.

    Raises:
      ValueError: if B, H or W differ between the branches, or if a branch has another
        rank or dtype.
    """
    branches = [settings.maps("concatenate", branch, 4, 5) for branch in branches]
    _check([branch.shape[:3] for branch in branches])
    flat = [
        branch.reshape(*branch.shape[:3], math.prod(branch.shape[3:]))
        for branch in branches
    ]
    return jnp.concatenate(flat, axis=-1)


class WeightedSum(nn.Module):
    """The sum of the branches with learned softmax weights, which are equal at first.

    Parameters: `logits`, `[branches]`.

    Raises:
      ValueError: if the shapes of the branches differ, or one is not floating point.
    """

    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, branches: Sequence[Array]) -> Array:
        """Sums arrays of the same shape; the output has this shape too."""
        branches = [settings.floating("WeightedSum", branch) for branch in branches]
        _check([branch.shape for branch in branches])
        shape = (len(branches),)
        logits = self.param("logits", nn.initializers.zeros, shape, self.param_dtype)
        stacked = jnp.stack(branches)
        weights = nn.softmax(logits).astype(stacked.dtype)
        return jnp.tensordot(weights, stacked, axes=1)


def _check(shapes: Sequence[tuple[int, ...]]) -> None:
    if len(set(shapes)) != 1:
        raise ValueError(
            f"the branches to fuse have shapes {list(shapes)}: expected at least one "
            "branch, and the same shape for all; resize them to the same height and "
            "width (and, to sum them, to the same channels by a 1x1 convolution) first."
        )
