"""Image classification data sets as uint8 arrays, and their augmentation.

    cifar = data.load("cifar10", validation_images=5000)
    cifar.train.images, cifar.train.labels        # uint8 [N, H, W, C], int32 [N]
    images = data.to_unit(data.flip_and_crop(key, cifar.train.images[:128]))

CIFAR is read from a TFDS data set, from a file of arrays or from the official archive.
The digits are part of the package. Corruptions are in `symjax.data.corruptions`.
"""

from symjax.data.archive import ArchiveHashError
from symjax.data.augment import flip_and_crop, quarter_turns, to_unit
from symjax.data.catalog import NAMES, DataNotFoundError, load
from symjax.data.dataset import Dataset, Split

__all__ = [
    "ArchiveHashError",
    "DataNotFoundError",
    "Dataset",
    "NAMES",
    "Split",
    "flip_and_crop",
    "load",
    "quarter_turns",
    "to_unit",
]
