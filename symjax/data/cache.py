"""Data sets as `.npz` files of arrays, and the cache of decoded data sets.

    dataset = cached(folder / "cifar10-1f2e.npz", "cifar10", source, read=decode)

A file in the cache also holds the hash of its arrays. It is written atomically, and the
hash is checked each time the file is loaded.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from symjax.data.dataset import Dataset, Split, make_dataset
from symjax.folders import expand
from symjax.io import atomic_write, read_arrays

KEYS = ("train_images", "train_labels", "test_images", "test_labels", "class_names")
HASH_KEY = "sha256"


def default_folder() -> Path:
    """The folder `$SYMJAX_CACHE`, or `symjax` in the user's cache folder."""
    if own := os.environ.get("SYMJAX_CACHE"):
        return expand(own)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand(base) / "symjax"


def identity(*parts: object) -> str:
    """A short hash of JSON values, which names the cache file of a source."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def files_identity(files: Iterable[Path]) -> str:
    """The `identity` of files, from their paths, sizes and modification times."""
    stats = [(str(file.resolve()), file.stat()) for file in sorted(files)]
    return identity(*((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats))


def read_npz(path: Path, name: str, source: str | None = None) -> Dataset:
    """Reads a data set from a file of arrays.

    Args:
      path: a `.npz` file with `train_images` and `test_images` (uint8 `[N, H, W, C]`),
        `train_labels` and `test_labels` (integers `[N]`), `class_names` (`[K]`).
      name: the name of the data set.
      source: the attribute `source` of the data set; the path by default.

    Raises:
      ValueError: if the file is not an `.npz` file, if an array is missing or has
        another shape or dtype, or if the file holds a hash that is not that of its
        arrays.
      OSError: if the file cannot be read.
    """
    arrays = read_arrays(path, "it may be incomplete; copy or write it again")
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}; expected the arrays "
            f"{', '.join(KEYS)}, as numpy.savez writes them."
        )
    train = Split(arrays["train_images"], arrays["train_labels"])
    test = Split(arrays["test_images"], arrays["test_labels"])
    class_names = arrays["class_names"].tolist()
    dataset = make_dataset(name, train, test, class_names, source or str(path))
    stored = str(arrays.get(HASH_KEY, dataset.sha256))
    if stored != dataset.sha256:
        raise ValueError(
            f"{path} is damaged: its arrays have the SHA-256 {dataset.sha256}, and "
            f"{stored} was expected. Copy or write it again."
        )
    return dataset


def cached(path: Path, name: str, source: str, read: Callable[[], Dataset]) -> Dataset:
    """Loads a data set from its cache file, or decodes the source and writes the file.

    A warning is issued if the cache file is damaged, which is then written again, and
    if it cannot be written.

    Args:
      path: the cache file, named after the identity of the source.
      name: the name of the data set.
      source: description of the source, for messages.
      read: decodes the source; called only if there is no valid cache file.
    """
    if path.exists():
        try:
            return read_npz(path, name, source)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"Ignoring a damaged cache file and decoding {source} again: {error}",
                stacklevel=2,
            )
    dataset = read()
    try:
        _write(path, dataset)
    except OSError as error:
        warnings.warn(
            f"{name} could not be kept in {path} ({error}); it will be decoded again "
            "next time. Choose another folder with cache_dir or $SYMJAX_CACHE.",
            stacklevel=2,
        )
    return dataset


def _write(path: Path, dataset: Dataset) -> None:
    arrays = (*dataset.train, *dataset.test, np.asarray(dataset.class_names))
    with atomic_write(path) as partial:
        np.savez(
            partial,
            allow_pickle=False,
            **dict(zip(KEYS, arrays, strict=True)),
            **{HASH_KEY: np.asarray(dataset.sha256)},
        )
