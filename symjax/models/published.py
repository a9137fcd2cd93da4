"""The first layers of the published nets, which differ from the paper's text.

They are reached by `trunk="published"`. What each does is said where it differs from
the matched net of the same name; `docs/models.md` holds the whole table.
"""

import jax.numpy as jnp
from flax import linen
from jax import Array

from symjax import nn
from symjax.models.net import Net
from symjax.models.parallel import as_channels


class PublishedParallelRot(Net):
    """Standard 16 next to 16 lifted fields without norm or ReLU; no fusion layer."""

    def first_layer(self, x: Array, train: bool) -> Array:
        standard = self.block("standard", 16)(x, train)
        lifting = self.rotating(nn.LiftingConv)
        rotation = self.block("rotation", 16, lifting, norm=False, relu=False)(x, train)
        return nn.concatenate([standard, rotation])


class PublishedParallelScales(Net):
    """Standard 16, scales with filters of their own, and with rotation or without it.

    Each scale has its own 16-channel block; images are resized bilinearly, without
    antialiasing, both ways. The lifted fields have a ReLU and no norm.

    Attributes: those of `Net`, and

      rotation: whether the rotation branch is there (the scale-only net of the paper's
        Figure 6 is not published; this is the nearest to it).
      scales: factors of the side lengths.
    """

    rotation: bool = True
    scales: tuple[float, ...] = (0.5, 1.0, 2.0)

    def first_layer(self, x: Array, train: bool) -> Array:
        branches = [self.block("standard", 16)(x, train)]
        if self.rotation:
            lifting = self.rotating(nn.LiftingConv)
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
    """Two branches, not three: standard 16, and 16 fields through a 1x1 convolution.

    The standard branch has batch norm and a ReLU, the rotation branch has neither; the
    softmax-weighted sum of the two has a ReLU.
    """

    def first_layer(self, x: Array, train: bool) -> Array:
        standard = self.block("standard", 16)(x, train)
        lifting = self.rotating(nn.LiftingConv)
        fields = self.block("rotation", 16, lifting, norm=False, relu=False)(x, train)
        project = self.block(
            "rotation_projection", 16, kernel_size=(1, 1), norm=False, relu=False
        )
        rotation = project(as_channels(fields), train)
        return linen.relu(nn.WeightedSum(name="weights")([standard, rotation]))


class PublishedCascaded(Net):
    """Standard 64, its channels read as 16 regular fields of C4; no scale layer."""

    def first_layer(self, x: Array, train: bool) -> Array:
        order = self.group.order
        standard = self.block("standard", 16 * order)(x, train)
        fields = standard.shape[-1] // order
        if fields * order != standard.shape[-1]:
            raise ValueError(
                f"width={self.width} gives {standard.shape[-1]} channels, which are no "
                f"whole number of fields on {self.group}; use a multiple of {1 / 16:g}."
            )
        field = jnp.reshape(standard, (*standard.shape[:3], order, fields))
        grouped = self.rotating(nn.GroupConv)
        return as_channels(
            self.block("rotation", 16, grouped, norm=False)(field, train)
        )
