"""Loading a data set by its name.

    digits = load("digits", size=16)
    cifar = load("cifar10", data_dir="/data", train_images=10_000)

The single data sets are in `symjax.data.cifar` and `symjax.data.digits`.
"""

import difflib
import os

from symjax.data import cache, cifar, digits
from symjax.data.dataset import Dataset, cut
from symjax.folders import expand

NAMES = ("digits", *cifar.CLASSES)


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] = "~/tensorflow_datasets",
    cache_dir: str | os.PathLike[str] | None = None,
    size: int = 16,
    train_images: int = 0,
    validation_images: int = 0,
    progress: bool = True,
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
      progress: show progress bars.

    Returns:
      The data set: images uint8 `[N, H, W, C]`, labels int32 `[N]`.

    Raises:
      ValueError: for an unknown name, a number that is out of range, or a damaged
        source.
      DataNotFoundError: if CIFAR is not in `data_dir` and cannot be downloaded.
      ArchiveHashError: if the archive is not the published one.
    """
    if name == "digits":
        whole = digits.load(size)
    elif name in cifar.CLASSES:
        folder = expand(cache_dir) if cache_dir else cache.default_folder()
        whole = cifar.load(name, expand(data_dir), folder, progress)
    else:
        close = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"data set {name!r}: expected one of {', '.join(NAMES)}.{hint}"
        )
    return cut(whole, train_images, validation_images)
