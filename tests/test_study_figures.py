"""The study's figures hold the numbers they are given, and say what is not there."""

import dataclasses

import numpy as np
import pytest
from matplotlib.image import imread

from symjax.evaluation import Results
from symjax.evaluation import protocol as protocols
from symjax.report.page import Page, render
from symjax.study import figures, published
from symjax.study.accuracy_figures import curves
from symjax.study.attribution_figure import attribution
from symjax.study.controlled_figure import controlled
from symjax.study.drawing import NETS, coverage, highest
from symjax.study.evidence import Evidence
from symjax.study.measurements import FIGURE_5, TAKEN_APART, Tolerance, net_of
from symjax.study.tolerance_figure import tolerance
from symjax.study.trainings import CONTROLLED, FIVE, PUBLISHED, TRAININGS

ALWAYS = ["figure-1", "figure-2", "figure-6", "figure-5"]
ALL = ["figure-1", "figure-2", "figure-1-sound", "figure-2-sound", "figure-6"]
ALL += ["figure-5", "attribution", "controlled"]
HEIGHT = {net: 40 + 6 * place for place, net in enumerate(NETS)}
POINTS = {name: 1 + 2 * place for place, name in enumerate(protocols.SWITCHES)}
SIX = [*FIVE, "equivariant"]
FIRST = "cifar10-10-baseline-published"


class Made(Evidence):
    """Accuracies that fall with epsilon and rise with every switch.

    Args:
      folder: of rows, of which tolerances are read.
      seeds: how many of each run there are, by a function of its name.
    """

    def __init__(self, folder, seeds=lambda name: 5):
        super().__init__(folder)
        self._there = seeds

    def line(self, name, protocol, attack, switches=()):
        line = super().line(name, protocol, attack, switches)
        if line is None:
            return None
        net = net_of(TRAININGS[name])
        end = protocols.published(net)
        if protocol == "published":
            switches = protocols.differing(protocols.SOUND, end, attack)
        start = HEIGHT[net] + (5 if name.endswith(("fgsm", "turned")) else 0)
        factor = {"none": 0, "fgsm": 20, "pgd": 40, "autoattack": 45}[attack]
        values = start * np.exp(-factor * np.array(line.eps))
        values = values + sum(POINTS[x] * (-1) ** (x == "clip range") for x in switches)
        values = np.tile(values, (5, 1)) + np.arange(-2, 3)[:, None] / 2
        values[self._there(name) :] = np.nan
        return dataclasses.replace(line, values=np.clip(values, 0, 100))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    evidence = Made(tmp_path_factory.mktemp("made"))
    keep_tolerances(evidence, images=True)
    return evidence


@pytest.fixture(scope="module")
def drawn(made):
    return {each.name: each for each in figures.drawn(made)}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return figures.drawn(Evidence(tmp_path_factory.mktemp("empty")))


def keep_tolerances(evidence, images=False, count=5):
    """Rows of made-up tolerances, 0.2 to 0.28 and 0.3 to 0.38."""
    draw = np.random.default_rng(0)
    for place, name in enumerate(published.tolerances()):
        store = Results(evidence.folder / name)
        for seed in range(count):
            subject = evidence.subject(name)
            (cell,) = Tolerance(FIGURE_5[0]).identities(subject, seed)
            value = 0.2 + place / 10 + seed / 50
            outcomes = {"largest": np.full((117, 1), value)}
            if images:
                shown = draw.integers(0, 256, (2, 8, 32, 32, 3), np.uint8)
                outcomes |= {"original": shown[0], "last_held": shown[1]}
                outcomes |= {"clean": np.ones(117, bool)}
            store.add(cell, value, outcomes, {"diverged": False}, {"data": "d"})


def lines_of(figure, label):
    """Numbers of the line of that label, a panel each."""
    found = []
    for axis in figure.axes:
        found += [
            np.array(line.get_xydata())
            for line in axis.get_lines()
            if line.get_label() == label
        ]
    return found


def heights(axis, label, horizontal=False):
    """Lengths of the bars of that label."""
    return [
        bar.get_width() if horizontal else bar.get_height()
        for bars in axis.containers
        if bars.get_label() == label
        for bar in bars
    ]


def test_without_rows_only_the_paper_is_drawn(empty):
    found = {each.name: each for each in empty}
    assert list(found) == ALWAYS
    for each in found.values():
        assert "not measured" in each.caption and "not measured" in each.alt
        labels = [x.get_label() for axis in each.figure.axes for x in axis.get_lines()]
        assert not any("ours" in label for label in labels)
        assert not each.figure.axes[0].collections  # no bands
    assert all(row[-3:] == [None] * 3 for row in found["figure-1"].data.rows)
    fgsm_100 = found["figure-2"].figure.axes[2]
    (line,) = [x for x in fgsm_100.get_lines() if "parallel_rs" in x.get_label()]
    assert line.get_ydata()[0] == 39.9


