"""Files that are never half there: atomic writes, arrays, and rows of JSON.

    with atomic_write(folder / "page.html") as partial:
        partial.write_text(page)
    append_row(folder / "rows.jsonl", {"epoch": 1, "loss": 2.3})

`symjax.folders` has the errors that name a file, and the lock of a run folder.
"""

import contextlib
import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from symjax.folders import reading


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


def read_rows(
    path: Path, check: Callable[[Any], None], way_out: str
) -> list[dict[str, Any]]:
    """The rows of a file with one JSON object a line; none if it is not there.

    A last line that was cut off is left out.

    Args:
      path: the file.
      check: raises ValueError for a row that is not as expected.
      way_out: what to do about a damaged line, as "mend or remove the line".

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
            row = json.loads(line)
            check(row)
            rows.append(row)
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
    """Writes a file with one JSON object a line, whole or not at all."""
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


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _is_whole(line: str | bytes) -> bool:
    """Whether a line is a whole JSON object; one that was cut off is not."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
