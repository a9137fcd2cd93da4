"""Layer and instance norm whose statistics are shared over the group.

    field = nn.LayerNorm()(field)          # [B, H, W, G, C]; of images [B, H, W, C] too
    field = nn.InstanceNorm()(field)

They are Flax's, told which axes of a field are which: one mean and variance, scale and
bias for all group elements. A scale of each element's own would not turn with it.
"""

from flax import linen
from jax import Array
from jax.typing import DTypeLike

from symjax.nn import settings


class LayerNorm(linen.Module):
    """Norm over the channels, and the group, of each pixel (Ba et al. 2016).

    Attributes:
      epsilon: added to the variance.
      dtype: of the outputs; None takes that of inputs and parameters.

    Variables: `scale` and `bias`, `[C]` each, in "params" under "norm".
    """

    epsilon: float = 1e-6
    dtype: DTypeLike | None = None

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """`[B, H, W, C]` or `[B, H, W, G, C]` to the same shape."""
        x = _checked("LayerNorm", x, self)
        axes = tuple(range(3, x.ndim))
        return linen.LayerNorm(
            self.epsilon, self.dtype, reduction_axes=axes, name="norm"
        )(x)


class InstanceNorm(linen.Module):
    """Norm of each channel over the pixels, and the group, of its image.

    Attributes, variables: as of `LayerNorm`.

    References:
      Ulyanov et al., Instance Normalization, 2016.
    """

    epsilon: float = 1e-6
    dtype: DTypeLike | None = None

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """`[B, H, W, C]` or `[B, H, W, G, C]` to the same shape."""
        x = _checked("InstanceNorm", x, self)
        return linen.InstanceNorm(epsilon=self.epsilon, dtype=self.dtype, name="norm")(
            x
        )


def _checked(name: str, x: Array, norm: LayerNorm | InstanceNorm) -> Array:
    settings.number(name, "epsilon", norm.epsilon)
    settings.dtype(name, "dtype", norm.dtype)
    return settings.maps(name, x, 4, 5)
