"""The study's rows, asked: means over the seeds that are there, and what is not."""

import dataclasses

import numpy as np
import pytest

from symjax.evaluation.results import Results, cell_id
from symjax.study.evidence import Evidence, Line
from symjax.study.measurements import (
    FIGURE_5,
    Accuracy,
    Audit,
    Corrupted,
    PlannedRun,
    Tolerance,
    of_training,
)
from symjax.study.size import FULL, SMOKE
from symjax.study.trainings import TRAININGS

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
PGD = next(
    each
    for each in of_training(TRAININGS[BASELINE], FULL)
    if isinstance(each, Accuracy) and (each.protocol, each.attack) == ("sound", "pgd")
)
RADII = SIZE.some(PGD.eps)


@pytest.fixture
def write(tmp_path):
    """`write(name, measurement, seed, {place: outcomes})`: rows, as if measured."""

    def add(name, measurement, seed, values, size=SIZE, diverged=False, data="d"):
        store = Results(tmp_path / size.name / name)
        subject = PlannedRun.of(TRAININGS[name], size)
        cells = measurement.identities(subject, seed)
        for place, robust in values.items():
            outcomes = {"robust": np.array(robust, bool)}
            value = None if robust is None else np.mean(robust)
            found = {} if robust is None else outcomes
            facts, where = {"diverged": diverged}, {"data": data}
            store.add(cells[place], value, found, facts, where)

    return add


@pytest.fixture
def evidence(tmp_path):
    return Evidence(tmp_path, SIZE)


def line_of(values):
    eps = tuple(0.01 * np.arange(1, 1 + len(values[0])))
    return Line(TRAININGS[BASELINE], PGD, eps, np.array(values, float), 5)


def test_a_line_in_closed_form():
    nan = np.nan
    line = line_of([[10, nan, nan], [20, 7, nan], [60, 9, nan], [30, nan, 5]])
    np.testing.assert_allclose(line.mean, [30, 8, 5])
    sd = (((10 - 30) ** 2 + 10**2 + 30**2) / 3) ** 0.5  # 4 seeds, 3 degrees of freedom
    np.testing.assert_allclose(line.sd, [sd, 2**0.5, nan])
    assert not line.complete and line_of([[1.0], [2.0]]).complete
    assert line.text(0.01) == "30.00 ± 21.60 (4 seeds)"
    assert line_of([[1.0]] * 5).text(0.01) == "1.00 ± 0.00"
    assert line.text(0.02) == "8.00 ± 1.41 (2 seeds)"
    assert line.text(0.03) == "5.00 (1 seeds)"
    empty = line_of([[nan], [nan]])
    assert empty.text(0.01) is None and np.isnan([*empty.mean, *empty.sd]).all()


def test_a_radius_is_found_whatever_its_last_digit():
    line = line_of([[1, 2, 3]])
    assert [line.at(x) for x in (0.01, 0.1 * 0.2, 0.03)] == [0, 1, 2]
    with pytest.raises(ValueError, match="eps=0.04: expected one of"):
        line.at(0.04)


def test_values_are_of_seed_and_radius(write, evidence):
    """Seed 1 lacks a radius; seed 2 diverged."""
    write(BASELINE, PGD, 0, {0: [1, 1, 1, 0], 1: [1, 0, 0, 0]})
    write(BASELINE, PGD, 1, {1: [1, 1, 0, 0]})
    write(BASELINE, PGD, 2, {0: [1, 1, 1, 1], 1: [1, 1, 1, 1]}, diverged=True)
    line = evidence.line(BASELINE, "sound", "pgd")
    assert line.measurement == PGD and line.eps == RADII == (0.01, 0.02)
    nan = np.nan
    np.testing.assert_array_equal(line.values, [[75, 25], [nan, 50]])
    assert evidence.diverged(BASELINE) == 1
    assert line.text(0.01) == "75.00 (1 seeds)"
    assert line.text(0.02) == "37.50 ± 17.68 (2 seeds)"
    other = evidence.line(BASELINE, "sound", "fgsm")
    assert np.isnan(other.values).all() and other.values.shape == (3, 2)


def test_what_is_not_in_the_study_is_none(evidence):
    assert evidence.line(BASELINE, "published", "autoattack") is None
    assert evidence.line(BASELINE, "switched", "fgsm", ["step"]) is None
    assert evidence.corrupted("cifar10-4-baseline-published", "sound", "pgd") is None
    assert evidence.difference(BASELINE, WEIGHTED, "sound", "pgd", 0.77) is None
    switched = evidence.measurement(BASELINE, "switched", "fgsm", ["clip range"])
    assert switched.switches == ("clip range",) and switched.eps == (0.01, 0.03)
    assert switched in evidence.switches(BASELINE)
    line = evidence.line(BASELINE, "published", "pgd")
    assert line.measurement.protocol == "published" and line.values.shape == (3, 2)


def test_a_difference_is_ours_less_theirs(write, evidence):
    """Ours stand on 12 of 16 images in every seed, theirs on 4 of those."""
    for seed in range(3):
        write(BASELINE, PGD, seed, {0: 12 * [1] + 4 * [0]})
        write(WEIGHTED, PGD, seed, {0: 4 * [1] + 12 * [0]})
    found = evidence.difference(BASELINE, WEIGHTED, "sound", "pgd", RADII[0])
    assert found.value == 50 and found.count == 16
    # 8 of 16 images differ: binomial, of standard deviation 12.5
    assert 18 < found.low < 32 and 68 < found.high < 82
    back = evidence.difference(WEIGHTED, BASELINE, "sound", "pgd", RADII[0])
    assert back.value == -50 and back.high < 0
    assert evidence.difference(BASELINE, WEIGHTED, "sound", "pgd", RADII[1]) is None


