"""The study's rows as one frame: means over the seeds, and what is missing."""

import dataclasses

import jax
import numpy as np
import pytest

from study import nets
from study.plan import Accuracy, Audit, PlannedRun, Tolerance
from study.results import Curve, StudyResults
from study.runs import FULL, REDUCED, SMOKE, TRAININGS, run_name
from study.status import progress
from symjax import data
from symjax.evaluation.results import Results
from tests import paths
from tests.paths import ROOT

ROWS = ROOT / "results/study"
BASELINE, WEIGHTED = (f"cifar10-10-{net}-published" for net in ("baseline", "weighted"))
SIZE = dataclasses.replace(
    FULL,
    name="three",
    seeds=3,
    n=4,
    n_corrupted=4,
    radii=2,
    corruptions=("fog", "snow", "frost"),
    severities=(1, 5),
)
PGD = Accuracy("sound", "pgd", (0.01, 0.02))


@pytest.fixture
def write(tmp_path):
    """`write(name, measurement, seed, {place: outcomes})`: rows, as if measured."""

    def add(name, measurement, seed, values, size=SIZE, diverged=False, data="d"):
        store = Results(tmp_path / size.name / name)
        planned = PlannedRun.of(TRAININGS[name], size)
        cells = measurement.identities(planned, seed)
        for place, robust in values.items():
            value = None if robust is None else np.mean(robust)
            outcomes = {} if robust is None else {"robust": np.array(robust, bool)}
            facts, where = {"diverged": diverged}, {"data": data}
            store.add(cells[place], value, outcomes, facts, where)

    return add


@pytest.fixture
def results(tmp_path):
    return StudyResults(tmp_path, SIZE)


def curve_of(values):
    eps = 0.01 * np.arange(1, 1 + len(values[0]))
    return Curve(PGD, eps.tolist(), range(len(values)), np.array(values, float), 5)


def test_a_curve_in_closed_form():
    nan = np.nan
    curve = curve_of([[10, nan, nan], [20, 7, nan], [60, 9, nan], [30, nan, 5]])
    sd = (((10 - 30) ** 2 + 10**2 + 30**2) / 3) ** 0.5  # 4 seeds, 3 degrees of freedom
    np.testing.assert_allclose(curve.sd, [sd, 2**0.5, nan])
    assert not curve.complete and curve_of([[1.0], [2.0]]).complete
    assert curve.text(0.01) == "30.00 ± 21.60 (4 seeds)"
    assert curve.text(0.1 * 0.2) == "8.00 ± 1.41 (2 seeds)"  # 0.02, but for rounding
    assert curve.text(0.03) == "5.00 (1 seed)"
    assert (curve.mean(0.01), curve.mean(0.02)) == (30, None)
    assert curve.text(0.04) is curve.mean(0.04) is curve.at(0.04) is None
    assert curve_of([[1.0]] * 5).text(0.01) == "1.00 ± 0.00"
    assert curve_of([[nan], [nan]]).text(0.01) is None


def test_values_are_of_seed_and_radius(write, results):
    """Seed 1 lacks a radius; seed 2 diverged."""
    write(BASELINE, PGD, 0, {0: [1, 1, 1, 0], 1: [1, 0, 0, 0]})
    write(BASELINE, PGD, 1, {1: [1, 1, 0, 0]})
    write(BASELINE, PGD, 2, {0: [1, 1, 1, 1], 1: [1, 1, 1, 1]}, diverged=True)
    curve = results.curve(BASELINE, "sound", "pgd")
    assert curve.eps == (0.01, 0.02)
    np.testing.assert_array_equal(curve.values, [[75, 25], [np.nan, 50]])
    assert curve.tidy.to_numpy().tolist() == [
        [0, 0.01, 75],
        [0, 0.02, 25],
        [1, 0.02, 50],
    ]
    assert results.diverged(BASELINE) == 1
    assert results.text(BASELINE, "sound", "pgd", 0.02) == "37.50 ± 17.68 (2 seeds)"
    other = results.curve(BASELINE, "sound", "fgsm")
    assert np.isnan(other.values).all() and other.values.shape == (3, 2)


