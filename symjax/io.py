"""Atomic writes, JSON Lines, batches, and checkpoints of batches.

    with atomic_write(folder / "page.html") as partial:
        partial.write_text(page)
    append_row(folder / "rows.jsonl", {"epoch": 1, "loss": 2.3})
    checkpoint = BatchCheckpoint(folder, identity, fingerprint)
    for part in in_batches(len(images), 128):
        outcome = checkpoint.load(f"{part[0]}") or ...

`symjax.folders` has errors that name a file, and the lock of a run folder.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from symjax.folders import expand, reading

SAME = 1e-3
"""Largest difference between two fingerprints of the same net, as a fraction of the
largest logit. Rounding on another device differs by less, another net by more."""
T = TypeVar("T")
START_OVER = "remove the folder, and the evaluation starts from the beginning"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which replaces `path` at the end of the context.

    No process can read an incomplete file. If an error is raised, the temporary file is
    removed and an existing file at `path` is not changed. The temporary file is unique,
    in the same folder (which is made if needed) and has the same suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def read_arrays(path: Path, way_out: str) -> dict[str, np.ndarray]:
    """Reads all arrays of an `.npz` file, by name.

    Args:
      path: the file.
      way_out: what a user can do about a damaged file, such as "remove it".

    Raises:
      OSError, ValueError: if the file cannot be read, see `folders.reading`.
    """
    # The file is opened here because numpy would not close a truncated one.
    with reading(path, way_out), path.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name to a compressed `.npz` file, atomically."""
    with atomic_write(path) as partial:
        np.savez_compressed(partial, **arrays)  # pyright: ignore[reportArgumentType]


def _object(row: Any) -> Any:
    if not isinstance(row, dict):
        raise ValueError("expected a JSON object")
    return row


def read_rows(
    path: Path,
    parse: Callable[[Any], T] = _object,
    way_out: str = "correct or remove the line",
) -> list[T]:
    """The rows of a file with one JSON object per line; none if it does not exist.

    A last line that was cut off is left out.

    Args:
      path: the file.
      parse: makes a row of a JSON value; raises ValueError if it is not valid.
      way_out: what a user can do about a damaged line.

    Raises:
      OSError, ValueError: if the file cannot be read or a line is not valid, see
        `folders.reading`.
    """
    if not path.exists():
        return []
    with reading(path, "it has to be a text file of rows; correct or remove it"):
        *lines, last = path.read_text(encoding="utf-8").split("\n")
    if _is_whole(last):
        lines.append(last)
    rows = []
    for number, line in enumerate(lines, 1):
        with reading(f"{path}, line {number}", way_out):
            rows.append(parse(json.loads(line)))
    return rows


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a line of JSON to a file; a last line that was cut off is removed first.

    Several processes can append to the same file at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                *_, last = file.read().rpartition(b"\n")
                if _is_whole(last):
                    file.write(b"\n")
                else:
                    file.truncate(file.tell() - len(last))
        file.write(_line(row).encode())


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a file with one JSON object per line, atomically."""
    with atomic_write(path) as partial:
        partial.write_text("".join(map(_line, rows)), encoding="utf-8")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a folder for appending to or rewriting its files of rows.

    It waits until no other process holds this lock. `folders.hold` is another lock, for
    the whole time of a training.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # the file system does not support locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class BatchCheckpoint:
    """Saves the outcomes of finished batches, from which a killed evaluation continues.

    If the folder cannot be written to, for example because the disk is full, a warning
    is issued once and nothing more is saved.

    Args:
      folder: the folder; it is made if it does not exist. None: nothing is saved.
      identity: everything that the outcomes depend on: plain values, and under "arrays"
        a sequence of arrays, of which the hash is compared.
      fingerprint: logits or margins of a few images. They detect changed weights even
        if the weights are hidden in a closure.

    Raises:
      ValueError: if the folder holds batches of another identity or net, or damaged
        files.
    """

    def __init__(
        self, folder: Path | None, identity: Mapping[str, Any], fingerprint: np.ndarray
    ):
        self._folder = None if folder is None else expand(folder)
        if self._folder is not None:
            try:
                self._open(self._folder, identity, fingerprint)
            except OSError as error:
                self._give_up(error)

    def _open(
        self, folder: Path, identity: Mapping[str, Any], fingerprint: np.ndarray
    ) -> None:
        """Writes the identity, or compares it with that in the folder."""
        arrays = _digest(identity["arrays"])
        now = json.loads(json.dumps({**identity, "arrays": arrays}))
        call, answers = folder / "call.json", folder / "answers.npy"
        if not call.exists():
            with atomic_write(answers) as partial:
                np.save(partial, fingerprint)
            with atomic_write(call) as partial:
                partial.write_text(json.dumps(now, indent=1))
        with reading(call, START_OVER):
            before = dict(json.loads(call.read_text()))
        other = [name for name in now if before.get(name) != now[name]]
        with reading(answers, START_OVER):
            if not other and not _agree(np.load(answers), fingerprint):
                other = ["logits_fn"]
        if other:
            raise ValueError(
                f"{folder} holds batches of another call, which differs in {other}: "
                "choose another folder, or remove this one."
            )

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The outcome of a batch, arrays by name; None if it was not saved."""
        path = self._folder and self._folder / f"{name}.npz"
        if path is None or not path.exists():
            return None
        return read_arrays(path, "remove it, and that batch is measured again")

    def save(self, name: str, outcome: Mapping[str, Any]) -> None:
        """Saves the outcome of a batch, arrays by name."""
        if self._folder is not None:
            try:
                write_arrays(self._folder / f"{name}.npz", outcome)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        warnings.warn(
            f"{self._folder} cannot be written to ({error}): finished batches are not "
            "saved, and an evaluation that is killed starts from the beginning.",
            stacklevel=4,
        )
        self._folder = None


def in_batches(count: int, size: int, pad: bool = True) -> Iterator[np.ndarray]:
    """Splits the indices of images into batches.

    Args:
      count: the number of images.
      size: the number of images per batch.
      pad: whether the last batch is filled by repeating the last index, so that one
        program serves all batches. `np.concatenate(results)[:count]` are then the
        results of all images.

    Yields:
      Indices, `[size]`; the last batch may be smaller unless `pad` is True.

    Raises:
      ValueError: if size is not positive.
    """
    if size < 1:
        raise ValueError(f"size={size}: expected batches of 1 image or more.")
    for first in range(0, count, size):
        indices = np.arange(first, first + size)
        yield np.minimum(indices, count - 1) if pad else indices[indices < count]


def _digest(arrays: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _agree(before: np.ndarray, now: np.ndarray) -> bool:
    finite = np.abs(before[np.isfinite(before)])
    within = SAME * finite.max(initial=0.0)
    return np.allclose(now, before, rtol=0, atol=within, equal_nan=True)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _is_whole(line: str | bytes) -> bool:
    """Whether a line is a whole JSON object; one that was cut off is not."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
