"""The fully equivariant net: group convolutions only (paper, Appendix D)."""

import math
from typing import Literal

import jax.numpy as jnp
from flax import linen
from jax import Array

from symjax import nn
from symjax.models.net import Net, max_pool_2x2, normalize

READOUTS = ("invariant", "flatten")


class Equivariant(Net):
    """Blocks of group convolution, shared batch norm and ReLU; then the readout.

    Attributes: those of `Net`, where the numbers in the trunk are channels per group
    element and the first block lifts the image, and

      readout: "invariant": the maximum over pixels and group, so that the logits do not
        change when the image is rotated. "flatten": the mean over pixels, after which
        the dense layer has all group elements as inputs, as in the published net; its
        logits are not invariant.
    """

    readout: Literal["invariant", "flatten"] = "invariant"

    @linen.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """The logits `[B, K]`, float32, of images `[B, H, W, C]` in [0, 1]."""
        x = normalize(images, self.mean, self.std).astype(self.dtype)
        layer = self.bind_group(nn.LiftingConv)
        for index, item in enumerate(self.trunk.split()):
            if item == "P":
                x = max_pool_2x2(x, self.group)
            else:
                x = self.block(f"block_{index}", int(item), layer)(x, train)
                layer = self.bind_group(nn.GroupConv)
        return self.dense(self._read_out(x))

    def _read_out(self, field: Array) -> Array:
        if self.readout == "invariant":
            places = math.prod(field.shape[1:4])
            values = field.reshape(len(field), places, field.shape[4])
            return nn.max_first(values, axis=1)
        if self.readout == "flatten":
            wide = jnp.promote_types(field.dtype, jnp.float32)
            pooled = jnp.mean(field.astype(wide), axis=(1, 2))
            return pooled.reshape(len(pooled), math.prod(pooled.shape[1:]))
        raise ValueError(f"readout={self.readout!r}: expected one of {READOUTS}.")
