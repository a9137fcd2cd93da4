"""Rows of the first format keep their values, and all committed ones did."""

import fractions
import hashlib
import json

import numpy as np
import pytest

from symjax import io
from symjax.evaluation import convert
from symjax.evaluation.results import read
from symjax.evaluation.rows import cell_id
from tests.paths import DATA, ROOT

OLD = io.read_rows(DATA / "first_format.jsonl")
COMMITTED = json.loads((DATA / "committed_values.json").read_text())
"""By file: how many rows were converted, and a hash of their sorted values."""


@pytest.fixture
def converted(tmp_path):
    """A file of old rows with a cell each, after the command."""
    path = tmp_path / "results.jsonl"
    io.write_rows(path, OLD)
    for number, row in enumerate(OLD):
        io.write_arrays(tmp_path / "cells" / f"{row['cell_id']}.npz", {"x": number})
    convert.main([str(path)])
    return path


def test_every_row_keeps_its_value_and_its_cell(converted, capsys):
    rows = read([converted])
    assert len(rows) == len({row["cell_id"] for row in rows}) == len(OLD) > 20
    assert [row["value"] for row in rows] == [row["value"] for row in OLD]
    for number, (row, old) in enumerate(zip(rows, OLD, strict=True)):
        assert row["cell_id"] == cell_id(row.identity)
        path = converted.parent / "cells" / f"{row['cell_id']}.npz"
        assert io.read_arrays(path, "")["x"] == number
        for name in ("seed", "n", "epoch", "dataset", "data", "utc", "severity"):
            assert row[name] == old[name]
    text = converted.read_text()
    convert.main([str(converted)])
    assert converted.read_text() == text  # what is converted stays as it is
    assert "0 rows converted" in capsys.readouterr().out


def test_names_take_the_place_of_titles_and_epsilons_are_as_given(converted):
    units = set()
    for row, old in zip(read([converted]), OLD, strict=True):
        title = old["metric"]
        if title.startswith("audit, "):
            assert row["kind"] == "audit" and " " not in row["check"]
            assert row["measured"] == old["figure"]
        elif title != "accuracy":
            assert row["kind"] == "metric" and " " not in row["metric"]
            assert "attack" not in row or old["attack"] != "none"
        assert "reference" not in (row["trunk"], row["protocol"])
        if old["corruption"] is not None:
            assert (row["source"], row["corruption_seed"]) == ("generated", 0)
        if old.get("images") == "dequantised":
            assert row["dequantized"] is True
        if title != "accuracy" or row["attack"] == "none":
            continue
        assert row["kind"] == "attack" and "metric" not in row
        units.add((row["protocol"], row["eps_unit"]))
        given = float(fractions.Fraction(row["eps_given"]))
        std = row["input_std"] if row["eps_unit"] == "normalized" else 1
        np.testing.assert_allclose(row["eps"], given * np.array(std), rtol=1e-3)
        np.testing.assert_array_equal(row["eps"], old["eps"])
    assert units >= {("sound", "pixel"), ("published", "normalized")}


def test_a_damaged_file_stays_as_it_was(tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    io.write_rows(path, [OLD[0], {"metric": "accuracy"}, OLD[1]])
    text = path.read_text()
    with pytest.raises(SystemExit, match="2"):
        convert.main([str(path)])
    assert f"{path}, line 2 cannot be read" in capsys.readouterr().err
    assert path.read_text() == text


def test_the_committed_rows_have_the_values_of_before():
    for name, expected in COMMITTED.items():
        lines = (ROOT / name).read_text().splitlines()[: expected["count"]]
        values = sorted(str(json.loads(line)["value"]) for line in lines)
        digest = hashlib.sha256("\n".join(values).encode()).hexdigest()[:16]
        assert (len(lines), digest) == (expected["count"], expected["values"]), name
        assert read([ROOT / name])  # every row is as the schema wants it
