"""Atomic writes, and files of arrays and of rows."""

import json
import threading

import numpy as np
import pytest

from symjax import io


def no_check(row):
    pass


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "page.html"
    with io.atomic_write(path) as partial:
        assert (partial.parent, partial.suffix) == (path.parent, ".html")
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(KeyError), io.atomic_write(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "data.npz"
    with io.atomic_write(path) as one, io.atomic_write(path) as two:
        one.write_text("one")
        two.write_text("two")
        assert one != two
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    io.write_rows(path, [{"a": 1}])

    def full(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(io.os, name, full)
            with pytest.raises(OSError, match="No space"):
                io.write_rows(path, [{"a": 2}])
        assert io.read_rows(path, no_check, "") == [{"a": 1}]
        assert list(tmp_path.iterdir()) == [path]


def test_arrays_come_back_by_name(tmp_path):
    path = tmp_path / "cells" / "one.npz"
    io.write_arrays(path, {"robust": np.array([True, False]), "x": np.arange(3)})
    arrays = io.read_arrays(path, "remove it")
    assert arrays["robust"].tolist() == [True, False]
    assert arrays["x"].tolist() == [0, 1, 2] and arrays.keys() == {"robust", "x"}
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=rf"^{path} cannot be read \(.+: remove it\.$"):
        io.read_arrays(path, "remove it")


@pytest.mark.parametrize("end", ["", "\n", '\n{"a": 2', "\n{", "\ngarbage", "\n2"])
def test_a_last_line_that_was_cut_off_is_dropped_and_written_over(tmp_path, end):
    path = tmp_path / "rows.jsonl"
    assert io.read_rows(path, no_check, "") == []
    path.write_text('{"a": 1}' + end)
    assert io.read_rows(path, no_check, "") == [{"a": 1}]
    io.append_row(path, {"a": 3})
    assert path.read_text() == '{"a": 1}\n{"a": 3}\n'


def test_a_row_that_the_check_refuses_is_named_with_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    io.write_rows(path, [{"a": 1}, {"b": 2}])

    def check(row):
        if "a" not in row:
            raise ValueError("a is missing: expected a number")

    text = rf"^{path}, line 2 cannot be read \(a is missing: expected a number\): mend"
    with pytest.raises(ValueError, match=text):
        io.read_rows(path, check, "mend it")


def test_rows_that_are_appended_at_once_are_all_there(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"row": i, "text": "x" * 5000} for i in range(40)]
    threads = [threading.Thread(target=io.append_row, args=(path, x)) for x in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(lines, key=lambda row: row["row"]) == rows
