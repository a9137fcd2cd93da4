"""A data set in memory: two splits of uint8 images, their hash, and cuts of them.

    whole = make_dataset("mine", train, test, ("cat", "dog"), source="my folder")
    small = cut(whole, train_images=1000, validation_images=200)

Both have the same `sha256`, that of the whole.
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
    """A data set, and where it came from.

    Attributes:
      name: as given to `load`.
      train: what is trained on.
      test: the complete test split.
      validation: images cut from the training split, or None.
      class_names: K names, in the order of the labels.
      sha256: hash of the complete train and test splits (images and labels in their
        order, shapes) and of the class names, the same for every cut of one data set.
      source: the folder, file or address that it was read from, for people.
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
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)` of one image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def make_dataset(
    name: str, train: Split, test: Split, class_names: Sequence[str], source: str
) -> Dataset:
    """Checks two complete splits, hashes them and puts them together.

    Args:
      name: the name of the data set.
      train: images uint8 `[N, H, W, C]`, labels of any integer type `[N]`.
      test: the same for the test images.
      class_names: K names, in the order of the labels.
      source: where the splits were read from; named in errors.

    Returns:
      A data set without a validation split, its labels int32.

    Raises:
      ValueError: for an empty split, another dtype or shape, or a label outside 0..K-1.
    """
    names = tuple(str(each) for each in class_names)
    train = _checked(train, len(names), f"{source}: the train split")
    test = _checked(test, len(names), f"{source}: the test split")
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"{source}: training images are {train.images.shape[1:]} and test images "
            f"{test.images.shape[1:]}, but one [H, W, C] was expected for both."
        )
    digest = _content_hash(train, test, names)
    return Dataset(name, train, test, None, names, digest, source)


def _checked(split: Split, classes: int, where: str) -> Split:
    images, labels = split
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise ValueError(
            f"{where} has images {images.dtype} {list(images.shape)}; expected uint8 "
            "[N, H, W, C] and at least one."
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
    """Takes a validation split and a subset from the training images.

    Both choices are fixed: a smaller subset is part of a larger one, and one number of
    validation images always means the same images.

    Args:
      dataset: a data set without a validation split.
      train_images: size of the subset of what validation leaves; 0 means all of it.
      validation_images: how many training images to hold out; 0 means none.

    Returns:
      The cut data set; test split and hash are those of the whole.

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
            f"validation_images={validation_images}: expected 0 to {total - 1}, as "
            f"{dataset.name} has {total} training images and needs one to train on."
        )
    left = total - validation_images
    if not 0 <= train_images <= left:
        raise ValueError(
            f"train_images={train_images}: expected 0 (all) to {left}, what "
            f"validation_images={validation_images} leaves of the {total} training "
            f"images of {dataset.name}."
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
