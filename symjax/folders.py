"""Run folders: paths with `~`, new folders, locks, errors that name a file.

folder = new(Path("runs"), "quickstart")       # runs/quickstart-20300101-120000
with hold(folder):                             # FolderInUseError in other processes
    ...
"""

import contextlib
import datetime
import fcntl
import itertools
import os
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LOCK = ".lock"
RUNS = Path("runs")
"""The folder of run folders that have no given path, below the current folder."""


class FolderInUseError(OSError):
    """Another process holds the lock of the folder."""


def expand(path: str | os.PathLike) -> Path:
    """The path with a leading `~` or `~user` replaced by that user's home folder.

    Raises:
      ValueError: if there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{path}: there is no such user. Give the path without ~."
        ) from None


def new(parent: Path, name: str) -> Path:
    """Makes a new folder `<name>-<date>-<time>`, followed by -2, -3, ... if it exists.

    Args:
      parent: the folder in which the new one is made; it is made if it does not exist.
      name: the beginning of the name.

    Returns:
      The path of the folder; no other call returns the same path.

    Raises:
      ValueError: if the name cannot be that of a folder.
      OSError: if the folder cannot be made.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(
            f"name={name!r} cannot be the name of a run folder in {parent}/: choose "
            "one without slashes that does not begin with a dot, or name the folder "
            "with --workdir."
        )
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for suffix in itertools.chain([""], (f"-{i}" for i in itertools.count(2))):
            folder = parent / f"{name}-{time}{suffix}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise AssertionError("there are infinitely many suffixes")


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, so that no other process trains in it.

    The lock does not prevent reading. It is a lock of the operating system on the file
    `.lock` in the folder, and it ends with the process, even if the process is killed.
    Where the file system does not support locks, the folder is not protected.

    Args:
      folder: the folder; it is made if it does not exist.

    Raises:
      FolderInUseError: if another process holds the lock; the error names its number
        and host.
      OSError: if the folder cannot be written to.
    """
    path = folder / LOCK
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    with file:
        try:
            with writing(folder):
                file.truncate(0)
                file.write(_this_process())
                file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Makes errors of writing, such as that of a full disk, name the folder."""
    try:
        yield
    except FolderInUseError:
        raise
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written to ({error.strerror or error}): choose "
            "another folder, or make this one writable."
        ) from error


@contextlib.contextmanager
def reading(place: Path | str, way_out: str) -> Iterator[None]:
    """Makes errors of reading, such as that of a damaged file, name the file.

    Args:
      place: the file, or a line of a file.
      way_out: what a user can do, such as "remove it".

    Raises:
      OSError: in place of an error of the file system.
      ValueError: in place of any other exception.
    """
    try:
        yield
    except Exception as error:  # JSON, zip files and checkpoints raise many types
        text = str(error) or type(error).__name__
        kind = ValueError
        if isinstance(error, OSError):
            kind = OSError
            elsewhere = error.filename not in (None, place, str(place))
            at = f": {error.filename}" if elsewhere else ""
            text = f"{error.strerror}{at}" if error.strerror else text
        reason = textwrap.shorten(text, 200, placeholder="...").rstrip(".")
        raise kind(f"{place} cannot be read ({reason}): {way_out}.") from error


def _locked(path: Path) -> IO[str]:
    """Opens and locks the lock file; raises an error if another process holds it."""
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read() or "a process that has just started"
            raise FolderInUseError(
                f"{path.parent} is in use by {holder}: choose another folder, or wait "
                "for it to end."
            ) from None
        except OSError:  # the file system does not support locks
            return file
        if _is_at(path, file):
            return file
        file.close()  # its former holder has removed the file in the meantime


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _this_process() -> str:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}"
