"""The first layers of the published nets, which differ from the paper's text.

They are built by `trunk="published"`. The docstrings describe the differences from the
matched net of the same name; `docs/models.md` has a table of all nets.
"""

import jax.numpy as jnp
from flax import linen
from jax import Array

from symjax import nn
from symjax.models.matched import as_channels
from symjax.models.net import Net


class PublishedParallelRot(Net):
    """16 standard channels and 16 lifted ones without norm or ReLU; no fusion layer."""

    def first_layer(self, x: Array, train: bool) -> Array:
        standard = self.block("standard", 16)(x, train)
        lifting = self.bind_group(nn.LiftingConv)
        rotation = self.block("rotation", 16, lifting, norm=False, relu=False)(x, train)
        return nn.concatenate([standard, rotation])


class PublishedParallelScales(Net):
    """Standard and scale branches, each with its own filters, and rotation if wanted.

    Every branch has 16 channels. Each scale has a block with its own weights; images
    and outputs are resized bilinearly without antialiasing. The rotation branch has a
    ReLU and no norm.

    Attributes: those of `Net`, and

      rotation: whether there is a rotation branch. The scale-only net of the paper's
        Figure 6 is not published; without the rotation branch, this net is the nearest
        to it.
      scales: factors of the side lengths.
    """

    rotation: bool = True
    scales: tuple[float, ...] = (0.5, 1.0, 2.0)

    def first_layer(self, x: Array, train: bool) -> Array:
        branches = [self.block("standard", 16)(x, train)]
        if self.rotation:
            lifting = self.bind_group(nn.LiftingConv)
            branches.append(self.block("rotation", 16, lifting, norm=False)(x, train))
        blocks = [self.block(f"scale_{i}", 16) for i in range(len(self.scales))]
        branches += nn.at_scales(
            lambda index, scaled: blocks[index](scaled, train),
            x,
            self.scales,
            (x.shape[1], x.shape[2]),
            method="bilinear",
            antialias=False,
        )
        fused = nn.concatenate(branches)
        return self.block("fusion", 32, kernel_size=(1, 1))(fused, train)


class PublishedWeighted(Net):
    """Two branches, not three: 16 standard channels, and 16 lifted and projected ones.

    The rotation branch is projected by a 1x1 convolution. The standard branch has a
    batch norm and a ReLU, the rotation branch has neither; the softmax-weighted sum of
    the two has a ReLU.
    """

    def first_layer(self, x: Array, train: bool) -> Array:
        standard = self.block("standard", 16)(x, train)
        lifting = self.bind_group(nn.LiftingConv)
        lifted = self.block("rotation", 16, lifting, norm=False, relu=False)(x, train)
        project = self.block(
            "rotation_projection", 16, kernel_size=(1, 1), norm=False, relu=False
        )
        rotation = project(as_channels(lifted), train)
        return linen.relu(nn.WeightedSum(name="weights")([standard, rotation]))


class PublishedCascaded(Net):
    """64 standard channels, taken as a feature map on C4 of 16; no scale layer."""

    def first_layer(self, x: Array, train: bool) -> Array:
        order = self.group.order
        standard = self.block("standard", 16 * order)(x, train)
        channels = standard.shape[-1] // order
        if channels * order != standard.shape[-1]:
            raise ValueError(
                f"width={self.width} gives {standard.shape[-1]} channels: expected a "
                f"multiple of {order}, the order of {self.group}; use a width that is "
                f"a multiple of {1 / 16:g}."
            )
        on_group = jnp.reshape(standard, (*standard.shape[:3], order, channels))
        layer = self.bind_group(nn.GroupConv)
        return as_channels(
            self.block("rotation", 16, layer, norm=False)(on_group, train)
        )
