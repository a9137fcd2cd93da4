"""Rows: newest of a cell, listing and removing, and folders that cannot be written."""

import json
from pathlib import Path

import numpy as np
import pytest

from symjax import io
from symjax.evaluation import cells, results, rows
from symjax.evaluation.results import Results, read
from symjax.evaluation.rows import Row, cell_id
from tests.made_rows import FACTS, OF_ATTACK, PROVENANCE, identity

CELL = identity(attack="pgd", norm="linf", eps=8.0, eps_given="8", steps=40)
SECOND = cell_id(CELL | {"seed": 1})
ROBUST = {"robust": np.array([True, False, True])}


def filled(folder, seeds=(0, 1, 2), **options):
    store = Results(folder, **options)
    for seed in seeds:
        where = PROVENANCE | {"utc": f"2030-01-0{seed + 1}"}
        store.add(CELL | {"seed": seed}, seed / 10, ROBUST, FACTS, where)
    return store


def test_a_cell_measured_anew_supersedes_its_row_in_its_place(tmp_path):
    filled(tmp_path)
    before = (tmp_path / "results.jsonl").read_text()
    store = Results(tmp_path, anew=True)
    assert not store.rows
    where = PROVENANCE | {"utc": "2030-02-01"}
    store.add(CELL, 0.9, {"robust": np.zeros(3)}, FACTS, where)
    path = tmp_path / "results.jsonl"
    assert path.read_text().startswith(before)  # rows are only appended
    found = read([path])
    assert [row["seed"] for row in found] == [0, 1, 2]
    assert [row["value"] for row in found] == [0.9, 0.1, 0.2]
    assert found[0]["supersedes"] == "2030-01-01" and "supersedes" not in found[1]
    assert list(Results(tmp_path).rows.values()) == found
    with np.load(tmp_path / "cells" / f"{cell_id(CELL)}.npz") as cell:
        assert not cell["robust"].any()


def test_a_row_that_was_cut_off_loses_no_other(tmp_path):
    path = filled(tmp_path).path
    whole = path.read_bytes()
    path.write_bytes(whole.rstrip(b"\n"))  # only the line break is missing
    assert [row["seed"] for row in read([path])] == [0, 1, 2]
    second = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for end in range(second, len(whole) - 1, 50):
        path.write_bytes(whole[:end])
        assert [row["seed"] for row in read([path])] == [0, 1]
        assert Results(tmp_path).rows.keys() == {cell_id(CELL), SECOND}
    filled(tmp_path, [2])
    assert path.read_bytes() == whole


CLEVER = {"kind": "metric", "metric": "clever", **dict.fromkeys(OF_ATTACK, ...)}
WRONG = [
    ({"value": "x"}, "value='x': expected a number, or null"),
    ({"value": True}, "value=True: expected a number, or null"),
    ({"value": None}, "value=null: expected a number, as the seed did not diverge"),
    ({"steps": None}, "steps=null: expected the number of steps"),
    ({"steps": ...}, "steps is missing: expected a whole number of 0 or more"),
    ({"n": 1.5}, "n=1.5: expected a whole number of 0 or more"),
    ({"seed": -1}, "seed=-1: expected a whole number of 0 or more"),
    ({"kind": "accuracy"}, "kind='accuracy': expected one of ['attack', 'metric', "),
    ({"eps_given": ...}, "eps_given is missing: expected text"),
    ({"eps": "8/255"}, "eps='8/255': expected a number, or a list of one number per"),
    ({"eps": []}, "eps=[]: expected a number, or a list of one number per channel"),
    ({"eps": [0.1, "x"]}, "eps=[0.1, 'x']: expected a number, or a list of one number"),
    ({"diverged": "no"}, "diverged='no': expected true or false"),
    ({"corruption": "fog"}, "source is missing: expected text"),
    (CLEVER | {"metric": ...}, "metric is missing: expected text"),
    (CLEVER | {"low": "0.1"}, "low='0.1': expected a number, or null"),
    ({"kind": "audit"}, "check is missing: expected text"),
    ({"versions": 3}, "versions=3: expected an object"),
]
RIGHT = [
    {"value": 1},
    {"eps": [0.1, 0.2, 0.3]},
    {"value": None, "kind": "audit", "check": "transfer"},
    CLEVER | {"value": None, "diverged": True},
    {"corruption": "fog", "severity": 3, "source": "generated", "corruption_seed": 0},
]


