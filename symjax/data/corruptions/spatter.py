"""Spatter: drops of water, with light at their edges, or patches of mud.

The published code makes water with several image operations of OpenCV; this module has
the same operations for batches `[B, H, W]`.

References:
  Canny, A Computational Approach to Edge Detection, 1986.
  Borgefors, Distance Transformations in Digital Images, 1986 (chamfer distances).
"""

import jax
import numpy as np
from scipy import ndimage

from symjax.data.corruptions.blur import filtered, gaussian
from symjax.data.corruptions.corruption import Corruption

WATER = np.array([175, 238, 238], np.float32) / 255
MUD = np.array([63, 42, 20], np.float32) / 255
EDGE = (50, 150)  # gradients of a weak and of a strong edge
FARTHEST = 20  # pixels
STEPS = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}  # lengths, as OpenCV has them
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
LEAST_MUD = 0.8
TAN_22_5 = 13573 / (1 << 15)  # the tangent of 22.5 degrees, rounded as OpenCV does


def _normal(key, sizes):
    return jax.random.normal(key, sizes)


def _spatter(images, normal, mean, deviation, blur, least, strength, is_mud):
    """Adds water or mud where blurred noise exceeds `least`.

    `strength` is the blur of mud, or the brightness of water.
    """
    x = images.astype(np.float32) / np.float32(255)
    liquid = gaussian(mean + deviation * normal.astype(float), blur)
    liquid = np.where(liquid < least, 0, liquid)
    if is_mud:
        mud = gaussian((liquid > least).astype(np.float32), strength)[..., None]
        mud = np.where(mud < LEAST_MUD, 0, mud)
        return 255 * np.clip(x * (1 - mud) + mud * MUD, 0, 1)
    light = _light((255 * liquid).astype(np.uint8))
    brightest = light.max(axis=(1, 2), keepdims=True)
    light = light / np.where(brightest == 0, 1, brightest) * strength
    return 255 * np.clip(x + light[..., None] * WATER, 0, 1)


def _light(liquid: np.ndarray) -> np.ndarray:
    """The brightness of the drops, `[B, H, W]`, from their heights, uint8."""
    near = _mean_of_nine(_distances(_edges(liquid))).astype(np.uint8)
    relief = filtered(_equalized(near).astype(int), EMBOSS).clip(0, 255)
    soft = _mean_of_nine(relief).round()
    return liquid * soft.astype(np.float32)


def _mean_of_nine(values: np.ndarray) -> np.ndarray:
    return filtered(values, np.ones((3, 3))) * (1 / 9)


def _edges(heights: np.ndarray) -> np.ndarray:
    """The edges of uint8 images by Canny's algorithm, bool."""
    levels = heights.astype(int)
    smooth, slope = [1, 2, 1], [-1, 0, 1]
    right, down = (
        ndimage.correlate1d(
            ndimage.correlate1d(levels, slope, axis, mode="nearest"),
            smooth,
            3 - axis,
            mode="nearest",
        )
        for axis in (2, 1)
    )
    size = np.abs(right) + np.abs(down)
    weak, strong = EDGE
    candidates = (size > weak) & _is_ridge(size, right, down)
    touching = np.zeros((3, 3, 3), bool)
    touching[1] = True  # neighbors in the same image, diagonals included
    labels = np.empty(heights.shape, np.int32)
    ndimage.label(candidates, touching, output=labels)
    kept = np.zeros(labels.max(initial=0) + 1, bool)
    kept[labels[candidates & (size > strong)]] = True
    return kept[labels]


def _is_ridge(size, right, down):
    """Whether the gradient has a local maximum along its own direction."""
    padded = np.pad(size, ((0, 0), (1, 1), (1, 1)))
    height, width = size.shape[1:]

    def neighbor(row, column):
        return padded[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    def along(row, column):
        before, behind = neighbor(-row, -column), neighbor(row, column)
        return (size > before) & (size >= behind)

    across, upright = np.abs(right), np.abs(down)
    flat = upright < across * TAN_22_5
    steep = upright > across * (TAN_22_5 + 2)
    # For a diagonal gradient, both neighbors have to be smaller.
    falling = (size > neighbor(-1, -1)) & (size > neighbor(1, 1))
    rising = (size > neighbor(-1, 1)) & (size > neighbor(1, -1))
    diagonal = np.where((right < 0) != (down < 0), rising, falling)
    return np.where(flat, along(0, 1), np.where(steep, along(1, 0), diagonal))


def _distances(edges: np.ndarray) -> np.ndarray:
    """Distances to the nearest edge in pixels, at most `FARTHEST` (5x5 chamfer)."""
    distances = np.where(edges, np.float32(0), np.float32(FARTHEST))
    height, width = edges.shape[1:]
    moves = {
        (sign_row * move[axis], sign_column * move[1 - axis]): length
        for move, length in STEPS.items()
        for axis in (0, 1)
        for sign_row in (-1, 1)
        for sign_column in (-1, 1)
    }
    while True:
        padded = np.pad(distances, ((0, 0), (2, 2), (2, 2)), constant_values=FARTHEST)
        nearer = distances
        for (row, column), length in moves.items():
            neighbors = padded[
                :, 2 + row : 2 + row + height, 2 + column : 2 + column + width
            ]
            nearer = np.minimum(nearer, neighbors + np.float32(length))
        if (nearer == distances).all():
            return distances
        distances = nearer


def _equalized(levels: np.ndarray) -> np.ndarray:
    """Histogram equalization: the darkest level becomes 0, the brightest 255."""
    count, pixels = len(levels), levels[0].size
    numbers = levels.reshape(count, -1) + 256 * np.arange(count)[:, None]
    histogram = np.bincount(numbers.ravel(), minlength=256 * count).reshape(count, 256)
    up_to = histogram.cumsum(axis=1)
    darkest = (up_to > 0).argmax(axis=1)[:, None]
    of_darkest = np.take_along_axis(histogram, darkest, 1)
    scale = np.float32(255) / np.maximum(pixels - of_darkest, 1).astype(np.float32)
    table = np.where(np.arange(256) > darkest, up_to - of_darkest, 0) * scale
    table = np.where(of_darkest == pixels, darkest, table.round())  # one gray level
    return table.astype(np.uint8).ravel()[numbers].reshape(levels.shape)


SPATTER = {
    "spatter": Corruption(
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        _spatter,
        _normal,
    )
}