def test_a_difference_wants_every_seed_and_leaves_diverged_ones_out(write, evidence):
    for seed in range(3):
        write(BASELINE, PGD, seed, {0: [1, 1, 1, 0]})
    for seed in range(2):
        write(WEIGHTED, PGD, seed, {0: [1, 1, 0, 0]})
    call = BASELINE, WEIGHTED, "sound", "pgd", RADII[0]
    assert evidence.difference(*call) is None
    write(WEIGHTED, PGD, 2, {0: [0, 0, 0, 0]}, diverged=True)
    again = Evidence(evidence.folder.parent, SIZE)
    assert again.difference(*call).value == 25
    outcomes = again.outcomes(WEIGHTED, PGD, 0)
    np.testing.assert_array_equal(outcomes, [[1, 1, 0, 0]] * 2)


def test_nets_of_other_data_are_not_compared(write, evidence):
    for seed in range(3):
        write(BASELINE, PGD, seed, {0: [1, 0]})
        write(WEIGHTED, PGD, seed, {0: [1, 0]}, data="other")
    with pytest.raises(ValueError, match="several data sets"):
        evidence.difference(BASELINE, WEIGHTED, "sound", "pgd", RADII[0])


def test_corruptions_are_by_name_severity_and_radius(write, evidence):
    reference = Corrupted("published", "pgd", (0.01, 0.02, 0.03, 0.04))
    cells = 3 * 2 * 2  # corruptions, severities, radii
    for seed in (0, 2):
        whole = {place: [place < k for k in range(1, 13)] for place in range(cells)}
        write(BASELINE, reference, seed, whole)
    found = evidence.corrupted(BASELINE, "published", "pgd")
    assert found.shape == (3, 3, 2, 2) and np.isnan(found[1]).all()
    expected = 100 * (12 - np.arange(cells)).reshape(3, 2, 2) / 12
    np.testing.assert_allclose(found[0], expected)
    subject = PlannedRun.of(TRAININGS[BASELINE], SIZE)
    cell = reference.identities(subject, 0)[7]  # [1, 1, 1]
    assert (cell["corruption"], cell["severity"], cell["eps"]) == ("snow", 5, 0.01)
    assert np.isnan(evidence.corrupted(BASELINE, "sound", "pgd")).all()


def test_tolerances_are_those_of_seeds_that_did_not_diverge(write, evidence):
    last = Tolerance(FIGURE_5[1])
    write(BASELINE, last, 0, {0: [1, 0, 0, 0]})
    write(BASELINE, last, 1, {0: None}, diverged=True)
    write(BASELINE, last, 2, {0: [1, 1, 0, 0]})
    assert evidence.tolerance(BASELINE, 1) == [0.25, 0.5]
    assert evidence.tolerance(BASELINE, 0) == []


def test_checks_are_in_order_and_those_that_are_there(write, evidence):
    write(BASELINE, Audit("sound"), 0, {2: [1], 0: [0]})
    subject = PlannedRun.of(TRAININGS[BASELINE], SIZE)
    names = [x["check"] for x in Audit("sound").identities(subject, 0)]
    found = evidence.audit(BASELINE, "sound")
    assert [row["check"] for row in found] == [names[0], names[2]]
    assert [row["value"] for row in found] == [0, 1]
    assert evidence.audit(BASELINE, "published") == []


def test_published_numbers(evidence):
    equivariant = "cifar10-10-equivariant-published"
    assert evidence.published(equivariant, "fgsm", 0.05) == 60.23
    assert evidence.published(equivariant, "pgd", 0.1) == 12.46
    assert evidence.published(equivariant, "pgd", 0.07) is None
    assert evidence.published(f"{equivariant}-c4", "pgd", 0.1) is None
    # Table 1's are of corrupted images
    assert evidence.published(BASELINE, "pgd", 0.01) == pytest.approx(11.2, abs=0.5)


def test_nothing_is_made_of_the_small_study(write, tmp_path):
    none = Accuracy("sound", "none")
    write(BASELINE, none, 0, {0: 64 * [1]}, size=SMOKE)
    small, whole = Evidence(tmp_path, SMOKE), Evidence(tmp_path)
    assert small.line(BASELINE, "sound", "none").values.tolist() == [[100.0]]
    assert np.isnan(whole.line(BASELINE, "sound", "none").values).all()
    assert whole.rows(BASELINE) == {}
    # were the file in the whole study's folder, its rows would be of other cells
    (tmp_path / "smoke").rename(tmp_path / "full")
    whole = Evidence(tmp_path)
    assert len(whole.rows(BASELINE)) == 1
    assert np.isnan(whole.line(BASELINE, "sound", "none").values).all()


def test_cells_are_those_of_the_measurement(evidence):
    subject = PlannedRun.of(TRAININGS[BASELINE], SIZE)
    expected = [cell_id(cell) for cell in PGD.identities(subject, 2)]
    assert evidence.cells(BASELINE, PGD, 2) == expected and len(expected) == 2
