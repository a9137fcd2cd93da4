"""Images in a training step: scaling to [0, 1], random flips, crops and rotations.

    images = to_unit(flip_and_crop(key, batch))      # uint8 in, float32 in [0, 1] out

References:
  He et al., Deep Residual Learning for Image Recognition, 2016, Section 4.2 (flip and
  crop). https://arxiv.org/abs/1512.03385
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from symjax.groups import C4
from symjax.seeds import as_key, keys_of_images


def to_unit(images: ArrayLike, dtype: DTypeLike = jnp.float32) -> Array:
    """Scales uint8 pixels to [0, 1].

    Args:
      images: uint8, any shape.
      dtype: a floating-point dtype.

    Returns:
      `images / 255`, in [0, 1], of type `dtype`.

    Raises:
      TypeError: if the images are not uint8 (they may be in [0, 1] already), or if
        `dtype` is not a floating-point dtype.
    """
    images = jnp.asarray(images)
    if images.dtype != jnp.uint8:
        raise TypeError(
            f"to_unit: images are {images.dtype}, expected uint8 in 0..255."
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"to_unit: dtype={dtype}: expected a floating-point dtype, such as float32."
        )
    return (images.astype(jnp.float32) / 255).astype(dtype)


def flip_and_crop(key: Array, images: ArrayLike, padding: int = 4) -> Array:
    """Flips each image left to right with probability 1/2, and shifts it at random.

    Each image is padded with zeros on all sides and cropped to its size at a uniformly
    random position. The random numbers of the images are independent.

    Args:
      key: a random key.
      images: `[B, H, W, C]`, any dtype.
      padding: the largest shift, in pixels.

    Returns:
      `[B, H, W, C]` of the same dtype.

    Raises:
      ValueError: if the images have another rank, if the padding is not an integer of 0
        or more, or if `key` is not a random key.
    """
    images = jnp.asarray(images)
    if images.ndim != 4:
        raise ValueError(
            f"flip_and_crop: images are {list(images.shape)}, expected [B, H, W, C]."
        )
    if not isinstance(padding, int | np.integer) or padding < 0:
        raise ValueError(
            f"flip_and_crop: padding={padding!r}, expected an integer of 0 or more."
        )

    def one(key: Array, image: Array) -> Array:
        flip_key, crop_key = jax.random.split(key)
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        row, column = jax.random.randint(crop_key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)

    return jax.vmap(one)(jax.random.split(as_key(key), len(images)), images)


def quarter_turns(key: Array, images: ArrayLike) -> Array:
    """Rotates each image by a random element of C4, all four with equal probability.

    The rotation is that of `symjax.groups.C4.act`, which moves pixels and needs no
    interpolation. The random number of an image depends on the key and on its index in
    the batch, not on the other images.

    Args:
      key: a random key.
      images: `[B, H, W, C]` with H = W, any dtype.

    Returns:
      `[B, H, W, C]` of the same dtype.

    Raises:
      ValueError: if the images have another rank or are not square.
    """
    images = jnp.asarray(images)
    if images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(
            f"quarter_turns: images are {list(images.shape)}, expected [B, H, W, C] "
            "with H = W."
        )

    def one(key: Array, image: Array) -> Array:
        rotated = [C4.act(g, image) for g in range(C4.order)]
        return jax.lax.select_n(jax.random.randint(key, (), 0, C4.order), *rotated)

    return jax.vmap(one)(keys_of_images(key, len(images)), images)
