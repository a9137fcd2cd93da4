"""Handwritten digits that are part of this package: a data set without a download.

    digits = load(size=16)      # 1437 training and 360 test images, [16, 16, 1]

References:
  Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
  Repository, 1998. https://doi.org/10.24432/C50P49 (its license is in `digits.txt`)
"""

from pathlib import Path

import numpy as np
from PIL import Image

from symjax.data.dataset import Dataset, Split, make_dataset

TEST_IMAGES = 360
SPLIT_SEED = 0
LARGEST_SIDE = 256  # pixels; the data set then takes 0.1 GB of memory
FILE = Path(__file__).parent / "digits.npz"
BRIGHTEST = 16  # The pixels of the file are integers from 0 to 16.


def load(size: int = 16) -> Dataset:
    """Loads the digits, resized by bicubic interpolation.

    Args:
      size: height and width of an image, in pixels; the file has 8.

    Returns:
      The data set. The classes are distributed over the splits in proportion to their
      sizes, up to one image.

    Raises:
      ValueError: if `size` is not an integer from 1 to `LARGEST_SIDE`.
    """
    if not isinstance(size, int | np.integer) or not 1 <= size <= LARGEST_SIDE:
        raise ValueError(
            f"size={size!r}: expected an integer from 1 to {LARGEST_SIDE}, in pixels."
        )
    with np.load(FILE) as file:
        pixels, labels = file["images"], file["labels"].astype(np.int32)
    images = np.stack([_resize(image, size) for image in pixels])[..., None]
    whole = Split(images, labels)
    test = _test_indices(labels)
    train = np.setdiff1d(np.arange(len(labels)), test)
    names = [str(digit) for digit in range(10)]
    source = f"{FILE.name} at {size}x{size}"
    return make_dataset("digits", whole.take(train), whole.take(test), names, source)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    # Resized as floats, so that bicubic overshoot is clipped once and rounded once.
    canvas = Image.fromarray((image * (255 / BRIGHTEST)).astype(np.float32))
    resized = canvas.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized).round().clip(0, 255).astype(np.uint8)


def _test_indices(labels: np.ndarray) -> np.ndarray:
    """A stratified sample: about every fifth image of a shuffled, sorted list."""
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], stable=True)]
    evenly = np.arange(TEST_IMAGES) * len(labels) // TEST_IMAGES
    return np.sort(by_class[evenly])