def test_every_figure_is_there_and_has_a_place_on_the_page(drawn):
    assert list(drawn) == ALL
    for each in drawn.values():
        assert "not measured" not in each.alt + each.caption
    shown = [drawn[name].picture for name in ("figure-2", "figure-5")]
    text = render(Page("Study", "Two of them.", pictures=shown))
    for picture in shown:
        assert picture.alt.split(":")[0] in text
        assert "<text" in picture.svg  # can be read and selected


def test_curves_are_the_numbers(made, drawn):
    for number, depth in figures.DEPTHS.items():
        for name, protocol in ((f"figure-{number}", "published"),
                               (f"figure-{number}-sound", "sound")):  # fmt: skip
            axes = drawn[name].figure.axes
            panels = [(d, a) for d in ("cifar10", "cifar100") for a in ("fgsm", "pgd")]
            for axis, (dataset, attack) in zip(axes, panels, strict=True):
                run = published.run(dataset, depth, "weighted")
                ours = made.line(run, protocol, attack)
                by_label = {x.get_label(): x for x in axis.get_lines()}
                line = by_label["weighted, ours"]
                np.testing.assert_allclose(line.get_xdata(), ours.eps)
                np.testing.assert_allclose(line.get_ydata(), ours.mean)
                assert (protocol == "sound") != ("weighted, published" in by_label)
                low, high = (f(axis.collections[-1].get_paths()[0].vertices[:, 1])
                             for f in (np.min, np.max))  # fmt: skip
                assert low == pytest.approx((ours.mean - ours.sd).min())
                assert high == pytest.approx((ours.mean + ours.sd).max())
        assert "pixel" in drawn[f"figure-{number}-sound"].figure.axes[-1].get_xlabel()


def test_a_number_that_the_paper_hides_is_a_gap(drawn):
    (_, pgd, _, _) = lines_of(drawn["figure-2"].figure, "baseline, published")
    np.testing.assert_allclose(pgd[:3, 1], [11.2, 3.1, np.nan])
    rows = drawn["figure-2"].data.rows
    label = NETS["baseline"].label
    (row,) = [x for x in rows if x[:4] == [label, "CIFAR-10", "PGD", 0.03]]
    assert row[4] is None and row[7] == 5


def test_bars_of_figure_6_are_the_numbers(made, drawn):
    numbers = published.numbers()["figure6_ablation"]
    for axis, attack in zip(
        drawn["figure-6"].figure.axes, ("fgsm", "pgd"), strict=True
    ):
        for net in ("baseline", "parallel_rot", "parallel_scale", "parallel_rs"):
            assert heights(axis, f"{net}, paper") == numbers[attack][net]
            line = made.line(published.run("cifar100", 10, net), "published", attack)
            ours = [line.mean[line.at(x)] for x in numbers["eps"]]
            np.testing.assert_allclose(heights(axis, f"{net}, ours"), ours)


def test_tolerances_are_means_beside_the_papers_two_images(drawn):
    figure = drawn["figure-5"].figure
    above, below = figure.subfigs
    widths = [bar.get_width() for bar in above.axes[0].patches]
    np.testing.assert_allclose(widths, [0.24, 0.34])
    (first, _) = lines_of(above, "the paper's first image")
    assert first.tolist() == [[0.16, 0]]
    assert len([axis for axis in below.axes if axis.images]) == 4 * 3
    assert drawn["figure-5"].alt.count("is highest") == 2
    assert [row[-1] for row in drawn["figure-5"].data.rows] == [5, 5]


def test_tolerances_without_images_have_bars_alone(tmp_path):
    evidence = Evidence(tmp_path)
    keep_tolerances(evidence, count=2)
    found = tolerance(evidence)
    assert not found.figure.subfigs
    assert "2 of 5 seeds" in found.caption and "No images" in found.caption


def test_segments_add_up_to_the_difference_of_the_protocols(made, drawn):
    nets = [published.run("cifar10", 10, net) for net in SIX]
    axes = iter(drawn["attribution"].figure.axes)
    for run in nets:
        assert TRAININGS[run].kind == PUBLISHED
        end = protocols.published(net_of(TRAININGS[run]))
        for attack in ("fgsm", "pgd"):
            names = protocols.differing(protocols.SOUND, end, attack)
            for eps in TAKEN_APART:
                axis = next(axes)
                sound, ours = (
                    line.mean[line.at(eps)]
                    for line in (
                        made.line(run, protocol, attack)
                        for protocol in ("sound", "published")
                    )
                )
                parts = [heights(axis, name, horizontal=True)[0] for name in names]
                assert sum(parts) == pytest.approx(ours - sound)
                assert heights(axis, "sound protocol", True) == [pytest.approx(sound)]
                paper = [x for x in axis.get_lines() if x.get_label() == "the paper"]
                printed = made.published(run, attack, eps)
                assert [x.get_xdata()[0] for x in paper] == (
                    [] if printed is None else [printed]
                )
    assert next(axes, None) is None


