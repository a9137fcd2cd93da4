"""The benchmark of the paper: standard convolutions only (Section 6.1)."""

from jax import Array

from symjax.models.net import Net


class Baseline(Net):
    """A standard CNN.

    Attributes: those of `Net`, and

      features: channels of the first layer.
    """

    features: int = 32

    def first_layer(self, x: Array, train: bool) -> Array:
        return self.block("standard", self.features)(x, train)
