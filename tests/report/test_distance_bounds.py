"""The figure of distances and CLEVER scores, from made-up rows and cells."""

import numpy as np
import pytest

from symjax.evaluation import results
from symjax.report import distance_bounds
from symjax.report.__main__ import main
from tests import made_rows

DISTANCE = np.array([0.4, 0.0, 0.1, np.inf, 0.2, 0.3])
SCORE = np.array([0.5, 0.9, 0.1, 2.0, 0.3, 0.2])
CORRECT = DISTANCE > 0


def add(folder, metric, norm="l2", seed=0, n=6, settings=None, **cells):
    """A row of the first n images, and its cell."""
    whole = {"correct": CORRECT, "distance": DISTANCE, "score": SCORE} | cells
    first = {name: value[:n] for name, value in whole.items()}
    row = {"metric": metric, "norm": norm, "seed": seed, "n": n, **(settings or {})}
    made_rows.add(folder, 0.0, first, **row)


def test_scores_above_an_error_are_refuted(tmp_path):
    """On the largest images that both have, of all seeds and norms."""
    for norm in ("linf", "l2"):
        for seed in (0, 1):
            add(tmp_path, "distance", norm, seed)
            add(tmp_path, "clever", norm, seed, n=2, score=SCORE + 9)
            add(tmp_path, "clever", norm, seed, n=5)
    found = distance_bounds.of_run(tmp_path)
    assert [each.norm for each in found] == ["linf", "l2"]
    for each in found:  # 0.1 is not above 0.1; nor does an unresolved image count
        assert (each.seeds, each.n, each.wrong, each.unresolved) == (2, 5, 2, 2)
        np.testing.assert_array_equal(each.distance, [0.1, 0.1, 0.2, 0.2, 0.4, 0.4])
        np.testing.assert_array_equal(each.score, [0.1, 0.1, 0.3, 0.3, 0.5, 0.5])
        assert each.refuted == 4


def test_radii_of_the_least_noise_are_shown_where_all_images_have_one(tmp_path):
    radii = np.array([0.5, 0.0, 0.1, 0.2, 0.0, 0.3])
    for norm in ("linf", "l2"):
        add(tmp_path, "distance", norm)
        add(tmp_path, "clever", norm)
    add(tmp_path, "smoothing", n=5, settings={"sigma": 0.12}, radius=radii)
    assert np.isnan([each.radius for each in distance_bounds.of_run(tmp_path)]).all()
    add(tmp_path, "smoothing", settings={"sigma": 0.12}, radius=radii)
    add(tmp_path, "smoothing", settings={"sigma": 0.25}, radius=9 * radii)
    linf, l2 = distance_bounds.of_run(tmp_path)
    assert np.isnan(linf.radius).all()
    np.testing.assert_array_equal(l2.radius, [0.1, 0.0, 0.3, 0.5])


def test_the_figure_is_written_and_says_what_is_refuted(tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        add(folder, "distance")
        add(folder, "clever")
    add(one, "distance", "linf")
    add(one, "clever", "linf")
    out = tmp_path / "figure.png"
    main(["distance_bounds", str(one), str(two), "--out", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "two, l2: CLEVER refuted on 2 of 4" in capsys.readouterr().out
    drawn = distance_bounds.draw([distance_bounds.of_run(x) for x in (one, two)])
    assert "refuted on 2 of 4" in drawn.axes[0].get_title()
    assert drawn.axes[0].get_yscale() == "log"
    assert [axis.get_visible() for axis in drawn.axes] == [True, True, True, False]


@pytest.mark.parametrize("missing", ["distance", "clever"])
def test_what_was_not_measured_is_refused_with_the_command(tmp_path, capsys, missing):
    other = {"distance": "clever", "clever": "distance"}[missing]
    add(tmp_path, other)
    command = rf"--run {tmp_path} --metric {missing}"
    with pytest.raises(ValueError, match=f"no rows of '{missing}': .*{command}"):
        distance_bounds.of_run(tmp_path)
    add(tmp_path, missing, "linf")
    add(tmp_path, other, "linf")
    with pytest.raises(ValueError, match=f"no {missing} rows of l2.*--norm l2"):
        distance_bounds.of_run(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["distance_bounds", str(tmp_path), "--out", str(tmp_path / "x.png")])
    assert "error: " in capsys.readouterr().err and not (tmp_path / "x.png").exists()


def test_rows_of_other_nets_or_without_cells_are_refused(tmp_path):
    add(tmp_path, "distance")
    add(tmp_path, "clever", correct=~CORRECT)
    with pytest.raises(ValueError, match="do not agree"):
        distance_bounds.of_run(tmp_path)
    _, row = results.read([tmp_path / "results.jsonl"])
    (tmp_path / "cells" / f"{row['cell_id']}.npz").unlink()
    with pytest.raises(ValueError, match=f"{row['cell_id']}.npz is not there"):
        distance_bounds.of_run(tmp_path)
