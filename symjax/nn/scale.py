"""Scale convolution: rescale, convolve with shared weights, resize back, aggregate.

It implements equations 9 to 11 of the paper (Appendix C.1.2). With `shared=False` and
`aggregate="weighted"` it is the filter bank per scale of Section 4.5.

    y = nn.ScaleConv(16, scales=(0.5, 1.0, 2.0))(images)    # [B, H, W, 3 * 16]
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import Array

from symjax.nn import settings
from symjax.nn.convolution import FEW_CHANNELS, Conv, Params, check, product
from symjax.nn.exactness import Pair, pair
from symjax.nn.pooling import max_first
from symjax.nn.resizing import Method, rescaled_patches, resize

Aggregate = Literal["concat", "mean", "max", "weighted"]
AGGREGATES = ("concat", "mean", "max", "weighted")


def at_scales(
    function: Callable[[int, Array], Array],
    images: Array,
    scales: Sequence[float],
    sizes: Pair,
    method: Method = "bicubic",
    antialias: bool = True,
) -> list[Array]:
    """Applies a function to the images at each scale and resizes its outputs.

    Args:
      function: `(index of the scale, [B, h, w, C]) -> [B, h', w', K]`.
      images: `[B, H, W, C]`.
      scales: positive factors of the side lengths.
      sizes: `(height, width)` that every output is resized to.
      method, antialias: arguments of both resizes, see `resize`.

    Returns:
      One array `[B, *sizes, K]` per scale.

    Raises:
      ValueError: if there is no scale, or one is not positive.
    """
    outputs, all_sizes = [], rescaled_sizes(pair(images.shape[1:3]), scales)
    for index, scaled_sizes in enumerate(all_sizes):
        scaled = resize(images, scaled_sizes, method, antialias)
        outputs.append(resize(function(index, scaled), sizes, method, antialias))
    return outputs


def rescaled_sizes(sizes: Pair, scales: Sequence[float]) -> list[Pair]:
    """The `(height, width)` of images at each scale, in whole pixels.

    Raises:
      ValueError: if there is no scale, or one is not positive.
    """
    given = scales if isinstance(scales, Sequence) else ()
    if not given or not all(_is_factor(scale) for scale in given):
        raise ValueError(
            f"scales={tuple(given) or scales}: expected one or more factors > 0, in a "
            "tuple such as (0.5, 1.0, 2.0)."
        )
    return [
        pair([max(1, int(size * scale + 0.5)) for size in sizes]) for scale in scales
    ]


def _is_factor(scale: float) -> bool:
    return isinstance(scale, int | float | np.number) and 0 < scale < math.inf


class ScaleConv(Conv):
    """A convolution at several scales of the input, aggregated at its resolution.

    Attributes: those of `Conv`, where `features` is the number for one scale, and

      scales: factors of the side lengths, a tuple.
      aggregate: "concat" (of the channels), "mean", "max", or "weighted": the sum with
        one learned weight per scale (Section 4.5), at first 1 / number of scales.
      method, antialias: arguments of both resizes, see `resize`.
      shared: whether all scales have the same weights (equation 10).

    Parameters: `conv` (shared) or `conv_0`, `conv_1`, ..., each with the parameters of
    a `Conv`; and `weights`, `[scales]`, if the aggregate is "weighted".

    Raises:
      ValueError: for an unknown aggregate or method, or a scale that is not positive.
    """

    scales: Sequence[float] = (0.5, 1.0, 2.0)
    aggregate: Aggregate = "concat"
    method: Method = "bicubic"
    antialias: bool = True
    shared: bool = True

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Convolves `[B, H, W, C_in]` to `[B, H', W', features]`.

        With "concat" there are `features * len(scales)` channels.
        """
        images = settings.maps("ScaleConv", images, 4)
        rescaled_sizes(pair(images.shape[1:3]), self.scales)  # checks the scales
        settings.one_of("ScaleConv", "aggregate", self.aggregate, AGGREGATES)
        count, channels = len(self.scales), images.shape[-1]
        if self.shared:
            params = [self._weights("conv")(channels)] * count
        else:
            params = [self._weights(f"conv_{i}")(channels) for i in range(count)]
        if channels < FEW_CHANNELS:
            outputs = self._from_patches(images, params)
        else:
            outputs = self._by_resizing(images, params)
        return self._aggregated(outputs)

    def _weights(self, name: str) -> "_Weights":
        fields = {field: getattr(self, field) for field in _FIELDS}
        return _Weights(**fields, name=name)

    def _by_resizing(self, images: Array, params: Sequence[Params]) -> Array:
        """The outputs of all scales by resizing images, `[B, H', W', S, features]`."""
        outputs = at_scales(
            lambda index, scaled: self._convolve(scaled, params[index]),
            images,
            self.scales,
            self._output_sizes(pair(images.shape[1:3])),
            self.method,
            self.antialias,
        )
        return jnp.stack(outputs, axis=3)

    def _from_patches(self, images: Array, params: Sequence[Params]) -> Array:
        """The outputs of all scales by one matrix product, for few channels."""
        kernels = [param["kernel"] for param in params]
        images, *kernels = promote_dtype(images, *kernels, dtype=self.dtype)
        patches = self._patches(images)
        if self.shared:
            outputs = product(patches, kernels[0])
        else:
            matrices = jnp.stack(kernels).reshape(len(kernels), -1, self.features)
            outputs = jnp.einsum("bhwsk,skf->bhwsf", patches, matrices)
        if not self.use_bias:
            return outputs
        biases = jnp.stack([param["bias"] for param in params]).astype(outputs.dtype)
        return outputs + biases.reshape(1, 1, 1, *biases.shape)

    @nn.nowrap
    def _patches(self, images: Array) -> Array:
        """The patches at each scale, `[B, H', W', S, kh * kw * C_in]`."""
        size, window = pair(images.shape[1:3]), pair(self.kernel_size)
        readings = []
        for scaled in rescaled_sizes(size, self.scales):
            padding = self._pixels_of_padding(scaled)
            shape = len(images), *scaled, images.shape[-1]
            check(shape, (*window, images.shape[-1], self.features), padding)
            readings.append((scaled, padding))
        strides, outputs = pair(self.strides), self._output_sizes(size)
        method = self.method, self.antialias
        return rescaled_patches(images, readings, window, strides, outputs, *method)

    @nn.nowrap
    def _output_sizes(self, sizes: Pair) -> Pair:
        window, strides = pair(self.kernel_size), pair(self.strides)
        (top, bottom), (left, right) = self._pixels_of_padding(sizes)
        height = (sizes[0] + top + bottom - window[0]) // strides[0] + 1
        width = (sizes[1] + left + right - window[1]) // strides[1] + 1
        return height, width

    def _aggregated(self, outputs: Array) -> Array:
        if self.aggregate == "concat":
            channels = outputs.shape[3] * outputs.shape[4]
            return outputs.reshape(*outputs.shape[:3], channels)
        if self.aggregate == "mean":
            return jnp.mean(outputs, axis=3)
        if self.aggregate == "max":
            return max_first(outputs, axis=3)
        count = len(self.scales)
        start = nn.initializers.constant(1 / count)
        weights = self.param("weights", start, (count,), self.param_dtype)
        return jnp.einsum("s,bhwsc->bhwc", weights.astype(outputs.dtype), outputs)


class _Weights(Conv):
    """A module that only has the parameters of a convolution."""

    @nn.compact
    def __call__(self, channels: int) -> Params:  # pyright: ignore
        return self._parameters((*pair(self.kernel_size), channels, self.features))


_FIELDS = [
    field.name
    for field in dataclasses.fields(Conv)
    if field.init and field.name not in ("parent", "name")
]
