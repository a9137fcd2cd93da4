"""The convolution that all layers use, and the sliding windows that pooling uses too.

    y = convolution.convolve(x, kernel, strides=(1, 1), padding=((1, 1), (1, 1)))

The static argument `lowering` selects how a convolution is computed:

- "patches": shifted slices of the image are concatenated and multiplied by one matrix.
  Under `vmap` over the kernels (the seed axis) this is a batched matmul, the fastest
  lowering for several seeds on a GPU.
- "conv": `jax.lax.conv_general_dilated`, with derivatives for which XLA's CPU backend
  has fast code. It needs less memory; under `vmap` over kernels it becomes a grouped
  convolution.
- "winograd": 3x3 kernels with fewer products, see `symjax.nn.winograd`; "conv" where
  the sizes do not allow it.
- "mixed": the one of these that is fastest on a CPU for the sizes of the arguments.

All lowerings support every differentiation mode of JAX. `default_lowering()` is the
measured choice for the current backend (docs/performance.md).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from symjax.nn import settings, winograd
from symjax.nn.exactness import Padding, Pair, pair, resolve_padding

Params = Mapping[str, Array]
Lowering = Literal["patches", "conv", "winograd", "mixed"]
LOWERINGS = ("patches", "conv", "winograd", "mixed")
FEW_CHANNELS, MANY_CHANNELS = 8, 128


def default_lowering() -> Lowering:
    """The faster lowering on the current backend."""
    return "mixed" if jax.default_backend() == "cpu" else "patches"


def windows(
    images: Array,
    window: Pair,
    strides: Pair,
    padding: tuple[Pair, Pair],
    fill: float = 0.0,
) -> list[Array]:
    """The pixels at each position within a sliding window, one array per position.

    Args:
      images: `[B, H, W, ...]`.
      window, strides: `(height, width)`.
      padding: ((top, bottom), (left, right)).
      fill: the value of padded pixels.

    Returns:
      `window[0] * window[1]` arrays `[B, H', W', ...]`, row by row.
    """
    if any(low or high for low, high in padding):
        rest = ((0, 0),) * (images.ndim - 3)
        pads = ((0, 0), *padding, *rest)
        images = jnp.pad(images, pads, constant_values=fill)
    height = (images.shape[1] - window[0]) // strides[0] + 1
    width = (images.shape[2] - window[1]) // strides[1] + 1
    rows, columns = (height - 1) * strides[0] + 1, (width - 1) * strides[1] + 1
    return [
        images[:, i : i + rows : strides[0], j : j + columns : strides[1]]
        for i in range(window[0])
        for j in range(window[1])
    ]


def convolve(
    images: Array,
    kernel: Array,
    strides: Pair = (1, 1),
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0)),
    lowering: Lowering = "patches",
) -> Array:
    """Cross-correlates images with a kernel; deep learning calls this a convolution.

    Args:
      images: `[B, H, W, C_in]`, floating point; B may be 0.
      kernel: `[kh, kw, C_in, C_out]`, of the same dtype.
      strides, padding: as in `windows`.
      lowering: one of `LOWERINGS`; the results agree up to rounding.

    Returns:
      `[B, H', W', C_out]`.

    Raises:
      ValueError: if the window does not fit, the numbers of channels differ, the
        lowering is unknown, or an argument has another rank or dtype.
    """
    images = settings.maps("convolve", images, 4)
    if jnp.ndim(kernel) != 4:
        raise ValueError(
            f"convolve: the kernel has shape {jnp.shape(kernel)}: expected [height, "
            "width, C_in, C_out]."
        )
    strides = settings.two("convolve", "strides", strides)
    settings.one_of("convolve", "lowering", lowering, LOWERINGS)
    check(images.shape, kernel.shape, padding)
    if lowering == "mixed":
        lowering = _fastest_on_a_cpu(images, kernel)
    if lowering == "winograd":
        sizes, window = pair(images.shape[1:3]), pair(kernel.shape[:2])
        if winograd.fits(sizes, window, strides, padding):
            return winograd.convolve(images, kernel, padding)
        lowering = "conv"
    if lowering == "conv":
        return _lax_conv(images, kernel, strides, padding)
    shifted = windows(images, pair(kernel.shape[:2]), strides, padding)
    return product(jnp.concatenate(shifted, axis=-1), kernel)


def product(patches: Array, kernel: Array) -> Array:
    """The product of patches and a kernel as matrices, `[B, H, W, C_out]`.

    With more axes than two, XLA's CPU backend would copy the arrays to transpose them.

    Args:
      patches: `[B, H, W, kh * kw * C_in]`.
      kernel: `[kh, kw, C_in, C_out]`.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    rows = patches.reshape(-1, len(matrix)) @ matrix
    return rows.reshape(*patches.shape[:-1], kernel.shape[-1])


def _fastest_on_a_cpu(images: Array, kernel: Array) -> Lowering:
    """The fastest lowering on a CPU: "patches" is fast for few channels or 1x1 kernels.

    On the smallest images `lax.conv` is very slow, so that "patches" is faster too.
    """
    *window, channels, features = kernel.shape
    small = min(images.shape[1:3]) <= max(window)
    if small or channels < FEW_CHANNELS or max(window) == 1:
        return "patches"
    many = min(channels, features) >= MANY_CHANNELS
    precise = images.dtype == jnp.float32  # Winograd's sums amplify rounding
    return "winograd" if many and precise else "conv"


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _lax_conv(images, kernel, strides, padding):
    return jax.lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@functools.partial(_lax_conv.defjvp, symbolic_zeros=True)
