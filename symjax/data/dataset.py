"""A data set in memory: two splits of uint8 images, their hash, and subsets.

    whole = make_dataset("mine", train, test, ("cat", "dog"), source="my folder")
    small = cut(whole, train_images=1000, validation_images=200)

Both have the same `sha256`, which is that of the whole data set.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SUBSET_SEED, VALIDATION_SEED = 0, 1


class Split(NamedTuple):
    """Images uint8 `[N, H, W, C]` in 0..255 and their labels int32 `[N]` in 0..K-1."""

    images: np.ndarray
    labels: np.ndarray

    def take(self, indices: np.ndarray) -> "Split":
        """The examples at `indices`, `[M]`, in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set and its source.

    Attributes:
      name: the name that `load` takes.
      train: the images that nets are trained on.
      test: the complete test split.
      validation: images that were held out of the training split, or None.
      class_names: K names, in the order of the labels.
      sha256: hash of the complete train and test splits (shapes, images and labels in
        their order) and of the class names; it is the same for all subsets.
      source: the folder, file or address that the data set was read from.
    """

    name: str
    train: Split
    test: Split
    validation: Split | None
    class_names: tuple[str, ...]
    sha256: str
    source: str

    @property
    def classes(self) -> int:
        """The number of classes, K."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image, `(H, W, C)`."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def make_dataset(
    name: str, train: Split, test: Split, class_names: Sequence[str], source: str
) -> Dataset:
    """A data set of two complete splits, which are checked and hashed.

    Args:
      name: the name of the data set.
      train: images uint8 `[N, H, W, C]` and labels `[N]` of any integer dtype.
      test: the same for the test images.
      class_names: K names, in the order of the labels.
      source: the folder, file or address of the splits; it is named in errors.

    Returns:
      A data set without a validation split, with int32 labels.

    Raises:
      ValueError: for an empty split, another dtype or shape, or a label outside 0..K-1.
    """
    names = tuple(str(each) for each in class_names)
    train = _checked(train, len(names), f"{source}: the train split")
    test = _checked(test, len(names), f"{source}: the test split")
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"{source}: training images are {train.images.shape[1:]} and test images "
            f"{test.images.shape[1:]}; expected the same [H, W, C] for both."
        )
    digest = _content_hash(train, test, names)
    return Dataset(name, train, test, None, names, digest, source)


def _checked(split: Split, classes: int, where: str) -> Split:
    images, labels = split
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise ValueError(
            f"{where} has images {images.dtype} {list(images.shape)}; expected uint8 "
            "[N, H, W, C] and at least one image."
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{where} has labels {labels.dtype} {list(labels.shape)}; expected "
            f"integers [{len(images)}], one for each image."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"{where} has labels from {labels.min()} to {labels.max()}; expected 0 to "
            f"{classes - 1}, one for each of the {classes} class names."
        )
    return Split(np.ascontiguousarray(images), labels.astype(np.int32))


def _content_hash(train: Split, test: Split, class_names: tuple[str, ...]) -> str:
    shapes = [train.images.shape, test.images.shape]
    header = json.dumps({"shapes": shapes, "class_names": class_names})
    digest = hashlib.sha256(header.encode())
    for split in (train, test):
        digest.update(split.images.data)
        digest.update(split.labels.astype("<i4", copy=False).data)
    return digest.hexdigest()


def cut(dataset: Dataset, train_images: int = 0, validation_images: int = 0) -> Dataset:
    """Holds out a validation split and takes a subset of the other training images.

    Both choices are fixed: a given number of validation images always means the same
    images, and a smaller subset is part of a larger one.

    Args:
      dataset: a data set without a validation split.
      train_images: size of the subset of the images that are not held out; 0: all.
      validation_images: number of training images that are held out; 0: none.

    Returns:
      The smaller data set, with the test split and the hash of the whole one.

    Raises:
      ValueError: for a negative number, or for more images than there are.
    """
    total = len(dataset.train.labels)
    for name, number in (
        ("train_images", train_images),
        ("validation_images", validation_images),
    ):
        if not isinstance(number, int | np.integer):
            raise ValueError(f"{name}={number!r}: expected an integer.")
    if not 0 <= validation_images < total:
        raise ValueError(
            f"validation_images={validation_images}: expected 0 to {total - 1}; "
            f"{dataset.name} has {total} training images, and one has to be left."
        )
    left = total - validation_images
    if not 0 <= train_images <= left:
        raise ValueError(
            f"train_images={train_images}: expected 0 (all) to {left}, because "
            f"{dataset.name} has {total} training images and {validation_images} are "
            "held out for validation."
        )
    train, validation = dataset.train, None
    if validation_images:
        order = np.random.default_rng(VALIDATION_SEED).permutation(total)
        validation = train.take(order[:validation_images])
        train = train.take(np.sort(order[validation_images:]))
    if train_images:
        order = np.random.default_rng(SUBSET_SEED).permutation(left)
        train = train.take(order[:train_images])
    return dataclasses.replace(dataset, train=train, validation=validation)
