"""The study's figures hold the numbers they are given, and state what is missing."""

import dataclasses

import numpy as np
import pytest

from study import figures, paper
from study.plan import ABLATION_EPS, PlannedRun, Tolerance
from study.results import StudyResults
from study.runs import CONTROLLED, NETS, REPRODUCTION_TARGETS, TRAININGS, run_name
from symjax.evaluation import Results
from symjax.evaluation import protocol as protocols

ALL = ["figure-1", "figure-1-sound", "figure-2", "figure-2-sound", "figure-6"]
ALL += ["attribution", "controlled", "figure-5"]
HEIGHT = {net: 40 + 6 * place for place, net in enumerate(NETS)}
POINTS = {name: 1 + 2 * place for place, name in enumerate(protocols.SWITCHES)}


class Made(StudyResults):
    """Accuracies that fall with epsilon and rise with every difference.

    Args:
      folder: of rows, of which tolerances are read.
      seeds: how many of each run there are, by a function of the training.
    """

    def __init__(self, folder, seeds=lambda training: 5):
        super().__init__(folder)
        self._count = seeds

    def curve(self, name, protocol, attack, switches=()):
        curve = super().curve(name, protocol, attack, switches)
        training = TRAININGS[name]
        if curve is None:
            return None
        end = protocols.published(training.net)
        if protocol == "published":
            switches = protocols.differing(protocols.SOUND, end, attack)
        start = HEIGHT[training.net] + (5 if training.variant else 0)
        factor = {"none": 0, "fgsm": 20, "pgd": 40, "autoattack": 45}[attack]
        values = start * np.exp(-factor * np.array(curve.eps))
        values = values + sum(POINTS[x] * (-1) ** (x == "clip range") for x in switches)
        values = np.tile(values, (5, 1)) + np.arange(-2, 3)[:, None] / 2
        values[self._count(training) :] = np.nan
        return dataclasses.replace(curve, values=np.clip(values, 0, 100))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    results = Made(tmp_path_factory.mktemp("made"))
    write_tolerances(results, images=True)
    return results


@pytest.fixture(scope="module")
def drawn(made):
    return {each.name: each for each in figures.drawn([made])}


def write_tolerances(results, images=False, count=5):
    """Rows of made-up tolerances, 0.2 to 0.28 and 0.3 to 0.38."""
    draw = np.random.default_rng(0)
    for place, net in enumerate(paper.tolerances()):
        name = run_name("cifar10", 10, net)
        store = Results(results.folder / name)
        planned = PlannedRun.of(TRAININGS[name], results.size)
        for seed in range(count):
            (cell,) = Tolerance("published").identities(planned, seed)
            value = 0.2 + place / 10 + seed / 50
            outcomes = {"largest": np.full((117, 1), value)}
            if images:
                shown = draw.integers(0, 256, (2, 8, 32, 32, 3), np.uint8)
                outcomes |= {"original": shown[0], "last_held": shown[1]}
                outcomes |= {"clean": np.ones(117, bool)}
            store.add(cell, value, outcomes, {"diverged": False}, {"data": "d"})


def line_of(axis, label):
    (line,) = [x for x in axis.get_lines() if x.get_label() == label]
    return line


def test_without_rows_nothing_is_drawn(tmp_path):
    assert figures.drawn([StudyResults(tmp_path)]) == []


def test_with_rows_every_figure_is_drawn(drawn):
    assert list(drawn) == ALL
    for each in drawn.values():
        assert "not measured" not in each.alt + each.caption
        assert each.title in each.alt
    assert "<text" in drawn["figure-5"].picture.svg  # can be read and selected


def test_curves_are_the_numbers(made, drawn):
    panels = [(d, a) for d in ("cifar10", "cifar100") for a in ("fgsm", "pgd")]
    for name, depth, protocol in (
        ("figure-1", 4, "published"),
        ("figure-2-sound", 10, "sound"),
    ):
        axes = drawn[name].figure.axes
        for axis, (dataset, attack) in zip(axes, panels, strict=True):
            ours = made.curve(run_name(dataset, depth, "weighted"), protocol, attack)
            line = line_of(axis, "weighted, ours")
            np.testing.assert_allclose(line.get_xdata(), ours.eps)
            means = ours.values.mean(axis=0)
            np.testing.assert_allclose(line.get_ydata(), means)
            labels = [x.get_label() for x in axis.get_lines()]
            assert (protocol == "sound") != ("weighted, published" in labels)
            vertices = axis.collections[-1].get_paths()[0].vertices[:, 1]
            assert vertices.min() == pytest.approx((means - ours.sd).min())
            assert vertices.max() == pytest.approx((means + ours.sd).max())
    fgsm_100 = drawn["figure-2"].figure.axes[2]
    assert line_of(fgsm_100, "parallel_rs, published").get_ydata()[0] == 39.9
    assert "pixel" in drawn["figure-1-sound"].figure.axes[-1].get_xlabel()


def test_a_number_that_the_paper_hides_is_a_gap(drawn):
    pgd = line_of(drawn["figure-2"].figure.axes[1], "baseline, published")
    np.testing.assert_allclose(pgd.get_ydata()[:3], [11.2, 3.1, np.nan])
    names = [run_name("cifar10", 10, "baseline"), "PGD", "0.03"]
    (row,) = [x for x in drawn["figure-2"].data.rows if x[:3] == names]
    assert row[3] is None and row[-1] == 5


