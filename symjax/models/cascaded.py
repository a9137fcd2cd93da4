"""The cascaded design: one kind of layer after the other (paper, C.4, equation 15)."""

from jax import Array

from symjax import nn
from symjax.models.net import Net
from symjax.models.parallel import BRANCHES, branch_layer


class Cascaded(Net):
    """Standard, rotation and scale layers in sequence, fused to `fused` channels.

    Each layer takes images and gives images: the field of the rotation layer is pooled
    over the group (max), and so turns as an image does for the layer after it.

    Attributes: those of `Net`, and

      order: of the layers; Appendix C.4 says standard, rotation, scale; Section 6.1
        says rotation first.
      features: channels of a layer (fields of the rotation layer; of each scale).
      fused: channels after the fusion.
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
