"""Folders: the home folder in paths, new names, and one process at a time in each.

folder = new(Path("runs"), "quickstart")       # runs/quickstart-20300101-120000
with hold(folder):                             # FolderInUseError elsewhere
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
"""Where run folders are made, below the current folder, if none is named."""


class FolderInUseError(OSError):
    """Another process writes to the folder."""


def expand(path: str | os.PathLike) -> Path:
    """The path with a leading `~` or `~user` replaced by that user's home folder.

    Raises:
      ValueError: if there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: there is no user whose home folder it is.") from None


def new(parent: Path, name: str) -> Path:
    """Makes a folder `<name>-<date>-<time>` that no other call gets.

    Args:
      parent: the folder that it is made in; it is made as well.
      name: where the folder is there already, -2, -3, ... is added.

    Raises:
      ValueError: if the name is not that of one folder.
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
    """Makes this process the only one that writes to a folder; reading stays free.

    The operating system locks the file `.lock` in the folder and drops the lock with
    the process, however that ends. The file holds the process, its host and the time.
    These decide where the file system cannot lock, or not between hosts.

    Args:
      folder: made if it is not there.

    Raises:
      FolderInUseError: if another process holds the folder, with its number and host.
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
    """Names the folder in errors of writing to it, as on a full disk."""
    try:
        yield
    except FolderInUseError:
        raise
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written to ({error.strerror or error}): choose "
            "another folder, or mend this one."
        ) from error


@contextlib.contextmanager
def reading(place: Path | str, way_out: str) -> Iterator[None]:
    """Names a file in errors of reading it, as of one that is damaged.

    Args:
      place: the file, or a line of it.
      way_out: what to do about it, as "remove it".

    Raises:
      OSError: in place of one of the file system.
      ValueError: in place of any other exception.
    """
    try:
        yield
    except Exception as error:  # JSON, zip files and checkpoints have many kinds
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
    """The lock file, open and locked, whatever process held it before."""
    while True:
        file = path.open("a+")
        try:
            supported = _lock(file)
            if not _is_at(path, file):  # who held it removed it before it was locked
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
    """Locks the file; False if its file system cannot do that."""
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
    """When a process of this host started; None if it is gone.

    A number is given to another process later, and the start tells the two apart; it is
    "" where there is no `/proc`.
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
    """Who wrote the lock file; empty if its writer was cut off."""
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return holder if holder.keys() >= {"pid", "start", "host", "since"} else {}
    except (ValueError, AttributeError):
        return {}