def test_what_is_not_in_the_study_is_none(results):
    assert results.curve(BASELINE, "published", "autoattack") is None
    assert results.curve(BASELINE, "switched", "fgsm", ("step",)) is None
    assert results.corrupted("cifar10-4-baseline-published", "sound", "pgd") is None
    assert results.difference(BASELINE, WEIGHTED, "sound", "pgd", 0.77) is None


def test_switches_are_told_apart(write, results):
    """Rows of a switched protocol are of the settings of their switches."""
    both = [(), ("clip range",), ("epsilon unit", "clip range")]
    for count, switches in enumerate(both[1:], 1):
        measurement = Accuracy("switched", "fgsm", (0.01, 0.03), switches)
        write(BASELINE, measurement, 0, {0: 4 * [0] + count * [1]})
    for count, switches in enumerate(both[1:], 1):
        curve = results.curve(BASELINE, "switched", "fgsm", switches)
        assert curve.values[0, 0] == pytest.approx(100 * count / (4 + count))
    assert results.curve(BASELINE, "switched", "fgsm", ()) is None


def test_a_difference_is_ours_less_theirs(write, results):
    """Ours are robust on 12 of 16 images in every seed, theirs on 4 of those."""
    for seed in range(3):
        write(BASELINE, PGD, seed, {0: 12 * [1] + 4 * [0]})
        write(WEIGHTED, PGD, seed, {0: 4 * [1] + 12 * [0]})
    found = results.difference(BASELINE, WEIGHTED, "sound", "pgd", 0.01)
    assert found.value == 50 and found.count == 16
    # 8 of 16 images differ: binomial, of standard deviation 12.5
    assert 18 < found.low < 32 and 68 < found.high < 82
    back = results.difference(WEIGHTED, BASELINE, "sound", "pgd", 0.01)
    assert back.value == -50 and back.high < 0
    assert results.difference(BASELINE, WEIGHTED, "sound", "pgd", 0.02) is None


def test_a_difference_needs_every_seed_that_did_not_diverge(write, results):
    for seed in range(3):
        write(BASELINE, PGD, seed, {0: [1, 1, 1, 0]})
    for seed in range(2):
        write(WEIGHTED, PGD, seed, {0: [1, 1, 0, 0]})
    call = BASELINE, WEIGHTED, "sound", "pgd", 0.01
    assert results.difference(*call) is None
    write(WEIGHTED, PGD, 2, {0: [0, 0, 0, 0]}, diverged=True)
    again = StudyResults(results.folder.parent, SIZE)
    assert again.difference(*call).value == 25
    robust = again.per_image(WEIGHTED, PGD, 0.01, "robust")
    np.testing.assert_array_equal(robust, [[1, 1, 0, 0]] * 2)


def test_nets_of_other_data_are_not_compared(write, results):
    write(BASELINE, PGD, 0, {0: [1, 0]})
    write(WEIGHTED, PGD, 0, {0: [1, 0]}, data="other")
    with pytest.raises(ValueError, match="several data sets"):
        results.difference(BASELINE, WEIGHTED, "sound", "pgd", 0.01)


def test_corruptions_are_by_name_severity_and_radius(write, results):
    """The mean of the severities and seeds; NaN where a row is missing."""
    published = Accuracy("published", "pgd", (0.01, 0.02, 0.03, 0.04), corrupted=True)
    cells = 3 * 2 * 2  # corruptions, severities, radii
    for seed in range(3):
        rows = {place: [place < k for k in range(1, 13)] for place in range(cells)}
        if seed == 2:
            del rows[11]
        write(BASELINE, published, seed, rows)
    found = results.corrupted(BASELINE, "published", "pgd")
    expected = 100 * (12 - np.arange(cells)).reshape(3, 2, 2).mean(axis=1) / 12
    expected[2, 1] = np.nan
    np.testing.assert_allclose(found, expected)
    assert list(found.index) == ["fog", "snow", "frost"]
    assert list(found.columns) == [0.01, 0.02]
    assert results.corrupted(BASELINE, "sound", "pgd").isna().all(axis=None)


def test_tolerances_are_those_of_seeds_that_did_not_diverge(write, results):
    write(BASELINE, Tolerance("sound"), 0, {0: [1, 0, 0, 0]})
    write(BASELINE, Tolerance("sound"), 1, {0: None}, diverged=True)
    write(BASELINE, Tolerance("sound"), 2, {0: [1, 1, 0, 0]})
    assert list(results.tolerance(BASELINE, "sound")["value"]) == [0.25, 0.5]
    assert results.tolerance(BASELINE, "published").empty


