"""Data sets that TensorFlow Datasets (TFDS) has prepared, read without TensorFlow.

    folder = find(Path("~/tensorflow_datasets/cifar10").expanduser())
    dataset = read(folder, "cifar10")

Only the format `array_record` can be read without TensorFlow. This module does not
prepare or download data sets.

References:
  TensorFlow Datasets, `tfds.data_source`:
  https://www.tensorflow.org/datasets/data_source
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from symjax.data.dataset import Dataset, Split, make_dataset
from symjax.folders import reading

CHUNK = 1000  # records read at once, which takes half the time of single reads
WAY_OUT = "delete the folder of the TFDS data set, and prepare it again"


def find(folder: Path) -> Path | None:
    """The folder of the newest complete version of a data set that can be read.

    Args:
      folder: the folder of the data set, `<data_dir>/<name>`, with one folder per
        version.

    Returns:
      The folder of the version, or None if there is none.
    """
    versions = {}
    for info in folder.glob("*/dataset_info.json"):
        # While TFDS prepares a version, its folder is named `incomplete.XXX_3.0.2`.
        complete = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", info.parent.name)
        if complete and any(info.parent.glob("*.array_record-*")):
            versions[tuple(map(int, complete.groups()))] = info.parent
    return versions[max(versions)] if versions else None


def read(folder: Path, name: str) -> Dataset:
    """Decodes the train and test splits of a prepared data set.

    Args:
      folder: the folder of one version, as `find` returns it.
      name: the name of the data set.

    Returns:
      The data set. TFDS stores examples shuffled; they are sorted by their ids, which
      restores the original order, if they have ids.

    Raises:
      OSError, ValueError: if the preparation is incomplete or its files are damaged.
    """
    with reading(folder, WAY_OUT):
        builder = _builder(folder)
        train, test = (_split(builder, split) for split in ("train", "test"))
    names = builder.info.features["label"].names
    return make_dataset(name, train, test, names, str(folder))


def read_split(folder: Path, split: str) -> Split:
    """Decodes one split of a prepared data set, in the order of `read`.

    Args:
      folder: the folder of one version, as `find` returns it.
      split: name of the split, such as "test".

    Raises:
      OSError, ValueError: as `read`.
    """
    with reading(folder, WAY_OUT):
        return _split(_builder(folder), split)


def _builder(folder: Path) -> Any:
    """The builder of this version, even if TFDS would choose another one."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    if not builder.is_prepared():
        raise ValueError("its preparation is incomplete")
    return builder


def _split(builder: Any, split: str) -> Split:
    source = builder.as_data_source(split)
    images, labels, ids = [], [], []
    description = f"{builder.info.name}: {split} images"
    for start in track(range(0, len(source), CHUNK), description):
        indices = range(start, min(start + CHUNK, len(source)))
        for example in source.__getitems__(indices):
            images.append(example["image"])
            labels.append(example["label"])
            ids.append(example.get("id", b""))
    order = np.argsort(np.asarray(ids), stable=True)
    return Split(np.stack(images), np.asarray(labels, np.int32)).take(order)
