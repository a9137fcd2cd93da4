"""Blurs: defocus, glass, motion, zoom, Gaussian. Lengths are in pixels.

References:
  ImageMagick, MotionBlurImage, https://imagemagick.org (the streak's kernel).
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from symjax.data.corruptions.corruption import Corruption, to_gray_levels

MAX_PASSES = 2  # of glass blur
LEVELS_16_BIT = 257  # 16-bit levels of ImageMagick per gray level: 65535 / 255


def gaussian(images: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian blur of `[B, H, W, C]` or `[B, H, W]`; border pixels are repeated."""
    deviations = (0, deviation, deviation) + (0,) * (images.ndim - 3)
    return ndimage.gaussian_filter(images, deviations, mode="nearest")


def filtered(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlation of `[B, H, W, ...]` with a kernel of odd sizes.

    Images are extended by reflection about the pixels at the border ("reflect").
    """
    rows, columns = (size // 2 for size in kernel.shape)
    width = [(0, 0), (rows, rows), (columns, columns), (0, 0)][: images.ndim]
    padded = np.pad(images, width, mode="reflect")
    height, breadth = images.shape[1:3]
    return sum(
        weight * padded[:, row : row + height, column : column + breadth]
        for (row, column), weight in np.ndenumerate(kernel)
        if weight
    )  # type: ignore[return-value]


def streaked(
    images: np.ndarray, angles: np.ndarray, radius: float, deviation: float
) -> np.ndarray:
    """Motion blur: each pixel becomes a mean of the pixels on a line that starts at it.

    Pixel n of the line has the weight `exp(-n^2 / 2 deviation^2)` and is n pixels away,
    rounded to a whole pixel. Beyond the image, pixels at the border are repeated.

    Args:
      images: `[B, H, W, C]`, uint8.
      angles: direction of the line, `[B]`, in degrees: 0 to the right, 90 down.
      radius: the line has `2 ceil(radius) + 1` pixels.
      deviation: standard deviation of the weights, in pixels.

    Returns:
      `[B, H, W, C]`, uint8. Values are rounded to 16 bits and then truncated to 8, as
      in the PNG files of ImageMagick.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights /= weights.sum()
    radians = np.deg2rad(angles.astype(float))[:, None]
    down = np.ceil(steps * np.sin(radians) - 0.5).astype(int)
    right = np.ceil(steps * np.cos(radians) - 0.5).astype(int)
    height, width = images.shape[1:3]
    total = np.zeros(images.shape)
    for step, weight in enumerate(weights):
        rows = np.arange(height) + down[:, step, None]
        columns = np.arange(width) + right[:, step, None]
        rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
        total += weight * at(images, rows[:, :, None], columns[:, None, :])
    return (np.rint(total * LEVELS_16_BIT) // LEVELS_16_BIT).astype(np.uint8)


def at(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The pixels of each image at rows and columns that broadcast to `[B, H, W]`."""
    return images[np.arange(len(images))[:, None, None], rows, columns]


def enlarged(images: np.ndarray, factor: float) -> np.ndarray:
    """The middle of `[B, H, W, C]`, enlarged bilinearly to the same size; float64."""
    rows, columns = (_enlarging(size, factor) for size in images.shape[1:3])
    tall = np.einsum("yh,bhwc->bywc", rows, images, optimize=True)
    return np.einsum("xw,bywc->byxc", columns, tall, optimize=True)


def _enlarging(size: int, factor: float) -> np.ndarray:
    """The matrix `[size, size]` that enlarges the middle part of one axis."""
    kept = int(np.ceil(size / factor))
    top = (size - kept) // 2
    # Interpolating unit vectors treats the ends of the axis as the published code does.
    middle = np.eye(size)[top : top + kept]
    matrix = np.asarray(ndimage.zoom(middle, (factor, 1), order=1))
    trimmed = (len(matrix) - size) // 2
    return matrix[trimmed : trimmed + size]


def _gaussian_blur(images, _, deviation):
    return 255 * np.clip(gaussian(images / 255, deviation), 0, 1)


def _defocus(images, _, radius, alias_blur):
    """Correlation with a disc, which is blurred a little to smooth its jagged edge."""
    return 255 * np.clip(filtered(images / 255, _disc(radius, alias_blur)), 0, 1)


def _disc(radius: float, alias_blur: float) -> np.ndarray:
    reach = int(radius) + 1
    offsets = np.arange(-reach, reach + 1) ** 2
    disc = (offsets[:, None] + offsets <= radius**2).astype(np.float32)
    disc /= disc.sum()
    taps = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias_blur**2))
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        disc = ndimage.correlate1d(disc, taps, axis, mode="constant")
    return disc


def _displacements(key, sizes):
    return jax.random.randint(key, (MAX_PASSES, *sizes, 2), -1, 1, jnp.int8)


def _glass(images, displacements, deviation, passes):
    """Replaces pixels by a neighbor above or to the left, between two Gaussian blurs.

    The published code is meant to swap the two pixels, but copies one of them, because
    both are views of one array. It starts at the lower right, so that a pixel is copied
    before it is replaced.
    """
    height, width = images.shape[1:3]
    moved = to_gray_levels(255 * gaussian(images / 255, deviation))
    inside = np.zeros((height, width, 1), bool)
    inside[2:, 2:] = True
    for number in range(passes):
        right, down = np.moveaxis(displacements[:, number] * inside, -1, 0)
        rows = np.arange(height)[:, None] + down
        moved = at(moved, rows, np.arange(width) + right)
    return 255 * np.clip(gaussian(moved / 255, deviation), 0, 1)


def _angle(key, _):
    return jax.random.uniform(key, (), minval=-45, maxval=45)


def _zoom(images, _, beyond):
    """The mean of the image and its enlargements by 1, 1.01, ... up to `beyond`.

    As in the published code, rounding decides whether `beyond` itself is included.
    """
    x = (images / 255).astype(np.float32)
    factors = np.arange(1, beyond, 0.01)
    total = np.zeros_like(x)
    for factor in factors:
        total += enlarged(x, factor).astype(np.float32)
    return 255 * np.clip((x + total) / np.float32(len(factors) + 1), 0, 1)


BLUR = {
    "defocus_blur": Corruption(
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)), _defocus
    ),
    "glass_blur": Corruption(
        ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)), _glass, _displacements
    ),
    "motion_blur": Corruption(
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)), streaked, _angle
    ),
    "zoom_blur": Corruption(((1.06,), (1.11,), (1.16,), (1.21,), (1.26,)), _zoom),
    "gaussian_blur": Corruption(((0.4,), (0.6,), (0.7,), (0.8,), (1,)), _gaussian_blur),
}