def _lax_conv_jvp(strides, padding, primals, tangents):
    """The usual tangents, written so that their transposes are plain convolutions.

    JAX's own transposes are convolutions with another order of dimensions than images
    and kernels have, for which XLA's CPU backend has no fast code.
    """
    images, kernel = primals
    outputs = _lax_conv(images, kernel, strides, padding)
    images_tangent, kernel_tangent = tangents
    tangent = jnp.zeros_like(outputs)
    if not isinstance(images_tangent, SymbolicZero):
        tangent += jax.lax.conv_general_dilated(
            images_tangent,
            kernel.swapaxes(2, 3),
            strides,
            padding,
            dimension_numbers=("NHWC", "HWOI", "NHWC"),
        )
    if not isinstance(kernel_tangent, SymbolicZero):
        tangent += jax.lax.conv_general_dilated(
            images.transpose(3, 1, 2, 0),
            kernel_tangent.transpose(2, 0, 1, 3),
            strides,
            padding,
            dimension_numbers=("CHWN", "IHWO", "HWNC"),
        ).transpose(2, 0, 1, 3)
    return outputs, tangent


def check(
    images: tuple[int, ...], kernel: tuple[int, ...], padding: tuple[Pair, Pair]
) -> None:
    """Raises a ValueError if the kernel's shape does not fit that of the images."""
    if images[-1] != kernel[2]:
        raise ValueError(
            f"images of shape {images} have {images[-1]} channels, but a kernel of "
            f"shape {kernel} expects {kernel[2]}: the two numbers must be equal."
        )
    for size, k, (low, high) in zip(images[1:3], kernel[:2], padding, strict=True):
        if size + low + high < k:
            raise ValueError(
                f"a kernel of {kernel[:2]} does not fit into images of {images[1:3]} "
                f"pixels with padding {padding}: use larger images, a smaller kernel "
                "or more padding."
            )


class Conv(nn.Module):
    """A standard convolution, and the base of the symmetric ones.

    Attributes:
      features: the number of output channels (per group element, for a feature map on a
        group).
      kernel_size, strides: one integer or `(height, width)`.
      padding: "SAME", "VALID", one integer, or ((top, bottom), (left, right)).
      use_bias: whether there is a bias; a batch norm after the layer cancels it.
      kernel_init, bias_init: initializers of Flax; they need no arguments for axes.
      dtype: dtype of the computation; None: that of inputs and parameters.
      param_dtype: dtype of the parameters.
      lowering: one of `LOWERINGS`, see the top of this module.

    Raises:
      ValueError: when the layer is constructed, for an invalid setting; when it is
        called, for inputs of another rank or dtype, or images smaller than the kernel.
    """

    features: int
    kernel_size: int | Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    lowering: Lowering = "patches"

    def __post_init__(self):
        name = type(self).__name__
        settings.whole(name, "features", self.features)
        settings.two(name, "kernel_size", self.kernel_size)
        settings.two(name, "strides", self.strides)
        settings.padding(name, self.padding)
        settings.one_of(name, "lowering", self.lowering, LOWERINGS)
        settings.dtype(name, "dtype", self.dtype)
        settings.dtype(name, "param_dtype", self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Convolves `[B, H, W, C_in]` to `[B, H', W', features]`; B may be 0."""
        images = settings.maps(type(self).__name__, images, 4)
        shape = (*pair(self.kernel_size), images.shape[-1], self.features)
        return self._convolve(images, self._parameters(shape))

    @nn.nowrap
    def expand(self, params: Params) -> Params:
        """The parameters of the plain convolution that this layer applies.

        Args:
          params: the layer's own parameters, `{"kernel": ..., "bias": ...}`.

        Returns:
          The parameters with the names and shapes of `flax.linen.Conv`.
        """
        return params

    def _parameters(
        self, kernel_shape: tuple[int, ...], kernel_init: Callable | None = None
    ) -> Params:
        init = kernel_init or self.kernel_init
        kernel = self.param("kernel", init, kernel_shape, self.param_dtype)
        if not self.use_bias:
            return {"kernel": kernel}
        shape = (self.features,)
        bias = self.param("bias", self.bias_init, shape, self.param_dtype)
        return {"kernel": kernel, "bias": bias}

    @nn.nowrap
    def _convolve(self, images: Array, params: Params) -> Array:
        plain = self.expand(params)
        images, *values = promote_dtype(images, *plain.values(), dtype=self.dtype)
        plain = dict(zip(plain, values, strict=True))
        outputs = convolve(
            images,
            plain["kernel"],
            pair(self.strides),
            self._pixels_of_padding(pair(images.shape[1:3])),
            self.lowering,
        )
        if "bias" not in plain:
            return outputs
        return outputs + plain["bias"].reshape(1, 1, 1, -1)

    @nn.nowrap
    def _pixels_of_padding(self, sizes: Pair) -> tuple[Pair, Pair]:
        window, strides = pair(self.kernel_size), pair(self.strides)
        return resolve_padding(self.padding, sizes, window, strides)
