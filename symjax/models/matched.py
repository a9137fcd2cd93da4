"""The paper's nets, which differ in their first layer (paper, Section 6.1, C.3, C.4).

`baseline` has standard convolutions only. `parallel_rot`, `parallel_scale` and
`parallel_rs` concatenate parallel branches (equation 14); `weighted` sums the branches
of `parallel_rs` with learned softmax weights. `cascaded` has the three kinds of layers
in sequence (equation 15). `symjax.models.equivariant` is the net of Appendix D.
"""

from typing import Literal

from jax import Array

from symjax import nn
from symjax.models.net import Net

BRANCHES = ("standard", "rotation", "scale")


def branch_layer(net: Net, branch: str):
    """The convolution layer of a branch: standard, lifting to `net.group`, or scale."""
    layers = {
        "standard": nn.Conv,
        "rotation": net.bind_group(nn.LiftingConv),
        "scale": nn.ScaleConv,
    }
    if branch not in layers:
        raise ValueError(f"branch {branch!r}: expected one of {BRANCHES}.")
    return layers[branch]


def as_channels(x: Array) -> Array:
    """A feature map `[B, H, W, G, C]` as `[B, H, W, G * C]`; images are unchanged."""
    return nn.concatenate([x])


class Baseline(Net):
    """A standard convolutional net.

    Attributes: those of `Net`, and

      features: the number of channels of the first layer.
    """

    features: int = 32

    def first_layer(self, x: Array, train: bool) -> Array:
        return self.block("standard", self.features)(x, train)


class Parallel(Net):
    """Branches of `features` channels on the same image, fused to `fused` channels.

    The fusion has a 1x1 convolution, so that every such net has the trunk of the
    baseline.

    Attributes: those of `Net`, and

      branches: names of the branches, from "standard", "rotation" and "scale".
      fusion: "concat"; or "weighted": each branch is projected to `features` channels,
        and they are summed with softmax weights.
      features: the number of channels of a branch (per group element, and per scale).
      fused: the number of channels after the fusion.
    """

    branches: tuple[str, ...] = BRANCHES
    fusion: Literal["concat", "weighted"] = "concat"
    features: int = 16
    fused: int = 32

    def first_layer(self, x: Array, train: bool) -> Array:
        outputs = []
        for branch in self.branches:
            block = self.block(branch, self.features, branch_layer(self, branch))
            outputs.append(as_channels(block(x, train)))
        fused = self._fuse(outputs)
        return self.block("fusion", self.fused, kernel_size=(1, 1))(fused, train)

    def _fuse(self, outputs: list[Array]) -> Array:
        if self.fusion == "concat":
            return nn.concatenate(outputs)
        if self.fusion != "weighted":
            raise ValueError(
                f"fusion={self.fusion!r}: expected 'concat' or 'weighted'."
            )
        same = []
        for branch, x in zip(self.branches, outputs, strict=True):
            if x.shape[-1] != self.channels(self.features):
                x = self._project(branch, x)
            same.append(x)
        return nn.WeightedSum(name="weights")(same)

    def _project(self, branch: str, x: Array) -> Array:
        return nn.Conv(
            self.channels(self.features),
            (1, 1),
            dtype=self.dtype,
            lowering=self.lowering,
            name=f"{branch}_projection",
        )(x)


class Cascaded(Net):
    """Standard, rotation and scale layers in sequence, fused to `fused` channels.

    Each layer maps images to images: the output of the rotation layer is max-pooled
    over the group, so that it is rotated like an image.

    Attributes: those of `Net`, and

      order: the order of the layers: standard, rotation, scale in Appendix C.4;
        rotation is the first layer in Section 6.1.
      features: the number of channels of a layer (per group element, and per scale).
      fused: the number of channels after the fusion.
    """

    order: tuple[str, ...] = BRANCHES
    features: int = 16
    fused: int = 32

    def first_layer(self, x: Array, train: bool) -> Array:
        for kind in self.order:
            block = self.block(kind, self.features, branch_layer(self, kind))
            x = block(x, train)
            x = nn.GroupPool("max")(x) if kind == "rotation" else x
        return self.block("fusion", self.fused, kernel_size=(1, 1))(x, train)