def test_figure_6_has_the_numbers_of_both(made, drawn):
    numbers = paper.numbers()["figure6_ablation"]
    for axis, attack in zip(
        drawn["figure-6"].figure.axes, ("fgsm", "pgd"), strict=True
    ):
        for net in ("baseline", "parallel_rot", "parallel_scale", "parallel_rs"):
            published = line_of(axis, f"{net}, published")
            assert published.get_ydata().tolist() == numbers[attack][net]
            curve = made.curve(run_name("cifar100", 10, net), "published", attack)
            ours = dict(line_of(axis, f"{net}, ours").get_xydata())
            means = [curve.mean(eps) for eps in numbers["eps"]]
            assert [ours[eps] for eps in numbers["eps"]] == pytest.approx(means)


def test_tolerances_are_means_beside_the_papers_two_images(drawn):
    above, below = drawn["figure-5"].figure.subfigs
    widths = [bar.get_width() for bar in above.axes[0].patches]
    np.testing.assert_allclose(widths, [0.24, 0.34])
    first = [x for x in above.axes[0].get_lines() if "first" in x.get_label()]
    assert first[0].get_xydata().tolist() == [[0.16, 0]]
    assert len([axis for axis in below.axes if axis.images]) == 4 * 3
    assert [row[-1] for row in drawn["figure-5"].data.rows] == [5, 5]


def test_tolerances_without_images_have_bars_alone(tmp_path):
    results = StudyResults(tmp_path)
    write_tolerances(results, count=2)
    found = figures.tolerance(results)
    assert len(found.figure.axes) == 1
    assert [row[-1] for row in found.data.rows] == [2, 2]


def widths(axis, label):
    """Of the bars of that label."""
    return [
        bar.get_width()
        for bars in axis.containers
        if bars.get_label() == label
        for bar in bars
    ]


def test_segments_add_up_to_the_difference_of_the_protocols(made, drawn):
    axes = iter(drawn["attribution"].figure.axes)
    for training in REPRODUCTION_TARGETS:
        end = protocols.published(training.net)
        for attack in ("fgsm", "pgd"):
            names = protocols.differing(protocols.SOUND, end, attack)
            for eps in ABLATION_EPS:
                axis, name = next(axes), training.name
                sound = made.mean(name, "sound", attack, eps)
                ours = made.mean(name, "published", attack, eps)
                parts = [widths(axis, name)[0] for name in names]
                assert sum(parts) == pytest.approx(ours - sound)
                assert widths(axis, "sound protocol") == [pytest.approx(sound)]
                marks = [x for x in axis.get_lines() if x.get_label() == "the paper"]
                printed = paper.percent(name, attack, eps)
                expected = [] if printed is None else [printed]
                assert [x.get_xdata()[0] for x in marks] == expected
    assert next(axes, None) is None


def test_marks_of_the_controlled_comparison_are_the_numbers(made, drawn):
    clean, *attacked = drawn["controlled"].figure.axes
    runs = [x.name for x in TRAININGS.values() if x.kind == CONTROLLED]
    assert len(clean.get_yticklabels()) == len(runs)
    for axis, eps in ((clean, 0.0), (attacked[1], 2 / 255)):
        attacks = ("pgd", "autoattack") if eps else ("none",)
        lines = [x.get_xdata() for x in axis.get_lines() if len(x.get_xdata()) == 10]
        for attack, shown in zip(attacks, lines, strict=True):
            means = [made.mean(run, "sound", attack, eps) for run in runs]
            np.testing.assert_allclose(shown, means)


def test_missing_seeds_and_nets_are_stated(tmp_path):
    counts = {"baseline": 2, "cascaded": 0}

    def seeds(training):
        whole = (training.depth, training.variant) == (10, "")
        return counts.get(training.net, 5) if whole else 0

    results = Made(tmp_path, seeds)
    assert figures.accuracy(results, "figure 1", "sound") is None
    found = figures.accuracy(results, "figure 2")
    # 2 data sets, 2 attacks, 15 epsilons; 3 of 5 nets whole, 1 without a row
    assert "60 of 240 cells have fewer seeds" in found.caption
    names = [run_name("cifar10", 10, "cascaded"), "FGSM", "0.01"]
    (row,) = [x for x in found.data.rows if x[:3] == names]
    assert row[3] is not None and row[4:] == [None] * 3
    name = run_name("cifar10", 10, "baseline")
    line = line_of(found.figure.axes[0], "baseline, ours").get_ydata()
    curve = results.curve(name, "published", "fgsm")
    np.testing.assert_allclose(line, curve.values[:2].mean(axis=0))
    attribution = figures.attribution(results)
    assert len(attribution.figure.axes) == 5 * 4  # cascaded is left out


def test_files_are_the_same_bytes_twice(drawn, tmp_path):
    figure = drawn["figure-5"]
    paths = figure.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["figure-5.png", "figure-5.svg"]
    assert sorted(paths[0].parent.iterdir()) == paths
    assert paths[1].read_text() == figure.picture.svg
    (again, _) = figure.save(tmp_path)
    assert again.read_bytes() == paths[0].read_bytes() != b""


def test_every_net_looks_different():
    for styles in zip(*NETS.values(), strict=True):
        assert len(set(styles)) == len(NETS)
