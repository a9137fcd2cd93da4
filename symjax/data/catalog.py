"""Loading a data set by its name.

    digits = load("digits", size=16)
    cifar = load("cifar10", data_dir="/data", train_images=10_000)

CIFAR is read from the first available of three sources: the file `<name>.npz` in the
data folder, a data set that TFDS prepared there, and the official archive. A source is
decoded once; later calls read the cache.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from symjax import names
from symjax.data import archive, cache, digits, tfds_source
from symjax.data.dataset import Dataset, cut
from symjax.folders import expand

CIFAR_CLASSES = {"cifar10": 10, "cifar100": 100}
CIFAR_SHAPE = (32, 32, 3)
NAMES = ("digits", *CIFAR_CLASSES)


class DataNotFoundError(FileNotFoundError):
    """A data set is not on this machine and cannot be downloaded."""


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] = "~/tensorflow_datasets",
    cache_dir: str | os.PathLike[str] | None = None,
    size: int = 16,
    train_images: int = 0,
    validation_images: int = 0,
) -> Dataset:
    """Loads a data set into memory; the first call may download and decode it.

    Args:
      name: "digits", "cifar10" or "cifar100".
      data_dir: folder that is searched for CIFAR: `<name>.npz`, a prepared TFDS folder
        `<name>/<version>`, or the official archive.
      cache_dir: folder for decoded arrays and downloads; None or "": `$SYMJAX_CACHE`,
        or `symjax` in the user's cache folder if that is not set.
      size: height and width of the digits, in pixels; CIFAR images have 32.
      train_images: size of a fixed subset of the training images; 0: all of them.
      validation_images: number of training images that are held out. They are chosen
        before the subset, so that the two never overlap.

    Returns:
      The data set: images uint8 `[N, H, W, C]`, labels int32 `[N]`.

    Raises:
      ValueError: for an unknown name, a number that is out of range, or a source that
        is damaged or is another data set.
      DataNotFoundError: if CIFAR is not in `data_dir` and cannot be downloaded.
      ArchiveHashError: if the archive is not the published one.
    """
    name = names.matched("data set", name, NAMES)
    if name == "digits":
        return cut(digits.load(size), train_images, validation_images)
    folder = expand(cache_dir) if cache_dir else cache.default_folder()
    source = _source(name, expand(data_dir), folder)
    path = folder / f"{name}-{source.identity}.npz"
    whole = cache.cached(path, name, source.description, source.read)
    return cut(whole, train_images, validation_images)


class _Source(NamedTuple):
    """A source of CIFAR: path or address, hash for the cache file, and a decoder."""

    description: str
    identity: str
    read: Callable[[], Dataset]


def _source(name: str, data_dir: Path, cache_dir: Path) -> _Source:
    npz = data_dir / f"{name}.npz"
    if npz.is_file():
        read = partial(cache.read_npz, npz, name)
        place, identity = str(npz), cache.files_identity([npz])
    elif folder := tfds_source.find(data_dir / name):
        read = partial(tfds_source.read, folder, name)
        place, identity = str(folder), cache.files_identity(folder.iterdir())
    else:
        published = archive.ARCHIVES[name]
        read = partial(_read_archive, name, data_dir, cache_dir)
        place = published.url
        identity = cache.identity(published.url, published.sha256)
    return _Source(place, identity, lambda: _expect_cifar(read(), name))


def _read_archive(name: str, data_dir: Path, cache_dir: Path) -> Dataset:
    import requests

    published = archive.ARCHIVES[name]
    try:
        path = archive.fetch(published, data_dir, cache_dir)
    except requests.RequestException as error:
        raise DataNotFoundError(
            f"No data for {name!r}: {data_dir} has none, and downloading "
            f"{published.url} failed ({error}). Any one of these helps:\n"
            f"  - a TFDS data set in {data_dir / name}, prepared with "
            "file_format='array_record' (tfrecord needs TensorFlow and is not read)\n"
            f"  - the official archive {published.url}, put into {data_dir}\n"
            f"  - the arrays {', '.join(cache.KEYS)} in {data_dir / name}.npz\n"
            "  - a folder that has one of these: --config.dataset.data_dir=FOLDER\n"
            "  - a data set that needs no download: --config.dataset.name=digits"
        ) from None
    return archive.read(path, name)


def _expect_cifar(dataset: Dataset, name: str) -> Dataset:
    classes = CIFAR_CLASSES[name]
    if dataset.image_shape != CIFAR_SHAPE or dataset.classes != classes:
        raise ValueError(
            f"{dataset.source} holds images {list(dataset.image_shape)} of "
            f"{dataset.classes} classes; expected {list(CIFAR_SHAPE)} and {classes} "
            f"classes, as {name} has."
        )
    return dataset
