"""The data sets by name.

    digits = load("digits", size=16)
    cifar = load("cifar10", data_dir="/data", train_images=10_000)

Everything else about a data set is in `symjax.data.cifar` and `symjax.data.digits`.
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
    """Loads a data set into memory, fetching or decoding it the first time.

    Args:
      name: "digits", "cifar10" or "cifar100".
      data_dir: where CIFAR is looked for: `<name>.npz`, a prepared TFDS folder
        `<name>/<version>`, or the official archive.
      cache_dir: where decoded arrays and downloads are kept; None or "" means
        `$SYMJAX_CACHE`, or else `symjax` in the user's cache folder.
      size: height and width of the digits, in pixels; CIFAR is always 32.
      train_images: a fixed subset of that many training images; 0 means all.
      validation_images: how many training images to hold out, before the subset is
        taken, so that the two never overlap.
      progress: show progress bars.

    Returns:
      The data set: images uint8 `[N, H, W, C]`, labels int32 `[N]`.

    Raises:
      ValueError: for an unknown name, impossible numbers, or a damaged source.
      DataNotFoundError: if CIFAR is nowhere and cannot be fetched.
      ArchiveHashError: if an archive is not the published one.
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
            f"No data set is named {name!r}.{hint} Known are {', '.join(NAMES)}."
        )
    return cut(whole, train_images, validation_images)
