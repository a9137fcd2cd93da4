"""Common corruptions of images, with the severities that were published for CIFAR.

    blurred = corruptions.corrupt(images, "glass_blur", 3, jax.random.key(0))

`BENCHMARK` has the names of the fifteen corruptions that enter the mean of CIFAR-10-C,
`EXTRA` those of the four others. docs/corruptions.md compares each corruption with the
published generator.

References:
  Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions
  and Perturbations, 2019, Section 3, and Appendix for `EXTRA`.
  https://arxiv.org/abs/1903.12261
"""

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from symjax import names
from symjax.data.corruptions.blur import BLUR
from symjax.data.corruptions.corruption import SEVERITIES, check_severity
from symjax.data.corruptions.digital import DIGITAL
from symjax.data.corruptions.noise import NOISE
from symjax.data.corruptions.spatter import SPATTER
from symjax.data.corruptions.weather import WEATHER, frost_is_available
from symjax.seeds import fold_in, keys_of_images

BENCHMARK = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
NAMES = BENCHMARK + EXTRA
CORRUPTIONS = NOISE | BLUR | WEATHER | DIGITAL | SPATTER

__all__ = [
    "BENCHMARK",
    "CORRUPTIONS",
    "EXTRA",
    "NAMES",
    "SEVERITIES",
    "available",
    "corrupt",
]


def available() -> tuple[str, ...]:
    """The names of the corruptions that can be made.

    "frost" is among them if its photographs are installed (`symjax[frost]`).
    """
    return tuple(name for name in NAMES if name != "frost" or frost_is_available())


def corrupt(images: ArrayLike, name: str, severity: int, key: Array) -> np.ndarray:
    """Corrupts images; the result for an image depends on its own key alone.

    The constants are those of the published `make_cifar_c.py`. They are in pixels, or
    fractions of a side where they were published as such, so images may have any size.
    Different corruptions and severities have independent random numbers.

    Args:
      images: `[B, H, W, 3]`, uint8.
      name: one of `NAMES`.
      severity: 1 to 5.
      key: one key, from which image i gets the key `fold_in(key, i)`, or `[B]` keys.

    Returns:
      `[B, H, W, 3]`, uint8, on the host.

    Raises:
      TypeError: if the images are not uint8.
      ValueError: for an unknown name, another severity, shape or number of keys.
      ModuleNotFoundError: for "frost", if its photographs are not installed.
    """
    name = names.matched("corruption", name, NAMES)
    check_severity(severity)
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(
            f"corrupt: images are {images.dtype}, expected uint8 in 0..255. Convert "
            "images in [0, 1] by np.uint8(np.round(255 * images))."
        )
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape[1:]:
        raise ValueError(
            f"corrupt: images are {list(images.shape)}, expected [B, H, W, 3] with at "
            "least one pixel. Convert gray images by np.repeat(images, 3, axis=-1)."
        )
    number = NAMES.index(name) * len(SEVERITIES) + severity
    keys = fold_in(keys_of_images(key, len(images)), number)
    return CORRUPTIONS[name](images, severity, keys)
