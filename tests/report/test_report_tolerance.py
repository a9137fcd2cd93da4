"""Tolerances of a trained run become rows, and rows become the paper's Figure 5."""

import shutil

import numpy as np
import pytest
from matplotlib.image import imread

from symjax import evaluation, io
from symjax.evaluation import metrics
from symjax.evaluation.rows import Row
from symjax.metrics import tolerance as library
from symjax.metrics.perturbations import Removal
from symjax.report import tolerance as report
from symjax.report.__main__ import main
from symjax.seeds import KeyPurpose, of_seed, purpose_key
from tests.made_rows import QUIET, outcomes_of
from tests.paths import ROOT

IMAGES = 3


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    """A run folder with all figures of two seeds, and the rows."""
    run = evaluation.Run.open(trained.folder)
    folder = tmp_path_factory.mktemp("measured") / "tiny"
    figures = metrics.build("tolerance", samples=2)
    store = evaluation.Results(folder)
    rows = metrics.measure(run, store, figures, IMAGES, QUIET)
    again = metrics.measure(run, evaluation.Results(folder), figures, IMAGES, QUIET)
    assert again == rows
    return run, folder, rows


@pytest.mark.slow
def test_each_perturbation_is_a_row_a_seed(measured):
    _, folder, rows = measured
    names = [f"tolerance_{name}" for name in report.UNITS]
    assert [row["metric"] for row in rows] == [name for name in names for _ in (0, 1)]
    for row in rows:
        cell = outcomes_of(folder, row)
        largest = cell["largest"].reshape(IMAGES, -1)
        assert row["value"] == pytest.approx(largest.mean())
        assert row["low"] <= row["value"] <= row["high"]
        assert row["clean"] == cell["clean"].mean()
        if "levels" in row:
            assert set(largest.flat) <= {*row["levels"], 0.0, 1.0, 0.05}
            assert cell["held"].shape == (IMAGES, len(row["levels"]))
            assert row["every_draw"] == pytest.approx(largest.min(axis=1).mean())
            assert cell["original"].shape == cell["last_held"].shape
            assert cell["last_held"].dtype == np.uint8
    box = outcomes_of(folder, rows[-1])
    np.testing.assert_allclose(box["largest"], box["linear"] * box["factor"])


@pytest.mark.slow
def test_a_row_is_what_the_library_finds(measured):
    run, folder, rows = measured
    row = next(row for row in rows if row["metric"] == "tolerance_removal")
    pixels = run.experiment.dataset.test.images[:IMAGES]
    labels = run.experiment.dataset.test.labels[:IMAGES]
    key = purpose_key(of_seed(run.experiment.keys, 0), KeyPurpose.METRIC)
    images = pixels / np.float32(255)
    net = of_seed(run.logits_fns, 0)
    call = net, images, labels, key, Removal(), row["levels"]
    found = library.tolerance(*call, draws=2)
    cell = outcomes_of(folder, row)
    np.testing.assert_array_equal(cell["largest"], found.largest)
    np.testing.assert_array_equal(cell["original"], pixels)
    kept = (cell["last_held"] > 0).sum(axis=(1, 2, 3))
    level = found.largest[:, 0]
    for image, before, left, share in zip(
        cell["last_held"], pixels, kept, level, strict=True
    ):
        assert set(np.unique(image)) <= {0, *np.unique(before)}
        assert left <= before.size - round(share * before.size)
    held = np.asarray(net(cell["last_held"] / np.float32(255))).argmax(axis=1)
    np.testing.assert_array_equal(held == labels, found.clean)
    published = outcomes_of(folder, rows[0])  # which feeds images without normalization
    held = np.asarray(net(0.5 + 0.5 * published["last_held"] / np.float32(255)))
    tried = published["largest"][:, 0] > rows[0]["levels"][0] - 0.01
    assert (held.argmax(axis=1) == labels)[tried].all()
    kept = published["last_held"] == published["original"]
    assert kept[~tried].all()


@pytest.mark.slow
def test_the_figure_is_drawn_from_rows_alone(measured, tmp_path):
    _, folder, rows = measured
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    out = tmp_path / "figures" / "figure5.png"
    main(["tolerance", str(folder), str(other), "--out", str(out)])
    drawn = imread(out)
    assert drawn.shape[-1] == 4 and drawn[..., :3].std() > 0.05
    found = report.read(folder)
    figure = report.draw({"one": found, "two": found})
    (above, below) = figure.subfigs
    panels = above.axes[: len(report.UNITS)]
    for name, panel in zip(report.UNITS, panels, strict=True):
        row = next(row for row in rows if row["metric"] == f"tolerance_{name}")
        lines = panel.get_lines()
        assert len(lines) == 6  # two nets: two seeds and their mean
        np.testing.assert_array_equal(lines[2].get_ydata(), lines[5].get_ydata())
        mean = (lines[0].get_ydata() + lines[1].get_ydata()) / 2
        np.testing.assert_allclose(lines[2].get_ydata(), mean)
        if name in ("noise", "rotation", "translation"):  # steps of one size, from 0
            area = np.sum(lines[0].get_ydata()) * row["levels"][0]
            assert area == pytest.approx(row["value"])
    clean = np.flatnonzero(outcomes_of(folder, rows[2])["clean"])
    pictures = [axis for axis in below.axes if axis.images]
    assert len(pictures) == 3 * len(clean)
    original = outcomes_of(folder, rows[2])["original"][clean[0], ..., 0]
    np.testing.assert_array_equal(pictures[0].images[0].get_array(), original)


def test_curves_are_drawn_without_images():
    """Of committed cells, in which no images are kept."""
    folders = [ROOT / f"results/theory/{net}-4" for net in ("baseline", "equivariant")]
    figure = report.draw({folder.name: report.read(folder) for folder in folders})
    (above,) = figure.subfigs
    assert len(above.axes) == len(report.UNITS) + 1
    assert all(len(axis.get_lines()) == 6 for axis in above.axes[:-1])


def test_what_is_missing_is_said(measured, tmp_path, capsys):
    _, folder, _ = measured
    with pytest.raises(ValueError, match="evaluate.py --run .*none --metric tolerance"):
        report.read(tmp_path / "none")
    with pytest.raises(SystemExit):
        main(["tolerance", str(tmp_path / "none"), "--out", str(tmp_path / "x.png")])
    assert "no rows of 'tolerance_removal_published'" in capsys.readouterr().err
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "results.jsonl", bare)
    with pytest.raises(ValueError, match="keep a run's cells with its rows"):
        report.read(bare)


def test_nets_that_were_measured_differently_are_not_compared(measured, tmp_path):
    _, folder, rows = measured
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    changed = []
    for row in rows:
        identity = {**row.identity, "n": 99}
        changed.append(Row(identity, row["value"], row.facts, row.provenance))
        old, new = (f"{x['cell_id']}.npz" for x in (row, changed[-1]))
        (other / "cells" / old).rename(other / "cells" / new)
    io.write_rows(other / "results.jsonl", [row.nested() for row in changed])
    nets = {"one": report.read(folder), "two": report.read(other)}
    with pytest.raises(ValueError, match="measured differently.*the same --n"):
        report.draw(nets)
