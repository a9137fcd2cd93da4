"""What a training step does to images: scaling to [0, 1], random flips, crops, turns.

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
    """Maps stored pixels 0..255 to x / 255.

    Args:
      images: uint8, any shape.
      dtype: a floating type.

    Returns:
      The images in [0, 1], of type `dtype`.

    Raises:
      TypeError: if the images are not uint8, for they may be in [0, 1] already, or
        `dtype` is no floating type.
    """
    images = jnp.asarray(images)
    if images.dtype != jnp.uint8:
        raise TypeError(
            f"to_unit: images are {images.dtype}, expected uint8 in 0..255."
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"to_unit: dtype={dtype}: expected a floating type, in which [0, 1] has "
            "values between 0 and 1."
        )
    return (images.astype(jnp.float32) / 255).astype(dtype)


def flip_and_crop(key: Array, images: ArrayLike, padding: int = 4) -> Array:
    """Flips each image left to right half of the time, and shifts it at random.

    Each image is padded with zeros on all sides and cropped back to its size at a
    uniformly random place; every image has its own draw.

    Args:
      key: a random key.
      images: `[B, H, W, C]`, any dtype.
      padding: the largest shift, in pixels.

    Returns:
      `[B, H, W, C]` of the same dtype.

    Raises:
      ValueError: for another rank, a padding that is no integer of 0 or more, or what
        is no key.
    """
    images = jnp.asarray(images)
    if images.ndim != 4:
        raise ValueError(
            f"flip_and_crop: images are {list(images.shape)}, expected [B, H, W, C]."
        )
    if not isinstance(padding, int | np.integer) or padding < 0:
        raise ValueError(
            f"flip_and_crop: padding={padding!r}, expected 0 or more whole pixels."
        )

    def one(key: Array, image: Array) -> Array:
        flip_key, crop_key = jax.random.split(key)
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        row, column = jax.random.randint(crop_key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)

    return jax.vmap(one)(jax.random.split(as_key(key), len(images)), images)


def quarter_turns(key: Array, images: ArrayLike) -> Array:
    """Turns each image by an element of C4, all four equally likely.

    As `symjax.groups.C4.act` turns it, so that no pixel changes its value: the
    augmentation whose counterpart is a layer equivariant under C4. Every image has its
    own draw, which depends on its place in the batch and on no other image.

    Args:
      key: a random key.
      images: `[B, H, W, C]` with H = W, any dtype.

    Returns:
      `[B, H, W, C]` of the same dtype.

    Raises:
      ValueError: for another rank, or if the images are not square.
    """
    images = jnp.asarray(images)
    if images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(
            f"quarter_turns: images are {list(images.shape)}, expected [B, H, W, C] "
            "with H = W."
        )

    def one(key: Array, image: Array) -> Array:
        turns = [C4.act(g, image) for g in range(C4.order)]
        return jax.lax.select_n(jax.random.randint(key, (), 0, C4.order), *turns)

    return jax.vmap(one)(keys_of_images(key, len(images)), images)
