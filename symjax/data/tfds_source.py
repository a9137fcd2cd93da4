"""A data set that TensorFlow Datasets has prepared, read without TensorFlow.

    folder = find(Path("~/tensorflow_datasets/cifar10").expanduser())
    dataset = read(folder, "cifar10", progress=True)

Only the `array_record` format can be read that way. Nothing here prepares or downloads.

References:
  TensorFlow Datasets, `tfds.data_source`:
  https://www.tensorflow.org/datasets/data_source
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from symjax.data.dataset import Dataset, Split, make_dataset

CHUNK = 1000  # Records read at once: half the time of one by one.


def find(folder: Path) -> Path | None:
    """The newest complete version in a data set's folder that can be read here.

    Args:
      folder: the folder that holds one folder a version, `<data_dir>/<name>`.

    Returns:
      The folder of that version, or None.
    """
    versions = {}
    for info in folder.glob("*/dataset_info.json"):
        # TFDS prepares in `incomplete.XXX_3.0.2`, which must not count.
        complete = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", info.parent.name)
        if complete and any(info.parent.glob("*.array_record-*")):
            versions[tuple(map(int, complete.groups()))] = info.parent
    return versions[max(versions)] if versions else None


def read(folder: Path, name: str, progress: bool = True) -> Dataset:
    """Decodes the train and test splits of a prepared data set.

    Args:
      folder: the folder of one version, as `find` returns it.
      name: the name of the data set.
      progress: show a progress bar.

    Returns:
      The data set, in the order of the examples' ids where they have any: TFDS stores
      them shuffled, and ids restore the order they were given in.

    Raises:
      ValueError: if the preparation is incomplete or its files are damaged.
    """
    with _damage(folder):
        builder = _builder(folder)
        train, test = (
            _split(builder.as_data_source(split), f"{name}: {split} images", progress)
            for split in ("train", "test")
        )
    features: Any = builder.info.features
    names = features["label"].names
    return make_dataset(name, train, test, names, str(folder))


def read_split(folder: Path, split: str) -> Split:
    """Decodes one split of a prepared data set, in the order of `read`.

    Args:
      folder: the folder of one version, as `find` returns it.
      split: its name, as in "test".

    Raises:
      ValueError: if the preparation is incomplete or its files are damaged.
    """
    with _damage(folder):
        return _split(_builder(folder).as_data_source(split), split, progress=False)


def _builder(folder: Path) -> Any:
    """Reads that folder and nothing else, whatever version this TFDS would choose."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    if not builder.is_prepared():
        raise ValueError("it is not completely prepared")
    return builder


@contextlib.contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """A damaged folder raises whatever its first unreadable file makes TFDS raise."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"The TFDS data set in {folder} cannot be read: {error}. Delete the folder "
            "and prepare it again."
        ) from error


def _split(source: Any, description: str, progress: bool) -> Split:
    images, labels, ids = [], [], []
    starts = range(0, len(source), CHUNK)
    for start in track(starts, description, disable=not progress):
        indices = range(start, min(start + CHUNK, len(source)))
        for example in source.__getitems__(indices):
            images.append(example["image"])
            labels.append(example["label"])
            ids.append(example.get("id", b""))
    order = np.argsort(np.asarray(ids), stable=True)
    return Split(np.stack(images), np.asarray(labels, np.int32)).take(order)