def test_checks_are_of_their_protocol(write, results):
    write(BASELINE, Audit("sound"), 0, {2: [1], 0: [0]})
    found = results.rows(BASELINE, Audit("sound"))
    assert sorted(found["value"]) == [0, 1]
    assert results.rows(BASELINE, Audit("published")).empty


def test_rows_of_another_size_do_not_count(write, tmp_path):
    """Even if their file were in the folder of the full size."""
    none = Accuracy("sound", "none")
    write(BASELINE, none, 0, {0: 64 * [1]}, size=SMOKE)
    small, full = StudyResults(tmp_path, SMOKE), StudyResults(tmp_path)
    assert small.curve(BASELINE, "sound", "none").values.tolist() == [[100.0]]
    assert np.isnan(full.curve(BASELINE, "sound", "none").values).all()
    (tmp_path / "smoke").rename(tmp_path / "full")
    full = StudyResults(tmp_path)
    assert len(full.run(BASELINE)) == 1
    assert np.isnan(full.curve(BASELINE, "sound", "none").values).all()


def test_the_committed_rows_have_their_cells():
    """Counts and values that the study had before its rows were one frame."""
    smoke, reduced = StudyResults(ROWS, SMOKE), StudyResults(ROWS, REDUCED)
    states = [progress(x, smoke) for x in SMOKE.trainings.values()]
    assert sum(x.needed - x.rows for x in states) == 845
    name = "cifar10-4-baseline-published"
    state = progress(TRAININGS[name], reduced)
    assert (state.rows, state.needed, state.seeds) == (479, 479, 3)
    assert reduced.text(name, "published", "pgd", 0.01) == "12.73 ± 0.97"
    assert reduced.text(name, "sound", "autoattack", 2 / 255) == "2.50 (1 seed)"
    means = reduced.corrupted(name, "sound", "none")
    assert means.loc["gaussian_noise", 0.0] == pytest.approx(42.3889, abs=1e-4)
    other = "cifar10-4-parallel_rot-published"
    gap = reduced.difference(name, other, "sound", "pgd", 2 / 255)
    assert (gap.value, gap.count) == (pytest.approx(-24.5), 1000)
    assert [gap.low, gap.high] == pytest.approx([-27.4667, -21.5333], abs=1e-4)


def test_readme_shows_the_committed_rows():
    results, readme = StudyResults(ROWS, REDUCED), (ROOT / "README.md").read_text()
    shown = [("sound", "none", 0.0), ("published", "pgd", 0.01)]
    shown += [("sound", "pgd", eps) for eps in (2 / 255, 8 / 255)]
    for net in ("baseline", "parallel_rot", "parallel_rs"):
        name = run_name("cifar10", 4, net)
        line = " | ".join(results.text(name, *cell) for cell in shown)
        assert f"| {line} |" in readme


@pytest.mark.slow
def test_kept_nets_have_the_accuracy_of_their_rows():
    """On the first 100 test images; float16 may change a prediction."""
    test = data.load("cifar10", data_dir=paths.cifar10()).test
    images, labels = test.images[:100], test.labels[:100]
    apply = jax.jit(lambda logits_fn, images: logits_fn(images))
    results = StudyResults(ROWS, REDUCED)
    kept_nets = sorted((ROWS.parent / "nets/reduced").glob("cifar10-*.safetensors"))
    checked = 0
    for path in kept_nets:
        net = nets.load(path)
        clean = results.accuracy(net.run, "sound", "none")
        table = results.rows(net.run, clean)
        row = next(iter(table[table["seed"] == net.seed].to_dict("records")), None)
        if row is None:  # weights are kept before the first row is measured
            continue
        kept = np.load(ROWS / "reduced" / net.run / "cells" / f"{row['cell_id']}.npz")
        logits = apply(net.logits_fn, images / np.float32(255))
        correct = np.argmax(logits, axis=1) == labels
        assert net.data == row["data"] and correct.mean() > 0.5, path.name
        assert np.sum(correct != kept["robust"][:100]) <= 2, path.name
        checked += 1
    assert checked >= 10
