"""Files that are never half there, and batches that need not be computed again.

    with atomic_write(folder / "page.html") as partial:
        partial.write_text(page)
    append_row(folder / "rows.jsonl", {"epoch": 1, "loss": 2.3})
    checkpoint = BatchCheckpoint(folder, identity, fingerprint)
    for part in in_batches(len(images), 128):
        outcome = checkpoint.load(f"{part[0]}") or ...

`symjax.folders` has the errors that name a file, and the lock of a run folder.
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
"""Largest difference of two fingerprints of one net, as a fraction of the largest
logit: another device rounds differently, and another net differs by more."""
T = TypeVar("T")
START_OVER = "remove the folder, and the evaluation starts over"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, which is moved to `path` at the end.

    Nobody reads half of the file, and an error leaves the older file as it was. The new
    path lies in the same folder, which is made, has the same suffix, and is used by no
    other process. It is removed after an error.
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
    """The arrays of an `.npz` file by name, read whole.

    Args:
      path: the file.
      way_out: what to do about a damaged file, as "remove it".

    Raises:
      OSError, ValueError: if the file cannot be read, see `folders.reading`.
    """
    # Opened here, since numpy leaves a file open that is cut off.
    with reading(path, way_out), path.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name to a compressed `.npz` file, whole or not at all."""
    with atomic_write(path) as partial:
        np.savez_compressed(partial, **arrays)  # pyright: ignore[reportArgumentType]


def _object(row: Any) -> Any:
    if not isinstance(row, dict):
        raise ValueError("expected a JSON object")
    return row


def read_rows(
    path: Path,
    parse: Callable[[Any], T] = _object,
    way_out: str = "mend or remove the line",
) -> list[T]:
    """The rows of a file with one JSON object a line; none if it is not there.

    A last line that was cut off is left out.

    Args:
      path: the file.
      parse: makes a row of an object; raises ValueError if it is not as expected.
      way_out: what to do about a damaged line.

    Raises:
      OSError, ValueError: if the file or one of its lines cannot be read or is not as
        expected, see `folders.reading`.
    """
    if not path.exists():
        return []
    with reading(path, "it has to be a text file of rows; mend or remove it"):
        *lines, last = path.read_text(encoding="utf-8").split("\n")
    if _is_whole(last):
        lines.append(last)
    rows = []
    for number, line in enumerate(lines, 1):
        with reading(f"{path}, line {number}", way_out):
            rows.append(parse(json.loads(line)))
    return rows


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a line of JSON to a file, in place of a last line that was cut off.

    Other processes may append to the same file at the same time.
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
    """Writes a file with one JSON object per line, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text("".join(map(_line, rows)), encoding="utf-8")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits until no other process appends to or rewrites files of rows in a folder.

    `folders.hold` is for a process that writes to a folder as long as it runs.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system that has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class BatchCheckpoint:
    """Outcomes of finished batches in a folder, with which a killed evaluation goes on.

    Where the folder cannot be written to, as on a full disk, there is one warning, and
    the evaluation goes on without it.

    Args:
      folder: made if it is not there; None keeps nothing.
      identity: what the outcomes depend on: plain values, and "arrays", a sequence of
        them, of which a hash is written.
      fingerprint: logits or margins of a few images. They detect other weights even if
        a function closes over them.

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
        """Writes the identity, or checks that it is the one in the folder."""
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
        """The outcome of a batch; None if it was not saved."""
        path = self._folder and self._folder / f"{name}.npz"
        if path is None or not path.exists():
            return None
        return read_arrays(path, "remove it, and that batch is measured again")

    def save(self, name: str, outcome: Mapping[str, Any]) -> None:
        """Writes the outcome of a batch, arrays by name."""
        if self._folder is not None:
            try:
                write_arrays(self._folder / f"{name}.npz", outcome)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        warnings.warn(
            f"{self._folder} cannot be written ({error}): finished batches are not "
            "kept, and an evaluation that is killed starts over.",
            stacklevel=4,
        )
        self._folder = None


def in_batches(count: int, size: int, pad: bool = True) -> Iterator[np.ndarray]:
    """Indices of images, `size` at a time.

    Args:
      count: the number of all images.
      size: of a batch.
      pad: fill the last batch by repeating the last index, so that one program serves
        all batches; `np.concatenate(results)[:count]` are the results of all images.

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
