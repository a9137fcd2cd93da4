"""Digital corruptions: brightness, contrast, saturation, elastic, pixelation, JPEG.

References:
  Simard, Steinkraus and Platt, Best Practices for Convolutional Neural Networks Applied
  to Visual Document Analysis, 2003 (elastic distortions).
"""

import io

import jax
import numpy as np
from PIL import Image
from scipy import ndimage

from symjax.data.corruptions.blur import at
from symjax.data.corruptions.corruption import Corruption

TRUNCATION = 3  # of elastic_transform's blur, in deviations
PLACES, FINE_PLACES = 32, 1024  # OpenCV rounds coordinates to these parts of a pixel


def _brightness(images, _, added):
    """Adds to the value of HSV (the largest channel); hue and saturation stay."""
    x = images / 255
    value = x.max(axis=-1, keepdims=True)
    raised = np.clip(value + added, 0, 1)
    return 255 * (raised * (1 - _ratio(value - x, value)))  # black turns gray


def _contrast(images, _, kept):
    """Moves values towards the mean of their channel."""
    x = images / 255
    mean = x.mean(axis=(1, 2), keepdims=True)
    return 255 * np.clip((x - mean) * kept + mean, 0, 1)


def _saturate(images, _, factor, added):
    """Scales the saturation of HSV, 1 - smallest / largest, and adds to it.

    The hue is given by the position of each value between the smallest and the largest
    one of its pixel. Gray has the hue of red by convention, and so becomes red.
    """
    x = images / 255
    value = x.max(axis=-1, keepdims=True)
    spread = value - x.min(axis=-1, keepdims=True)
    saturation = np.clip(_ratio(spread, value) * factor + added, 0, 1)
    red = np.array([0.0, 1.0, 1.0])
    below = np.where(spread == 0, red, _ratio(value - x, spread))
    return 255 * (value * (1 - saturation * below))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The ratio; 0 where the denominator is 0."""
    safe = np.where(denominator == 0, 1, denominator)
    return np.where(denominator == 0, 0, numerator / safe)


def _jumps(key, sizes):
    affine, flow = jax.random.split(key)
    jumps = jax.random.uniform(affine, (3, 2), minval=-1, maxval=1)
    flows = jax.random.uniform(flow, (2, *sizes), minval=-1, maxval=1)
    return jumps, flows


def _elastic(images, draws, strength, blur, jump):
    """Applies a random affine map, and then a smooth random displacement per pixel.

    The constants are fractions of the shorter side. The affine map moves three points
    around the center, by at most `jump` along each axis. The displacement is blurred
    uniform noise of size `strength`.
    """
    jumps, flows = (draw.astype(float) for draw in draws)
    side = min(images.shape[1:3])
    x = (images / 255).astype(np.float32)
    moved = _affine(x, jump * side * jumps)
    right, down = np.moveaxis(flows, 1, 0)
    deviations = (0, blur * side, blur * side)
    rows, columns = np.indices(images.shape[1:3])[:, None] + [
        strength * side * ndimage.gaussian_filter(flow, deviations, truncate=TRUNCATION)
        for flow in (down, right)
    ]
    return 255 * np.clip(_read(moved, rows, columns, _repeated), 0, 1)


def _affine(images, jumps):
    """Applies the affine map that moves three points by `jumps`.

    Args:
      images: `[B, H, W, C]`.
      jumps: `[B, 3, 2]`, in pixels to the right and down.
    """
    height, width = images.shape[1:3]
    reach = min(height, width) // 3
    center = np.array([width // 2, height // 2])
    points = center + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    targets = np.concatenate([points + jumps, np.ones((len(jumps), 3, 1))], axis=-1)
    back = np.linalg.solve(targets, np.broadcast_to(points, jumps.shape))  # [B, 3, 2]
    by_right, by_down, shift = np.moveaxis(back[:, :, None, None], 1, 0)
    rows, columns = np.indices((height, width))[..., None]
    fine = _rounded(by_right * columns) + _rounded(by_down * rows + shift)
    columns, rows = np.moveaxis(np.floor(fine * PLACES + 0.5) / PLACES, -1, 0)
    return _read(images, rows, columns, _mirrored)


def _rounded(places):
    return np.rint(places * FINE_PLACES) / FINE_PLACES


def _read(images, rows, columns, onto):
    """Bilinear interpolation at positions `[B, H, W]`.

    `onto(number, size)` maps the number of a pixel outside of an axis into it.
    """
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    total = np.zeros(images.shape)
    for row, by_row in ((top, 1 - down), (top + 1, down)):
        for column, by_column in ((left, 1 - right), (left + 1, right)):
            pixels = at(
                images, onto(row, images.shape[1]), onto(column, images.shape[2])
            )
            total += (by_row * by_column)[..., None] * pixels
    return total.astype(images.dtype)


def _mirrored(number, size):
    """c b | a b c | b a: reflection about the pixels at the border."""
    number = np.abs(number) % max(2 * size - 2, 1)
    return np.minimum(number, 2 * size - 2 - number)


def _repeated(number, size):
    """b a | a b c | c b: reflection about the edges, which repeats the border."""
    number = number % (2 * size)
    return np.minimum(number, 2 * size - 1 - number)


def _one_by_one(images, change):
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])


def _pixelate(images, _, fraction):
    """Shrinks images to a fraction of their sides and back, by means over areas."""
    sizes = images.shape[2], images.shape[1]
    small = tuple(max(int(size * fraction), 1) for size in sizes)

    def change(image):
        return image.resize(small, Image.Resampling.BOX).resize(
            sizes, Image.Resampling.BOX
        )

    return _one_by_one(images, change)


def _jpeg(images, _, quality):
    def change(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _one_by_one(images, change)


DIGITAL = {
    "brightness": Corruption(((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)), _brightness),
    "contrast": Corruption(((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)), _contrast),
    "elastic_transform": Corruption(
        (
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        _elastic,
        _jumps,
    ),
    "pixelate": Corruption(((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)), _pixelate),
    "jpeg_compression": Corruption(((80,), (65,), (58,), (50,), (40,)), _jpeg),
    "saturate": Corruption(
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)), _saturate
    ),
}
