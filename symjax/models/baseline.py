"""The baseline of the paper: standard convolutions only (Section 6.1)."""

from jax import Array

from symjax.models.net import Net


class Baseline(Net):
    """A standard convolutional net.

    Attributes: those of `Net`, and

      features: the number of channels of the first layer.
    """

    features: int = 32

    def first_layer(self, x: Array, train: bool) -> Array:
        return self.block("standard", self.features)(x, train)
