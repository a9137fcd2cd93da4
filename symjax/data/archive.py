"""The official CIFAR archives in binary form: download, check of the hash, decoding.

    path = fetch(ARCHIVES["cifar10"], data_dir, cache_dir)
    dataset = read(path, "cifar10")

A record consists of one label byte (CIFAR-100: two, the coarse and the fine label) and
3072 bytes of pixels, `[C, H, W]`.

References:
  Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
  https://www.cs.toronto.edu/~kriz/cifar.html
"""

import dataclasses
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from rich.progress import track

from symjax.data.dataset import Dataset, Split, make_dataset

SIZE, CHANNELS = 32, 3
TIMEOUT = 30  # seconds to wait for the server, or for the next bytes of a download


class ArchiveHashError(ValueError):
    """The hash of an archive is not that of the published one."""


@dataclasses.dataclass(frozen=True)
class Archive:
    """Address, hash and contents of an archive.

    Attributes:
      train_files, test_files: names of the members with records, in order.
      names_file: name of the member with one class name per line.
      label_bytes: the number of label bytes in a record; the last one is the class.
    """

    url: str
    sha256: str
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    names_file: str
    label_bytes: int

    @property
    def filename(self) -> str:
        """The file name in the address."""
        return PurePosixPath(urlsplit(self.url).path).name


# Hashes as in TensorFlow Datasets' url_checksums.
ARCHIVES = {
    "cifar10": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        train_files=tuple(f"data_batch_{batch}.bin" for batch in range(1, 6)),
        test_files=("test_batch.bin",),
        names_file="batches.meta.txt",
        label_bytes=1,
    ),
    "cifar100": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        train_files=("train.bin",),
        test_files=("test.bin",),
        names_file="fine_label_names.txt",
        label_bytes=2,
    ),
}


def fetch(archive: Archive, data_dir: Path, cache_dir: Path) -> Path:
    """Finds an archive in `data_dir`, or downloads it to `<cache_dir>/archives`.

    Args:
      archive: the archive.
      data_dir: folder in which a user may have put the archive.
      cache_dir: folder for downloads.

    Returns:
      The path of the archive; its hash was checked.

    Raises:
      ArchiveHashError: if the file has another hash than the published archive.
      requests.RequestException: if the download fails or is incomplete; no part of it
        is kept.
    """
    import pooch
    import requests

    own = data_dir / archive.filename
    if own.is_file():
        found = pooch.file_hash(str(own), alg="sha256")
        if found != archive.sha256:
            raise ArchiveHashError(
                f"{own} is not the published archive: expected SHA-256 "
                f"{archive.sha256}, got {found}. Delete it, or replace it by "
                f"{archive.url}."
            )
        return own
    # The type is Any because pooch declares another type for downloaders.
    downloader: Any = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    try:
        path = pooch.retrieve(
            archive.url,
            known_hash=f"sha256:{archive.sha256}",
            fname=archive.filename,
            path=cache_dir / "archives",
            downloader=downloader,
        )
    except requests.RequestException:  # some of which are ValueErrors
        raise
    except ValueError as error:
        raise ArchiveHashError(
            f"The file at {archive.url} is not the published archive: {error} Put the "
            f"published one into {data_dir}."
        ) from None
    return Path(path)


def read(path: Path, name: str) -> Dataset:
    """Decodes an archive, whose images keep their order.

    Args:
      path: path of the archive, as `fetch` returns it.
      name: a key of `ARCHIVES`.

    Raises:
      ValueError: if a member is missing or does not consist of whole records.
    """
    archive = ARCHIVES[name]
    members = _members(path, archive, f"{name}: reading the archive")
    train, test = (
        _records(b"".join(members[file] for file in files), archive.label_bytes, path)
        for files in (archive.train_files, archive.test_files)
    )
    lines = members[archive.names_file].decode().split()
    return make_dataset(name, train, test, lines, archive.url)


def _members(path: Path, archive: Archive, description: str) -> dict[str, bytes]:
    wanted = {*archive.train_files, *archive.test_files, archive.names_file}
    members = {}
    with tarfile.open(path, "r:gz") as tar:
        for member in track(tar, description):
            base = PurePosixPath(member.name).name
            file = tar.extractfile(member) if base in wanted else None
            if file is not None:
                members[base] = file.read()
    if missing := sorted(wanted - set(members)):
        raise ValueError(
            f"{path} lacks {', '.join(missing)}; expected the binary version of CIFAR, "
            f"{archive.url}."
        )
    return members


def _records(data: bytes, label_bytes: int, path: Path) -> Split:
    record_bytes = label_bytes + CHANNELS * SIZE * SIZE
    if len(data) % record_bytes:
        raise ValueError(
            f"{path} holds {len(data)} bytes of records; expected a multiple of "
            f"{record_bytes}, the bytes of one record."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, record_bytes)
    images = records[:, label_bytes:].reshape(-1, CHANNELS, SIZE, SIZE)
    return Split(images.transpose(0, 2, 3, 1), records[:, label_bytes - 1])