def test_dots_of_the_controlled_comparison_are_the_numbers(made, drawn):
    clean, *attacked = drawn["controlled"].figure.axes
    runs = [x.name for x in TRAININGS.values() if x.kind == CONTROLLED]
    assert len(clean.get_yticklabels()) == len(runs)
    for axis, eps in ((clean, 0.0), (attacked[1], 2 / 255)):
        for attack in ("pgd", "autoattack") if eps else ("none",):
            dots = {x.get_label(): x for x in axis.containers}
            for run in runs:
                line = made.line(run, "sound", attack)
                value = dots[f"{run}, {attack}"].lines[0].get_xdata()[0]
                assert value == pytest.approx(line.mean[line.at(eps)])


def test_words_say_which_net_is_highest(drawn):
    label = NETS["parallel_rs"].label
    says = f"published, {label} is highest at all 15 epsilons, 74.6 % at 0.01"
    assert f"CIFAR-10, FGSM: {says} and 37.1 % at 0.15" in drawn["figure-2"].alt
    assert f"{NETS['weighted'].label} is highest" in drawn["figure-1-sound"].alt
    assert f"{NETS['equivariant'].label} is highest" in drawn["controlled"].alt


def test_highest_of_ties_and_gaps():
    values = {"A": [1.0, np.nan, 3.0], "B": [1.0, 2.0, 1.0]}
    says = highest([0.1, 0.2, 0.3], values)
    assert says == "A is highest at 2 of 3 epsilons, 1.0 % at 0.1 and 3.0 % at 0.3"
    assert highest([0.1], {"A": [np.nan]}) == "not measured"


def test_missing_seeds_and_nets_are_said(tmp_path):
    counts = {FIRST: 2, published.run("cifar10", 10, "cascaded"): 0}
    evidence = Made(tmp_path, lambda name: counts.get(name, 5 if "-10-" in name else 0))
    assert curves(evidence, 1, 4, "sound") is None
    found = curves(evidence, 2, 10, "published")
    assert f"2 of 5 seeds: CIFAR-10 {NETS['baseline'].label}." in found.caption
    assert f"Not measured: CIFAR-10 {NETS['cascaded'].label}." in found.caption
    assert "5 seeds where nothing else is said" in found.caption
    line = evidence.line(FIRST, "published", "fgsm")
    shown = lines_of(found.figure, "baseline, ours")[0][:, 1]
    np.testing.assert_allclose(shown, line.values[:2].mean(axis=0))


def test_a_net_that_is_not_measured_is_not_taken_apart(tmp_path):
    runs = [published.run("cifar10", 10, net) for net in ("weighted", "cascaded")]
    evidence = Made(tmp_path, lambda name: 3 if name in runs else 0)
    found = attribution(evidence)
    assert len(found.figure.axes) == 2 * 4
    assert f"Left out, not measured: {NETS['baseline'].label}" in found.caption
    assert "3 of 5 seeds: " in found.caption
    assert controlled(evidence) is None


def test_attacks_that_differ_in_seeds_are_said_by_themselves(tmp_path):
    whole = Made(tmp_path).line(FIRST, "sound", "pgd")
    half = Made(tmp_path, lambda name: 3).line(FIRST, "sound", "pgd")
    assert coverage({("A", "FGSM"): whole, ("A", "PGD"): whole}) == "Ours: 5 seeds."
    says = coverage({("A", "FGSM"): whole, ("A", "PGD"): half, ("B", "PGD"): None})
    assert says == (
        "Ours: 5 seeds where nothing else is said. 3 of 5 seeds: A PGD. "
        "Not measured: B."
    )


def test_files_are_the_same_bytes_twice(monkeypatch, empty, tmp_path):
    monkeypatch.setattr(figures, "DEPTHS", {2: 10})  # of the curves, one is enough
    folder = tmp_path / "new" / "folder"
    paths = figures.save(Evidence(tmp_path), folder)
    names = [f"{name}.{suffix}" for name in ALWAYS[1:] for suffix in ("png", "svg")]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for each, path in zip(empty[1:], paths[1::2], strict=True):
        assert path.read_text() == each.picture.svg
    (again, _) = empty[-1].save(tmp_path)
    assert again.read_bytes() == paths[-2].read_bytes()
    assert imread(again)[..., :3].std() > 0.02


def test_pictures_are_those_of_the_figures(monkeypatch, empty, tmp_path):
    monkeypatch.setattr(figures, "drawn", lambda evidence: empty[2:])
    shown = figures.pictures(Evidence(tmp_path))
    assert [x.name for x in shown] == [each.title for each in empty[2:]]


def test_every_net_looks_unlike_the_others():
    for what in ("label", "colour", "marker", "line"):
        assert len({getattr(look, what) for look in NETS.values()}) == len(NETS)
