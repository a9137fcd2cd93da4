"""Folders: names of their own for runs, and one process at a time in each."""

import datetime
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from symjax import folders
from symjax.folders import FolderInUseError, expand, hold, new
from tests.paths import ROOT

HOLD = """
import sys
from pathlib import Path
from symjax.folders import hold
from tests.paths import ROOT
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
GONE = {"pid": 2**22 + 1, "start": "1", "since": "2030-01-01T12:00:00+00:00"}


@pytest.fixture
def another(tmp_path):
    """Another process that holds `tmp_path / "run"` until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused_with_its_process_and_host(another, tmp_path):
    text = f"run is in use by process {another.pid} on {socket.gethostname()}, since 20"
    with pytest.raises(FolderInUseError, match=text) as error, hold(tmp_path / "run"):
        pass
    assert "remove" not in str(error.value)  # this process knows that it is alive
    another.communicate()
    assert another.returncode == 0 and not list((tmp_path / "run").iterdir())
    with hold(tmp_path / "run"):
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_the_lock_of_a_killed_process_is_taken_over(another, tmp_path):
    another.kill()
    another.wait()
    path = tmp_path / "run" / ".lock"
    assert json.loads(path.read_text())["pid"] == another.pid
    with hold(tmp_path / "run"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_a_folder_is_held_within_one_process_as_well(tmp_path):
    with hold(tmp_path):
        with pytest.raises(FolderInUseError, match=f"process {os.getpid()} on"):
            hold(tmp_path).__enter__()
        assert (tmp_path / ".lock").exists()


def write(folder, text):
    folder.mkdir()
    (folder / ".lock").write_text(text)
    return folder


@pytest.mark.parametrize("text", ["", '{"pid": 12, "ho', "[]", "3", "null"])
def test_a_lock_that_was_not_written_whole_is_taken_over(tmp_path, text):
    with hold(write(tmp_path / "run", text)):
        holder = json.loads((tmp_path / "run" / ".lock").read_text())
        assert holder["pid"] == os.getpid()


def test_a_lock_that_has_just_been_made_is_respected(tmp_path):
    path = write(tmp_path / "run", "") / ".lock"
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FolderInUseError, match="has just started"):
            hold(path.parent).__enter__()


def test_a_lock_of_another_host_cannot_be_checked(tmp_path):
    folder = write(tmp_path / "run", json.dumps(GONE | {"host": "node-7"}))
    expected = f"process {GONE['pid']} on node-7, since 2030-.*remove {folder}/.lock"
    with pytest.raises(FolderInUseError, match=expected):
        hold(folder).__enter__()
    (folder / ".lock").unlink()
    with hold(folder):
        assert (folder / ".lock").exists()


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),  # there is no such process
        ({"pid": os.getpid(), "start": folders._start(os.getpid())}, False),
        ({"pid": os.getpid(), "start": "1"}, True),  # the number was given again
        ({"pid": 1, "start": folders._start(1)}, False),
    ],
)
def test_a_file_system_without_locks_leaves_it_to_the_file(
    tmp_path, monkeypatch, changes, taken
):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    here = {"host": socket.gethostname()}
    folder = write(tmp_path / "run", json.dumps(GONE | here | changes))
    if taken:
        with hold(folder):
            assert json.loads((folder / ".lock").read_text())["pid"] == os.getpid()
    else:
        with pytest.raises(FolderInUseError, match=f"process {changes['pid']} on"):
            hold(folder).__enter__()


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    for call in (lambda path: hold(path).__enter__(), lambda path: new(path, "x")):
        with pytest.raises(OSError, match="run cannot be written to .Not a directory"):
            call(tmp_path / "file" / "run")


def names(parent):
    return [new(parent, "seed").name for _ in range(20)]


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path):
    with ThreadPool(4) as pool:
        found = [name for part in pool.map(names, 4 * [tmp_path]) for name in part]
    assert len(set(found)) == 80 == len(list(tmp_path.iterdir()))


def test_a_name_that_is_taken_gets_a_number(tmp_path, monkeypatch):
    class Noon(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 1, 12)

    monkeypatch.setattr(datetime, "datetime", Noon)
    found = [new(tmp_path / "runs", "x").name for _ in range(3)]
    assert found == [f"x-20300101-120000{suffix}" for suffix in ("", "-2", "-3")]


@pytest.mark.parametrize("name", ["a/b", "/a", "a/", "..", ".", "", ".hidden"])
def test_a_name_is_that_of_one_folder(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name of a run folder"):
        new(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_the_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expand("~/runs") == Path("/home/somebody/runs")
    assert expand(Path("a/~")) == Path("a/~")
    with pytest.raises(ValueError, match="~nobody-here/x: there is no such user"):
        expand("~nobody-here/x")
