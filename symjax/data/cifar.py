"""CIFAR-10 and CIFAR-100, from the first of three sources that is available.

    dataset = load("cifar10", Path("/data"), cache.default_folder())

The sources are the file `<name>.npz` in the data folder, a data set that TFDS prepared
in the data folder, and the official archive. A source is decoded once; later calls read
the cache.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from symjax.data import archive, cache, tfds_source
from symjax.data.dataset import Dataset

CLASSES = {"cifar10": 10, "cifar100": 100}
IMAGE_SHAPE = (32, 32, 3)


class DataNotFoundError(FileNotFoundError):
    """A data set is not on this machine and cannot be downloaded."""


class Source(NamedTuple):
    """A source of a data set.

    Attributes:
      description: path or address, for messages.
      identity: hash for the name of the cache file.
      read: decodes the source.
    """

    description: str
    identity: str
    read: Callable[[], Dataset]


def load(name: str, data_dir: Path, cache_dir: Path, progress: bool = True) -> Dataset:
    """Loads a complete CIFAR data set.

    Args:
      name: "cifar10" or "cifar100".
      data_dir: folder that is searched for prepared data sets.
      cache_dir: folder for decoded arrays and downloaded archives.
      progress: show progress bars.

    Returns:
      The data set, images `[N, 32, 32, 3]`.

    Raises:
      DataNotFoundError: if there is no source in `data_dir` and the download fails.
      ArchiveHashError: if the archive is not the published one.
      ValueError: if the source is damaged or is another data set.
    """
    source = _source(name, data_dir, cache_dir, progress)
    path = cache_dir / f"{name}-{source.identity}.npz"
    return cache.cached(
        path, name, source.description, lambda: _expect(source.read(), CLASSES[name])
    )


def _source(name: str, data_dir: Path, cache_dir: Path, progress: bool) -> Source:
    npz = data_dir / f"{name}.npz"
    if npz.is_file():
        read = partial(cache.read_npz, npz, name)
        return Source(str(npz), cache.files_identity([npz]), read)
    if folder := tfds_source.find(data_dir / name):
        read = partial(tfds_source.read, folder, name, progress)
        return Source(str(folder), cache.files_identity(folder.iterdir()), read)
    published = archive.ARCHIVES[name]
    read = partial(_read_archive, name, data_dir, cache_dir, progress)
    identity = cache.identity(published.url, published.sha256)
    return Source(published.url, identity, read)


def _read_archive(
    name: str, data_dir: Path, cache_dir: Path, progress: bool
) -> Dataset:
    import requests

    published = archive.ARCHIVES[name]
    try:
        path = archive.fetch(published, data_dir, cache_dir, progress)
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
    return archive.read(path, name, progress)


def _expect(dataset: Dataset, classes: int) -> Dataset:
    if dataset.image_shape != IMAGE_SHAPE or dataset.classes != classes:
        raise ValueError(
            f"{dataset.source} holds images {list(dataset.image_shape)} of "
            f"{dataset.classes} classes; expected {list(IMAGE_SHAPE)} and {classes} "
            f"classes, as {dataset.name} has."
        )
    return dataset
