"""Atomic writes, and files of arrays and of rows."""

import json
import threading

import numpy as np
import pytest

from symjax import io


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
    assert path.read_text() == "first"
    with io.atomic_write(path) as one, io.atomic_write(path) as two:
        one.write_text("one")
        two.write_text("two")
        assert one != two
    assert path.read_text() == "one" and list(path.parent.iterdir()) == [path]


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
        assert io.read_rows(path) == [{"a": 1}]
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("end", ["", "\n", '\n{"a": 2', "\n{", "\ngarbage", "\n2"])
def test_a_last_line_that_was_cut_off_is_dropped_and_written_over(tmp_path, end):
    path = tmp_path / "rows.jsonl"
    assert io.read_rows(path) == []
    path.write_text('{"a": 1}' + end)
    assert io.read_rows(path) == [{"a": 1}]
    io.append_row(path, {"a": 3})
    assert path.read_text() == '{"a": 1}\n{"a": 3}\n'


def test_a_row_that_is_not_valid_is_named_with_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    io.write_rows(path, [{"a": 1}, {"b": 2}])

    def check(row):
        if "a" not in row:
            raise ValueError("a is missing: expected a number")
        return row

    text = rf"^{path}, line {{}} cannot be read \({{}}\): {{}}"
    reason = "a is missing: expected a number"
    with pytest.raises(ValueError, match=text.format(2, reason, "mend it")):
        io.read_rows(path, check, "mend it")
    path.write_text("[1]\n")
    reason = "expected a JSON object"
    with pytest.raises(ValueError, match=text.format(1, reason, "correct or remove")):
        io.read_rows(path)


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


@pytest.mark.parametrize(
    ("count", "size", "padded", "whole"),
    [
        (5, 2, [[0, 1], [2, 3], [4, 4]], [[0, 1], [2, 3], [4]]),
        (4, 2, [[0, 1], [2, 3]], [[0, 1], [2, 3]]),
        (2, 3, [[0, 1, 1]], [[0, 1]]),
        (0, 3, [], []),
    ],
)
def test_batches_have_every_image_once_and_fill_up_with_the_last(
    count, size, padded, whole
):
    assert [part.tolist() for part in io.in_batches(count, size)] == padded
    found = [part.tolist() for part in io.in_batches(count, size, pad=False)]
    assert found == whole
    with pytest.raises(ValueError, match="size=0: expected batches of 1"):
        next(io.in_batches(3, 0))


IDENTITY = {"steps": 3, "arrays": (np.arange(3),)}
FINGERPRINT = np.array([1.0, -2.0])


def test_whole_batches_are_kept_alone(tmp_path):
    checkpoint = io.BatchCheckpoint(tmp_path, IDENTITY, FINGERPRINT)
    assert checkpoint.load("one") is None
    checkpoint.save("one", {"x": np.arange(4)})
    again = io.BatchCheckpoint(tmp_path, IDENTITY, FINGERPRINT).load("one")
    assert again is not None
    np.testing.assert_array_equal(again["x"], np.arange(4))
    assert json.loads((tmp_path / "call.json").read_text())["steps"] == 3
    nowhere = io.BatchCheckpoint(None, IDENTITY, FINGERPRINT)
    nowhere.save("one", {"x": np.arange(4)})
    assert nowhere.load("one") is None


@pytest.mark.parametrize(
    ("changes", "fingerprint", "differing"),
    [
        ({"steps": 4}, FINGERPRINT, "steps"),
        ({"arrays": (np.arange(3.0),)}, FINGERPRINT, "arrays"),
        ({}, 1.01 * FINGERPRINT, "logits_fn"),
    ],
)
def test_batches_of_another_call_are_refused(tmp_path, changes, fingerprint, differing):
    io.BatchCheckpoint(tmp_path, IDENTITY, FINGERPRINT)
    io.BatchCheckpoint(tmp_path, IDENTITY, 1.0001 * FINGERPRINT)  # another device
    with pytest.raises(ValueError, match=rf"differs in \['{differing}'\]: choose"):
        io.BatchCheckpoint(tmp_path, IDENTITY | changes, fingerprint)


@pytest.mark.parametrize(
    ("name", "content", "way_out"),
    [
        ("one.npz", b"PK\3\4", "remove it, and that batch is measured again"),
        *[
            (name, content, io.START_OVER)
            for name, content in (
                ("answers.npy", b""),
                ("call.json", b"{"),
                ("call.json", b"3"),
            )
        ],
    ],
)
def test_batches_that_are_damaged_are_named(tmp_path, name, content, way_out):
    checkpoint = io.BatchCheckpoint(tmp_path, IDENTITY, FINGERPRINT)
    checkpoint.save("one", {"x": np.arange(3)})
    (tmp_path / name).write_bytes(content)
    text = rf"^{tmp_path / name} cannot be read \(.+\): {way_out}\.$"
    with pytest.raises(ValueError, match=text):
        io.BatchCheckpoint(tmp_path, IDENTITY, FINGERPRINT).load("one")


def test_batches_that_cannot_be_kept_are_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="finished batches are not saved"):
        checkpoint = io.BatchCheckpoint(
            tmp_path / "file" / "folder", IDENTITY, FINGERPRINT
        )
    checkpoint.save("one", {"x": np.arange(3)})
    assert checkpoint.load("one") is None
    checkpoint = io.BatchCheckpoint(tmp_path / "folder", IDENTITY, FINGERPRINT)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io.os, "replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        checkpoint.save("one", {"x": np.arange(3)})
    assert checkpoint.load("one") is None
