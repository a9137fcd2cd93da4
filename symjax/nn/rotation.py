"""Rotation-equivariant convolutions (paper, equations 7 and 8; Cohen & Welling 2016).

    field = nn.LiftingConv(16, group=groups.C4)(images)     # [B, H, W, G, 16]
    field = nn.GroupConv(32, group=groups.C4)(field)        # [B, H, W, G, 32]

One canonical kernel is stored; the group moves it to every element, and the layer
is a single plain convolution with the result. Batch norm on `[B, H, W, G, C]`, ours or
Flax's, shares its statistics over the group.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from symjax.groups import C4, Group
from symjax.nn import exactness
from symjax.nn.convolution import Conv, Params
from symjax.nn.exactness import pair


class _RotationConv(Conv):
    """What the two layers share: the group, and the guard of its exactness."""

    group: Group = C4
    exact: bool = True

    @nn.nowrap
    def _check(self, sizes: tuple[int, int]) -> None:
        name, kernel = type(self).__name__, pair(self.kernel_size)
        if self.group.swaps_axes and kernel[0] != kernel[1]:
            raise ValueError(
                f"{name}: kernel_size={kernel} is not square, so {self.group} cannot "
                f"turn it; use {(max(kernel), max(kernel))}."
            )
        if self.exact:
            strides, padding = pair(self.strides), self._pixels_of_padding(sizes)
            exactness.check(name, self.group, sizes, kernel, strides, padding)

    @nn.nowrap
    def _plain(self, kernel: Array, params: Params) -> Params:
        """Group elements become channels; the bias is the same for each of them."""
        if "bias" not in params:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": jnp.tile(params["bias"], self.group.order)}

    @nn.nowrap
    def _with_group_axis(self, outputs: Array) -> Array:
        return outputs.reshape(*outputs.shape[:-1], self.group.order, self.features)


class LiftingConv(_RotationConv):
    """Lifts an image to a field on the group: element g sees it through g's turn.

    `y[x, g, d] = sum_{u, c} image[x + u, c] kernel[g^-1 u, c, d]`

    Attributes: those of `Conv`, and

      group: the finite group, C4 by default.
      exact: raise where the layer would not commute with the group (see
        `symjax.nn.exactness`); False accepts the error.

    Parameters: kernel `[k, k, C_in, features]`, bias `[features]`.

    Raises:
      ExactnessError: at trace time, with the sizes, the rule and a way out.

    References:
      Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016, eq. 10.
    """

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """`[B, H, W, C_in]` to `[B, H', W', G, features]`."""
        self._check(pair(images.shape[1:3]))
        shape = (*pair(self.kernel_size), images.shape[-1], self.features)
        return self._with_group_axis(self._convolve(images, self._parameters(shape)))

    @nn.nowrap
    def expand(self, params: Params) -> Params:
        """The plain convolution that this layer applies.

        Args:
          params: kernel `[k, k, C_in, C]`, bias `[C]` if there is one.

        Returns:
          The parameters of a `flax.linen.Conv` of `G * C` features: kernel
          `[k, k, C_in, G * C]`, bias `[G * C]`, the group element varying slowest.
        """
        kernel = self.group.expand_lifting_kernel(params["kernel"])
        return self._plain(kernel.reshape(*kernel.shape[:3], -1), params)


class GroupConv(_RotationConv):
    """Convolves a field with a kernel on pixels and group elements.

    `y[x, g, d] = sum_{u, h, c} field[x + u, h, c] kernel[g^-1 u, g^-1 h, c, d]`

    Attributes: those of `LiftingConv`.

    Parameters: kernel `[k, k, G, C_in, features]`, bias `[features]`.

    Raises:
      ExactnessError: at trace time, with the sizes, the rule and a way out.
      ValueError: if the input is not a field on `group`.

    References:
      Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016, eq. 11.
    """

    @nn.compact
    def __call__(self, field: Array) -> Array:
        """`[B, H, W, G, C_in]` to `[B, H', W', G, features]`."""
        order = self.group.order
        if field.ndim != 5 or field.shape[3] != order:
            raise ValueError(
                f"GroupConv: expected a field [B, H, W, {order}, C] on {self.group}, "
                f"got {field.shape}; lift images with LiftingConv first."
            )
        self._check(pair(field.shape[1:3]))
        shape = (*pair(self.kernel_size), order, field.shape[4], self.features)
        flat = field.reshape(*field.shape[:3], -1)
        return self._with_group_axis(self._convolve(flat, self._parameters(shape)))

    @nn.nowrap
    def expand(self, params: Params) -> Params:
        """The plain convolution that this layer applies to `[B, H, W, G * C_in]`.

        Args:
          params: kernel `[k, k, G, C_in, C]`, bias `[C]` if there is one.

        Returns:
          The parameters of a `flax.linen.Conv` of `G * C` features: kernel
          `[k, k, G * C_in, G * C]`, bias `[G * C]`, the group element varying slowest.
        """
        kernel = self.group.expand_group_kernel(params["kernel"])
        height, width, order, inputs = kernel.shape[:4]
        flat = kernel.reshape(height, width, order * inputs, -1)
        return self._plain(flat, params)
