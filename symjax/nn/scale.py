"""Scale convolution: rescale, convolve with shared weights, resize back, aggregate.

Equations 9 to 11 of the paper (Appendix C.1.2); `shared=False` with
`aggregate="weighted"` is the filter bank per scale of Section 4.5.

    y = nn.ScaleConv(16, scales=(0.5, 1.0, 2.0))(images)    # [B, H, W, 3 * 16]
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax.nn.convolution import Conv
from symjax.nn.exactness import Pair, pair
from symjax.nn.pooling import largest

Method = Literal["bicubic", "bilinear", "area"]
Aggregate = Literal["concat", "mean", "max", "weighted"]
METHODS = ("bicubic", "bilinear", "area")
AGGREGATES = ("concat", "mean", "max", "weighted")


def resize(
    images: Array, sizes: Pair, method: Method = "bicubic", antialias: bool = True
) -> Array:
    """Resizes images to `sizes`; symmetric, so it commutes with quarter turns.

    Args:
      images: `[B, H, W, C]`.
      sizes: `(height, width)` in pixels, never a factor.
      method: "bicubic" (Keys, a = -0.5), "bilinear", or "area" (the mean over the area
        that an output pixel covers).
      antialias: widen the filter when shrinking ("area" always does).

    Returns:
      `[B, *sizes, C]`.

    Raises:
      ValueError: for another method.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: expected one of {METHODS}.")
    if tuple(sizes) == images.shape[1:3]:
        return images
    if method == "area":
        rows = _area_weights(images.shape[1], sizes[0]).astype(images.dtype)
        columns = _area_weights(images.shape[2], sizes[1]).astype(images.dtype)
        return jnp.einsum(
            "bhwc,yh,xw->byxc", images, rows, columns, precision="highest"
        )
    shape = (images.shape[0], *sizes, images.shape[3])
    kernel = {"bicubic": "cubic", "bilinear": "linear"}[method]
    return jax.image.resize(images, shape, kernel, antialias=antialias)


def _area_weights(size: int, new_size: int) -> np.ndarray:
    """`[new_size, size]`: the share of each new pixel that lies in each old one."""
    edges = np.linspace(0, size, new_size + 1)
    old = np.arange(size)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return np.maximum(overlap, 0) * new_size / size


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
      method, antialias: of both resizes.

    Returns:
      One `[B, *sizes, K]` a scale.

    Raises:
      ValueError: if there is no scale, or one is not positive.
    """
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales={tuple(scales)}: expected one or more factors > 0.")
    outputs = []
    for index, scale in enumerate(scales):
        height, width = (max(1, int(size * scale + 0.5)) for size in images.shape[1:3])
        scaled = resize(images, (height, width), method, antialias)
        outputs.append(resize(function(index, scaled), sizes, method, antialias))
    return outputs


class ScaleConv(Conv):
    """A convolution at several scales of the input, aggregated at its resolution.

    Attributes: those of `Conv`, `features` being those of one scale, and

      scales: factors of the side lengths, a tuple.
      aggregate: "concat" of the channels; "mean"; "max"; or "weighted", the sum with
        one learned weight a scale (Section 4.5), each 1 / number of scales at first.
      method, antialias: of both resizes, see `resize`.
      shared: one set of weights for all scales (equation 10), or one for each.

    Parameters: `conv` (shared) or `conv_0`, `conv_1`, ..., each a `Conv`'s; `weights`
    `[scales]` where the aggregate is "weighted".

    Raises:
      ValueError: for another aggregate or method, or a scale that is not positive.
    """

    scales: Sequence[float] = (0.5, 1.0, 2.0)
    aggregate: Aggregate = "concat"
    method: Method = "bicubic"
    antialias: bool = True
    shared: bool = True

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """`[B, H, W, C_in]` to `[B, H', W', features]`; "concat": times the scales."""
        names = [f"conv_{i}" for i in range(len(self.scales))]
        if self.shared:
            convs = [self._conv("conv")] * len(names)
        else:
            convs = [self._conv(name) for name in names]
        outputs = at_scales(
            lambda index, scaled: convs[index](scaled),
            images,
            self.scales,
            self._output_sizes(pair(images.shape[1:3])),
            self.method,
            self.antialias,
        )
        return self._aggregated(outputs)

    def _conv(self, name: str) -> Conv:
        fields = {field: getattr(self, field) for field in _CONV_FIELDS}
        return Conv(**fields, name=name)

    @nn.nowrap
    def _output_sizes(self, sizes: Pair) -> Pair:
        window, strides = pair(self.kernel_size), pair(self.strides)
        (top, bottom), (left, right) = self._pixels_of_padding(sizes)
        height = (sizes[0] + top + bottom - window[0]) // strides[0] + 1
        width = (sizes[1] + left + right - window[1]) // strides[1] + 1
        return height, width

    def _aggregated(self, outputs: list[Array]) -> Array:
        if self.aggregate == "concat":
            return jnp.concatenate(outputs, axis=-1)
        stacked = jnp.stack(outputs)
        if self.aggregate == "mean":
            return jnp.mean(stacked, axis=0)
        if self.aggregate == "max":
            return largest(stacked, axis=0)
        if self.aggregate == "weighted":
            count = len(outputs)
            start = nn.initializers.constant(1 / count)
            weights = self.param("weights", start, (count,), self.param_dtype)
            return jnp.einsum("s,sbhwc->bhwc", weights.astype(stacked.dtype), stacked)
        raise ValueError(f"aggregate={self.aggregate!r}: expected one of {AGGREGATES}.")


_CONV_FIELDS = [
    field.name
    for field in dataclasses.fields(Conv)
    if field.init and field.name not in ("parent", "name")
]
