"""Run folders: paths with `~`, new folders, locks, errors that name a file.

folder = new(Path("runs"), "quickstart")       # runs/quickstart-20300101-120000
with hold(folder):                             # FolderInUseError in other processes
    ...
"""

import contextlib
import datetime
import fcntl
import itertools
import json
import os
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

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
    The file holds the process, its host and the time; they decide whether the folder is
    in use where the file system does not support locks.

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
                file.write(json.dumps(_this_process()))
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
            supported = _lock(file)
            if not _is_at(path, file):  # its former holder removed the file meanwhile
                file.close()
                continue
            holder = _read(file)
            here = holder.get("host") == socket.gethostname()
            gone = here and (supported or _start(holder["pid"]) != holder["start"])
            if holder and not gone:
                raise _in_use(path, holder)
            return file
        except BlockingIOError:
            holder = _read(file)
            file.close()
            raise _in_use(path, holder) from None
        except BaseException:
            file.close()
            raise


def _lock(file: IO[str]) -> bool:
    """Locks the file; returns False if the file system does not support locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _in_use(path: Path, holder: dict[str, Any]) -> FolderInUseError:
    if not holder:
        return FolderInUseError(
            f"{path.parent} is in use by a process that has just started: choose "
            "another folder, or wait for it to end."
        )
    here = holder["host"] == socket.gethostname()
    otherwise = "" if here else f" If that process is gone, remove {path}."
    return FolderInUseError(
        f"{path.parent} is in use by process {holder['pid']} on {holder['host']}, "
        f"since {holder['since']}: choose another folder, or wait for it to end."
        f"{otherwise}"
    )


def _this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "start": _start(os.getpid()),
        "host": socket.gethostname(),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _start(pid: int) -> str | None:
    """The start time of a process of this host; None if the process does not exist.

    The start time distinguishes a process from a later one with the same number. It is
    "" on systems without `/proc`.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _read(file: IO[str]) -> dict[str, Any]:
    """The process that wrote the lock file; empty if the file is incomplete."""
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return holder if holder.keys() >= {"pid", "start", "host", "since"} else {}
    except (ValueError, AttributeError):
        return {}
