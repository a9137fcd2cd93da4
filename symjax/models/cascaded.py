"""The cascaded net: layers of three kinds in sequence (paper, C.4, equation 15)."""

from jax import Array

from symjax import nn
from symjax.models.net import Net
from symjax.models.parallel import BRANCHES, branch_layer


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