def line(changes):
    """A row of `CELL` as a line of a file; an entry that is ... is left out."""
    flat = {**CELL, **FACTS, **PROVENANCE, "value": 0.5, **changes}
    flat = {name: value for name, value in flat.items() if value is not ...}
    outside = {}
    for part, names in (("facts", {*FACTS, "low"}), ("provenance", PROVENANCES)):
        outside[part] = {name: flat.pop(name) for name in names if name in flat}
    value = {"value": flat.pop("value")} if "value" in flat else {}
    nested = rows.nest(flat)
    if "seed" not in flat:
        del nested["seed"]
    row = {"identity": nested, "cell_id": rows.cell_id(flat), **value, **outside}
    return json.dumps(row) + "\n"


PROVENANCES = {*PROVENANCE, "versions"}


def test_a_row_of_other_types_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "results.jsonl"
    for changes, reason in WRONG:
        path.write_text(line({}) + line(changes))
        with pytest.raises(ValueError) as error:
            Results(tmp_path)
        assert str(error.value).startswith(f"{path}, line 2 cannot be read ({reason}")
        assert str(error.value).endswith(
            "): correct the line, or remove it and measure its cell again."
        )
    for name in {*rows.NEEDED} - {"cell_id"}:
        for value, reason in ((..., " is missing"), ({}, "={}")):
            with pytest.raises(ValueError, match=f"^{name}{reason}: expected "):
                Row.of_nested(json.loads(line({name: value})))


def test_rows_that_may_be_are_read_and_written_as_they_were(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("".join(map(line, RIGHT)))
    for row, changes in zip(read([path]), RIGHT, strict=True):
        assert Row.of_nested(json.loads(json.dumps(row.nested()))) == row
        assert row["cell_id"] == json.loads(line(changes))["cell_id"]
        assert row["value"] == changes.get("value", 0.5)


def test_a_row_without_its_parts_or_with_another_hash_is_refused():
    whole = json.loads(line({}))
    for name in ("identity", "facts", "provenance"):
        with pytest.raises(ValueError, match=f"^{name}=None: expected an object"):
            Row.of_nested({key: part for key, part in whole.items() if key != name})
    with pytest.raises(ValueError, match="^cell_id='x': expected '[0-9a-f]{16}'"):
        Row.of_nested({**whole, "cell_id": "x"})
    with pytest.raises(ValueError, match="older format: convert its file with"):
        Row.of_nested({"metric": "accuracy", "cell_id": "x", "value": 0.5})
    with pytest.raises(ValueError, match=r"\['data'\]: expected each name in one of"):
        Row(CELL, 0.5, FACTS | {"data": "x"}, PROVENANCE)


def test_an_entry_that_is_new_changes_no_cell_id_at_its_default():
    older = {name: value for name, value in CELL.items() if name != "width"}
    assert cell_id(older) == cell_id(CELL | {"width": 1.0, "trunk_version": 1})
    assert cell_id(older) != cell_id(CELL | {"width": 0.5})
    parsed = json.loads(line({"width": ...}))
    assert "width" not in parsed["identity"]["run"]
    assert Row.of_nested(parsed)["width"] == 1.0


def test_the_frame_has_a_line_per_row_and_a_column_per_entry(tmp_path):
    found = rows.frame(filled(tmp_path).rows.values())
    assert list(found["seed"]) == [0, 1, 2] and list(found["value"]) == [0.0, 0.1, 0.2]
    assert (found["eps_given"] == "8").all() and (found["data"] == "hash").all()
    assert rows.frame([]).empty


def command(capsys, *arguments):
    code = 0
    try:
        cells.main([str(argument) for argument in arguments])
    except SystemExit as exit:
        code = exit.code
    said = capsys.readouterr()
    return code, said.out, said.err


def test_rows_are_listed_and_nothing_is_changed(tmp_path, capsys):
    path = filled(tmp_path).path
    text = path.read_text()
    code, out, _ = command(capsys, tmp_path)
    assert code == 0 and "3 rows of" in out and out.count("pgd-40, linf 8 ") == 3
    code, out, _ = command(capsys, tmp_path, "--match", "eps=8", "seed=1")
    assert code == 0 and out.splitlines()[1].startswith(cell_id(CELL | {"seed": 1}))
    assert "\n1 row of" in out and path.read_text() == text


def test_a_removed_row_goes_with_its_cell_and_its_older_rows_and_no_other(
    tmp_path, capsys
):
    filled(tmp_path)
    filled(tmp_path, [0], anew=True)
    code, out, _ = command(capsys, tmp_path, "--remove", cell_id(CELL))
    assert code == 0 and "removed 1 row of" in out
    kept = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["identity"]["seed"] for line in kept] == [1, 2]
    cells = {path.stem for path in (tmp_path / "cells").iterdir()}
    assert cells == {cell_id(CELL | {"seed": seed}) for seed in (1, 2)}
    code, out, _ = command(capsys, tmp_path, "--match", "seed=2", "--remove")
    assert code == 0 and [
        row["seed"] for row in read([tmp_path / "results.jsonl"])
    ] == [1]
    assert {path.name for path in tmp_path.iterdir()} == {"results.jsonl", "cells"}


