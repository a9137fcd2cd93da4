"""The published CIFAR-10-C and CIFAR-100-C: the official files, or a TFDS data set.

    published = find("cifar10", Path("/data"), dataset.test)   # None if there is none
    images, labels = published("glass_blur", severity=3)       # uint8 [N, H, W, C], [N]

References:
  Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common
  Corruptions and Perturbations": https://zenodo.org/records/2535967 (CIFAR-10-C) and
  https://zenodo.org/records/3555552 (CIFAR-100-C).
"""

import dataclasses
from pathlib import Path

import numpy as np

from symjax.data import tfds_source
from symjax.data.corruptions.corruption import SEVERITIES, check_severity
from symjax.data.dataset import Split
from symjax.folders import reading

FOLDERS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
TFDS = {"cifar10": "cifar10_corrupted"}  # TFDS does not have CIFAR-100-C
TFDS_NAMES = {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"}


@dataclasses.dataclass(frozen=True)
class NpyCifarC:
    """A folder with one `.npy` file per corruption, which holds the severities 1 to 5.

    Attributes:
      folder: the folder, which also has `labels.npy`.
      test: the clean test split, in the same order.
    """

    folder: Path
    test: Split
    paired = True  # image i is made from the clean test image i

    def __call__(self, name: str, severity: int) -> Split:
        """The images of a corruption and severity, read from disk when they are used.

        Args:
          name: name of the corruption and of its file, such as "gaussian_noise".
          severity: 1 to 5.

        Raises:
          ValueError: if there is no such corruption or severity, if a file is damaged,
            or if it does not belong to the clean test split.
        """
        check_severity(severity)
        count = len(self.test.labels)
        labels = self._array("labels", ())
        if not np.array_equal(labels, np.tile(self.test.labels, len(SEVERITIES))):
            raise ValueError(
                f"{self.folder / 'labels.npy'} belongs to another data set or another "
                "order of the images: expected the labels of the clean test images, "
                "repeated five times."
            )
        images = self._array(name, self.test.images.shape[1:])
        if images.dtype != np.uint8:
            raise ValueError(
                f"{self.folder / name}.npy has dtype {images.dtype}; expected uint8."
            )
        rows = slice((severity - 1) * count, severity * count)
        return Split(images[rows], self.test.labels)

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            files = sorted(file.stem for file in self.folder.glob("*.npy"))
            raise ValueError(f"{path} does not exist; expected one of {files}.")
        with reading(path, "extract it from the archive again"):
            array = np.load(path, mmap_mode="r")
        expected = len(SEVERITIES) * len(self.test.labels), *shape
        if array.shape != expected:
            raise ValueError(
                f"{path} has shape {list(array.shape)}; expected {list(expected)}, "
                "five severities of the test images."
            )
        return array


@dataclasses.dataclass(frozen=True)
class TfdsCifarC:
    """The TFDS data set `cifar10_corrupted`.

    TFDS shuffles the images and keeps no ids, so image i is not made from the clean
    test image i.

    Attributes:
      folder: the folder of the data set, with one folder per corruption and severity,
        such as `brightness_1`.
      test: the clean test split.
    """

    folder: Path
    test: Split
    paired = False

    def __call__(self, name: str, severity: int) -> Split:
        """As `NpyCifarC`, with the same names; the whole split is decoded."""
        check_severity(severity)
        configuration = self.folder / f"{TFDS_NAMES.get(name, name)}_{severity}"
        version = tfds_source.find(configuration)
        if version is None:
            prepared = sorted(path.name for path in self.folder.iterdir())
            raise ValueError(
                f"{configuration} is not prepared as array_record: prepare it with "
                f"TFDS, or choose one of {prepared}."
            )
        split = tfds_source.read_split(version, "test")
        if split.images.shape != self.test.images.shape or not np.array_equal(
            np.sort(split.labels), np.sort(self.test.labels)
        ):
            raise ValueError(
                f"{version} holds images {list(split.images.shape)}; expected "
                f"{list(self.test.images.shape)}, and the labels of the clean test "
                "images."
            )
        return split


def find(name: str, data_dir: Path, test: Split) -> NpyCifarC | TfdsCifarC | None:
    """The published corruptions of a data set; None if a folder does not have them.

    Args:
      name: "cifar10" or "cifar100"; for other data sets none were published.
      data_dir: folder that is searched for `CIFAR-10-C` or `CIFAR-100-C`, and then for
        `cifar10_corrupted` of TFDS.
      test: the clean test split.
    """
    if name in FOLDERS and (folder := data_dir / FOLDERS[name]).is_dir():
        return NpyCifarC(folder, test)
    if name in TFDS and (folder := data_dir / TFDS[name]).is_dir():
        return TfdsCifarC(folder, test)
    return None
