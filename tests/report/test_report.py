"""Reports read rows and cells alone; metrics are compared image by image."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from symjax.report import compare, metric_rows, statements
from symjax.report.parts import save_figure
from tests import made_rows


def write(folder, values, name="made up", correct=None, **settings):
    """Rows of a net, `values` being `[S, n]`."""
    net = {"run": folder.name, "model": folder.name, "metric": name, "norm": "l2"}
    for seed, of_seed in enumerate(values):
        arrays = {"value": of_seed}
        if correct is not None:
            arrays["correct"] = correct[seed]
        changes = {**net, "seed": seed, "n": len(of_seed), **settings}
        made_rows.add(folder, float(np.mean(of_seed)), arrays, **changes)


def test_metrics_come_back_by_seed_and_with_their_settings(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    write(tmp_path / "net", values)
    write(tmp_path / "net", values + 1, length=0.5)
    first, second = metric_rows.read(tmp_path / "net")
    assert (first.name, second.name) == ("made up, l2", "made up, l2, 0.5")
    np.testing.assert_array_equal(second.values, values + 1)
    assert first.settings != second.settings
    with pytest.raises(
        ValueError, match="no rows of .clever.: .*evaluate.py --run .* --metric"
    ):
        metric_rows.read(tmp_path / "net", metric="clever")


def test_a_damaged_cell_is_named_with_the_way_out(tmp_path):
    write(tmp_path / "net", np.zeros((1, 3)))
    (path,) = (tmp_path / "net" / "cells").iterdir()
    again = (
        f"remove the row with `.*cells {tmp_path}/net --remove {path.stem}` and meas"
    )
    for content in (b"", b"garbage", path.read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{path} cannot be read .*: {again}"):
            metric_rows.read(tmp_path / "net")


def test_seeds_that_diverged_are_left_out(tmp_path):
    write(tmp_path / "net", np.ones((1, 3)))
    lost = {"metric": "made up", "norm": "l2", "seed": 1}
    made_rows.add(tmp_path / "net", None, facts={"diverged": True}, **lost)
    (found,) = metric_rows.read(tmp_path / "net")
    assert [row["seed"] for row in found.rows] == [0] and found.is_by_image


def test_pairing_takes_away_what_images_have_in_common(tmp_path):
    draw = np.random.default_rng(0)
    images = draw.normal(scale=100, size=40)
    base = images + draw.normal(size=(5, 40))
    write(tmp_path / "base", base)
    write(tmp_path / "up", images + 2 + draw.normal(size=(5, 40)))
    write(tmp_path / "same", images + draw.normal(size=(5, 40)))
    of = {name: metric_rows.read(tmp_path / name)[0] for name in ("base", "up", "same")}
    up, same = (compare.compare(of["base"], of[name]) for name in ("up", "same"))
    assert (up.verdict, same.verdict) == ("larger", "open")
    assert up.change.value == pytest.approx(2, abs=0.3) and up.change.count == 40
    assert up.mean - up.baseline == pytest.approx(up.change.value)
    assert compare.compare(of["up"], of["base"]).verdict == "smaller"
    text = compare.table([tmp_path / name for name in ("base", "up", "same")], "made")
    _, _, up, same = text.splitlines()
    assert up.endswith("| larger |") and same.endswith("| open |")


def test_images_that_a_seed_misclassifies_or_that_have_no_value_are_left_out(tmp_path):
    base, other = np.zeros((2, 6)), np.ones((2, 6))
    other[0, 2] = np.nan
    known = np.ones((2, 6), bool)
    known[1, 0] = False
    write(tmp_path / "base", base, correct=np.ones((2, 6), bool))
    write(tmp_path / "other", other, correct=known)
    pair = (metric_rows.read(tmp_path / name)[0] for name in ("base", "other"))
    found = compare.compare(*pair)
    assert (found.left_out, found.change.count, found.mean) == (2, 4, 1.0)


def test_what_is_no_mean_over_images_is_not_compared(tmp_path):
    for name in ("base", "other"):
        write(tmp_path / name, np.ones((2, 5)))
        net = {"run": name, "model": name, "n": 5}
        gap = {"correct": np.ones(5)}
        made_rows.add(tmp_path / name, 0.2, gap, metric="gap", **net)
        made_rows.add(tmp_path / name, 7.0, metric="cost", **net)
    text = compare.table([tmp_path / "base", tmp_path / "other"])
    assert "made up" in text and "gap" not in text and "cost" not in text


def test_metrics_with_other_settings_are_not_compared(tmp_path):
    write(tmp_path / "base", np.zeros((1, 3)), radius=1.0)
    write(tmp_path / "other", np.ones((1, 3)), radius=2.0)
    pair = [metric_rows.read(tmp_path / name)[0] for name in ("base", "other")]
    with pytest.raises(ValueError, match="measure both with the same settings"):
        compare.compare(*pair)
    with pytest.raises(ValueError, match="no rows of any metric"):
        compare.table([tmp_path / "base", tmp_path / "other"])


def test_statements_are_laid_side_by_side_from_rows_alone(tmp_path):
    rows = []
    for model, seed, value in (
        *(("baseline", 0, 1.0), ("baseline", 1, 1.5)),
        *(("equivariant", 0, 0.0), ("equivariant", 1, 0.5)),
    ):
        net = {"model": model, "epoch": 2, "seed": seed, "n": 20, "metric": "lemma_1"}
        facts = {"low": value - 0.25, "high": value + 0.25, "exact": 0.5}
        rows.append(made_rows.row(value, facts, **net))
    untrained = {"epoch": 0, "n": 20, "metric": "theorem_2", "length": 0.1}
    rows.append(made_rows.row(1.0, {"low": 0.75, "high": 1.25}, **untrained))
    assert statements.table(rows).splitlines() == [
        "| metric | n | seeds | baseline | equivariant | baseline, untrained |",
        "| --- | --- | --- | --- | --- | --- |",
        "| lemma 1 | 20 | 2 | 1.25 (0.75 to 1.75); 50% "
        "| 0.25 (-0.25 to 0.75); 50% |  |",
        "| theorem 2, 0.1 | 20 | 1 |  |  | 1 (0.75 to 1.25) |",
    ]
    with pytest.raises(ValueError, match="no rows of a metric"):
        statements.table([])


@pytest.mark.parametrize(
    ("name", "start"), [("plot.svg", b"<?xml"), ("plot", b"\x89PNG")]
)
def test_a_plot_is_one_file_of_the_name_that_was_asked_for(tmp_path, name, start):
    path = tmp_path / "new" / name
    save_figure(Figure(figsize=(1, 1)), path)
    assert path.read_bytes().startswith(start) and list(path.parent.iterdir()) == [path]
