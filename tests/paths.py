"""Where the checkout, the stored values of peers and data sets are."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests/data"


def cifar10() -> Path:
    """The folder that has CIFAR-10; the test is skipped if there is none."""
    folder = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    if not any((folder / name).exists() for name in ("cifar10", "cifar10.npz")):
        pytest.skip(f"no CIFAR-10 in {folder}: set TFDS_DATA_DIR to a folder with it")
    return folder
