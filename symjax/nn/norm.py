"""Layer norm and instance norm with statistics that are shared over the group.

    y = nn.LayerNorm()(x)          # [B, H, W, G, C] or [B, H, W, C]
    y = nn.InstanceNorm()(x)

These are the norms of Flax, with the axes set for a feature map on a group: mean,
variance, scale and bias are the same for all group elements. With a different scale for
each element the layer would not be equivariant.
"""

from flax import linen
from jax import Array
from jax.typing import DTypeLike

from symjax.nn import settings


class LayerNorm(linen.Module):
    """Normalizes each pixel over its channels and the group (Ba et al. 2016).

    Attributes:
      epsilon: a constant added to the variance.
      dtype: dtype of the outputs; None: that of inputs and parameters.

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
    """Normalizes each channel of an image over its pixels and the group.

    The attributes and variables are those of `LayerNorm`.

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
