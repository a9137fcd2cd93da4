"""The common base of the nets: normalization, blocks, the trunk, and the readout.

A net consists of its first layer, which the paper compares, and a trunk. The trunk is
written as in the paper's tables: "32 P 64 64" is a block of 32 channels, a pooling
layer, and two blocks of 64 channels.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array
from jax.typing import DTypeLike

from symjax import nn
from symjax.groups import C4, Group, as_group
from symjax.nn import settings
from symjax.nn.convolution import Lowering
from symjax.nn.kernels import Basis

BATCH_NORM_MOMENTUM = 0.9  # Flax's default, 0.99, is too slow for runs of a few epochs


def uniform(fan_in: int) -> Callable[..., Array]:
    """PyTorch's default initializer of kernels and biases.

    The values are uniform in +-1 / sqrt(fan_in).

    Args:
      fan_in: the number of inputs of one output of the layer.
    """

    def init(key, shape, dtype=jnp.float32):
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def normalize(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """The normalized images, `(images - mean) / std`.

    Args:
      images: `[B, H, W, C]` in [0, 1].
      mean, std: one value for all channels or C values, in pixel units.

    Raises:
      ValueError: if the images are not of rank 4, or for another number of values.
    """
    if images.ndim != 4:
        raise ValueError(f"expected images [B, H, W, C], got {images.shape}.")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[-1]):
            raise ValueError(
                f"{name}={tuple(values)} has {len(values)} values for images of "
                f"{images.shape[-1]} channels: expected one, or one per channel."
            )
    mean_array, std_array = (
        jnp.reshape(jnp.asarray(x), (1, 1, 1, -1)) for x in (mean, std)
    )
    return (images - mean_array) / std_array


def max_pool_2x2(images: Array, group: Group | None = None) -> Array:
    """Max-pools with stride 2 exactly: the window is 2 for even sizes, 3 for odd ones.

    Raises:
      ValueError: if the image is too small.
    """
    height, width = images.shape[1:3]
    if min(height, width) < 2:
        raise ValueError(
            f"a pooling layer gets an image of {height}x{width} pixels: expected 2x2 "
            "or more. Use larger images, or the matched trunk."
        )
    window = tuple(2 if size % 2 == 0 else 3 for size in (height, width))
    return nn.max_pool(images, window, 2, group=group)


class Block(linen.Module):
    """Convolution, batch norm (statistics shared over a group), ReLU.

    Attributes:
      layer: `nn.Conv`, or another convolution with its options bound.
      features: the number of features of the convolution.
      kernel_size: `(height, width)`.
      norm, relu: whether there is a batch norm and a ReLU. Without the norm, the
        convolution has a bias.
      dtype: dtype of the computation; the statistics are float32.
      lowering: lowering of the convolution.
      published: initialize standard convolutions as PyTorch does, and update the
        running variance with the unbiased variance.
    """

    layer: Callable[..., linen.Module]
    features: int
    kernel_size: tuple[int, int] = (3, 3)
    norm: bool = True
    relu: bool = True
    dtype: DTypeLike = jnp.float32
    lowering: Lowering = "patches"
    published: bool = False

    @linen.compact
    def __call__(self, x: Array, train: bool) -> Array:
        options: dict[str, Any] = {}
        if self.published and self.layer is nn.Conv:
            init = uniform(math.prod(self.kernel_size) * x.shape[-1])
            options = {"kernel_init": init, "bias_init": init}
        x = self.layer(
            self.features,
            self.kernel_size,
            use_bias=not self.norm,
            dtype=self.dtype,
            lowering=self.lowering,
            name="conv",
            **options,
        )(x)
        if self.norm:
            x = nn.BatchNorm(
                BATCH_NORM_MOMENTUM,
                dtype=self.dtype,
                lowering=self.lowering,
                unbiased=self.published,
                name="norm",
            )(x, train)
        return linen.relu(x) if self.relu else x


class Net(linen.Module):
    """Normalization, first layer, trunk, global max pooling, one dense layer.

    A subclass defines `first_layer`.

    Attributes:
      trunk: blocks and pooling layers after the first layer, such as "P 32 32 P 64".
      classes: the number of classes, K.
      width: factor on every number of channels.
      mean, std: normalization of [0, 1] images, one value or one per channel.
      group: group of the rotation layers, or its name.
      basis: basis of the rotation layers' kernels.
      dtype: dtype of the computation; parameters, statistics and logits are float32.
      lowering: lowering of every convolution.
      published: initialize the net, scale its steerable kernels and average variances
        as PyTorch and e2cnn do; the published nets were trained with these libraries.
    """

    trunk: str
    classes: int
    width: float = 1.0
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    group: Group = C4
    basis: Basis = "full"
    dtype: Any = jnp.float32
    lowering: Lowering = "patches"
    published: bool = False

    def __post_init__(self):
        name = type(self).__name__
        self.group = as_group(self.group)
        settings.whole(name, "classes", self.classes)
        settings.factor(name, "width", self.width)
        for std in self.std:
            settings.factor(name, "a value of std", std)
        super().__post_init__()

    @linen.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """The logits `[B, K]`, float32, of images `[B, H, W, C]` in [0, 1].

        With `train`, batch norm uses the statistics of the batch and updates the
        running averages.
        """
        x = normalize(images, self.mean, self.std).astype(self.dtype)
        x = self.first_layer(x, train)
        for index, item in enumerate(self.trunk.split()):
            if item == "P":
                x = max_pool_2x2(x)
            else:
                x = self.block(f"block_{index}", int(item))(x, train)
        pixels = x.reshape(len(x), x.shape[1] * x.shape[2], x.shape[3])
        return self.dense(nn.max_first(pixels, axis=1))

    def first_layer(self, x: Array, train: bool) -> Array:
        """Maps normalized images `[B, H, W, C]` to the trunk's inputs."""
        raise TypeError(f"{type(self).__name__} does not define its first layer.")

    def channels(self, count: int) -> int:
        """The number of channels times the width, at least one."""
        return max(1, round(count * self.width))

    def bind_group(self, layer: type[linen.Module]) -> Callable[..., linen.Module]:
        """The rotation layer with this net's group and basis bound as arguments."""
        options: dict[str, Any] = {"group": self.group, "basis": self.basis}
        if self.published and self.basis == "steerable":
            options["as_e2cnn"] = True
        return functools.partial(layer, **options)

    def block(
        self,
        name: str,
        features: int,
        layer: Callable[..., linen.Module] = nn.Conv,
        kernel_size: tuple[int, int] = (3, 3),
        norm: bool = True,
        relu: bool = True,
    ) -> Block:
        """A `Block` with this net's width, dtype and lowering."""
        return Block(
            layer,
            self.channels(features),
            kernel_size,
            norm,
            relu,
            self.dtype,
            self.lowering,
            self.published,
            name=name,
        )

    def dense(self, x: Array) -> Array:
        """Applies the last layer, `[B, C]` to `[B, K]`, in float32 or wider."""
        wide = jnp.promote_types(x.dtype, jnp.float32)
        options: dict[str, Any] = {}
        if self.published:
            init = uniform(x.shape[-1])
            options = {"kernel_init": init, "bias_init": init}
        return linen.Dense(self.classes, name="head", **options)(x.astype(wide))