def test_what_cannot_be_removed_is_one_line(tmp_path, capsys):
    path = filled(tmp_path).path
    text = path.read_text()
    for arguments, message in (
        (["--remove", "0" * 16], "nothing was removed"),
        (["--remove"], "expected either cells, or --match"),
        (["--match", "seed"], "expected NAME=VALUE"),
        (["--match", "colour=red"], "no row has an entry 'colour'"),
    ):
        code, out, err = command(capsys, tmp_path, *arguments)
        assert code == 2 and not out and err.count("\n") == 1 and message in err
        assert path.read_text() == text
        assert len(list((tmp_path / "cells").iterdir())) == 3
    code, _, err = command(capsys, tmp_path / "nothing")
    assert code == 2 and err.count("\n") == 1


def test_a_rewrite_that_fails_leaves_every_row(tmp_path, monkeypatch):
    path = filled(tmp_path).path
    text = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        results.remove(tmp_path, [cell_id(CELL)])
    assert path.read_text() == text and len(list((tmp_path / "cells").iterdir())) == 3
    assert {entry.name for entry in tmp_path.iterdir()} == {"results.jsonl", "cells"}


@pytest.mark.parametrize("blocked", ["results.jsonl", "cells"])
def test_rows_of_a_folder_that_cannot_be_written_are_not_lost(tmp_path, blocked):
    if blocked == "cells":
        (tmp_path / blocked).write_text("")
    else:
        (tmp_path / blocked).mkdir()
    with pytest.warns(UserWarning, match="rows are returned and not saved") as warned:
        store = filled(tmp_path)
    assert len(warned) == 1 and isinstance(store.failure, OSError)
    assert [row["value"] for row in store.rows.values()] == [0.0, 0.1, 0.2]
    kept = tmp_path / "unfinished" / cell_id({"cells": [CELL]})
    kept.mkdir(parents=True)
    store.finish([CELL])
    assert kept.exists()  # what was done is not thrown away with its rows unwritten


def test_a_full_disk_leaves_no_half_cell(tmp_path, monkeypatch):
    def full(path, **arrays):
        Path(path).write_bytes(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io.np, "savez_compressed", full)
    with pytest.warns(UserWarning, match="No space left"):
        store = filled(tmp_path, [0])
    assert store.failure is not None and not list((tmp_path / "cells").iterdir())
    assert not read([tmp_path / "results.jsonl"])
    monkeypatch.undo()
    filled(tmp_path, [1])  # there is room again
    assert [row["seed"] for row in read([tmp_path / "results.jsonl"])] == [1]
