"""Accuracy on corrupted images: the errors' closed forms, rows, Table 1."""

import io
import types

import numpy as np
import pytest
from rich.console import Console

from symjax import evaluate_command, evaluation
from symjax.data import cifar_c, corruptions
from symjax.data.augment import to_unit
from symjax.data.dataset import Split
from symjax.evaluation import Attack, Results, corruption
from symjax.metrics import corruption as errors
from symjax.report import corruption as report
from symjax.seeds import of_seed
from tests import made_rows
from tests.made_rows import QUIET

NONE = Attack("none")
N = 24

# Table 1 of the paper: baseline, eps 0.01; its Mean row has 7.28, its Std row 2.63.
PAPER = dict(
    brightness=14.79, contrast=3.25, defocus_blur=7.92, elastic_transform=6.80,
    fog=3.64, frost=9.32, gaussian_blur=7.24, gaussian_noise=5.38,
    glass_blur=5.51, impulse_noise=5.99, jpeg_compression=8.68, motion_blur=6.34,
    pixelate=9.04, saturate=9.74, shot_noise=5.62, snow=9.71,
    spatter=7.80, speckle_noise=5.25, zoom_blur=6.39,
)  # fmt: skip


def test_errors_in_closed_form():
    accuracy = np.array([[[0.9, 0.7], [0.5, 0.1]], [[0.9, 0.7], [0.5, 0.3]]])
    np.testing.assert_allclose(errors.mean_error(accuracy), [0.45, 0.40])
    reference = np.full((3, 2, 2), 0.5)
    expected = [(0.4 / 1 + 1.4 / 1) / 2, (0.4 / 1 + 1.2 / 1) / 2]
    np.testing.assert_allclose(errors.corruption_error(accuracy, reference), expected)
    itself = errors.corruption_error(accuracy[:1], accuracy[:1])
    np.testing.assert_allclose(itself, 1)
    clean = [0.9, 0.9]
    lost = [(0.2 / 0.6 + 1.2 / 0.6) / 2, (0.2 / 0.6 + 1.0 / 0.6) / 2]
    found = errors.relative_error(accuracy, clean, reference, [0.7, 0.8, 0.9])
    np.testing.assert_allclose(found, lost)
    with pytest.raises(ValueError, match=r"\[2, 2\]: expected \[S, C, V\]"):
        errors.mean_error(accuracy[0])


def made_up(value=lambda name: PAPER[name] / 100, names=tuple(PAPER), **changes):
    """Rows of two seeds; the second is 2 % below the first."""
    images = {"dataset": "cifar10", "n": 100, "source": "official", **changes}
    rows = [
        made_rows.row(
            value(name) + 0.01 * (1 - 2 * seed),
            **{"seed": seed, "corruption": name, "severity": severity, **images},
        )
        for name in names
        for severity in corruptions.SEVERITIES
        for seed in (0, 1)
    ]
    clean = [made_rows.row(0.9, dataset="cifar10", n=100, seed=seed) for seed in (0, 1)]
    return [*rows, *clean]


def cells(text, beginning):
    (line,) = [x for x in text.splitlines() if x.startswith(f"| {beginning}")]
    return [x.strip() for x in line.strip("|").split("|")][1:]


def test_table_1_is_the_papers_from_its_rows(tmp_path):
    found = report.frame({tmp_path / "baseline": made_up()})
    text = report.table_1(found)
    assert cells(text, "corruption") == ["baseline, none"]
    assert cells(text, "fog") == ["3.64"]
    assert cells(text, "Mean of 19") == ["7.28"]
    assert cells(text, "Std of 19") == ["2.63"]
    assert cells(text, "Mean ± sd over seeds of 19") == ["7.28 ± 1.41"]
    fifteen = np.mean([PAPER[name] for name in corruptions.BENCHMARK])
    assert cells(text, "Mean of 15") == [f"{fifteen:.2f}"]
    assert "100 test images of cifar10, corruptions official" in text
    assert "MISSING" not in text


def test_what_is_missing_is_said(tmp_path):
    names = [name for name in PAPER if name != "frost"]
    folder = tmp_path / "baseline"
    text = report.table_1(report.frame({folder: made_up(names=names)}))
    assert "MISSING: frost; means are without" in text
    assert cells(text, "Mean of 18 of the 19") and cells(text, "Mean of 14 of the 15")
    rows = [
        row for row in made_up() if (row["corruption"], row["severity"]) != ("fog", 4)
    ]
    with pytest.raises(ValueError, match="no row of fog, severity 4, seed 0.* 1 more"):
        report.table_1(report.frame({folder: rows}))
    with pytest.raises(ValueError, match="several rows of .*epochs or settings"):
        report.table_1(report.frame({folder: [*made_up(), *made_up()]}))
    with pytest.raises(ValueError, match="not of the same images"):
        report.frame({folder: made_up(), tmp_path / "other": made_up(n=50)})
    with pytest.raises(ValueError, match="no rows of corruptions.*--metric corruption"):
        report.frame({folder: [row for row in rows if row["corruption"] is None]})


def test_errors_are_normalised_by_the_first_net(tmp_path):
    def half(name):
        return 1 - (1 - PAPER[name] / 100) / 2

    found = report.frame({tmp_path / "one": made_up(), tmp_path / "two": made_up(half)})
    lines = report.mean_errors(found).splitlines()
    one, two = (
        [x for x in lines if x.startswith(f"| {net} ")][1] for net in ("one", "two")
    )
    assert "| 92.72 ± 1.41 | 100.00 ± 1.5" in one
    assert "| 46.36 ± 1.41 | 50.0" in two
    drawn = report.draw(found)
    assert [axis.get_title() for axis in drawn.axes[:2]] == ["one\nnone", "two\nnone"]
    np.testing.assert_allclose(
        drawn.axes[0].images[0].get_array()[0], 100 * PAPER[corruptions.NAMES[0]] / 100
    )


def test_one_attack_can_be_shown_alone(tmp_path):
    fgsm = made_up(attack="fgsm", norm="linf", eps=1 / 255)[:-2]
    found = report.frame({tmp_path / "net": [*made_up(), *fgsm]})
    head = cells(report.table_1(report.under(found, "fgsm linf 1/255")), "corruption")
    assert head == ["net, fgsm linf 1/255"]
    assert len(cells(report.table_1(found), "corruption")) == 2
    errors_of_none = report.mean_errors(report.under(found, "none")).splitlines()[2]
    assert errors_of_none.count("±") == 3  # the clean error is there, for the relative
    with pytest.raises(ValueError, match="'pgd': expected one of .*none.*fgsm linf"):
        report.under(found, "pgd")


@pytest.mark.slow
def test_a_row_is_the_accuracy_on_the_corrupted_images(run, tmp_path, monkeypatch):
    store = Results(tmp_path)
    images = corruption.source(run, "auto")
    what = {"n": N, "names": ["gaussian_noise", "contrast"], "severities": [1, 5]}
    call = run, store, NONE, "linf", [0.0], images
    rows = corruption.measure(*call, **what, console=QUIET)
    cells_of = [(row["corruption"], row["severity"], row["seed"]) for row in rows]
    assert cells_of == [
        (c, v, s) for c in what["names"] for v in (1, 5) for s in (0, 1)
    ]
    assert {(row["source"], row["n"]) for row in rows} == {("generated", N)}
    clean = Split(*(x[:N] for x in run.experiment.dataset.test))
    for row in rows[-2:]:
        there = images(clean, row["corruption"], row["severity"])
        net = of_seed(run.logits_fns, row["seed"])
        right = np.argmax(net(to_unit(there.images)), axis=1) == clean.labels
        assert row["value"] == pytest.approx(right.mean())
    monkeypatch.setattr(corruptions, "corrupt", None)  # would fail if it were called
    assert corruption.measure(*call, **what, console=QUIET) == rows


def test_gray_images_stay_gray_and_do_not_depend_on_their_company(run):
    images, labels = run.experiment.dataset.test

    def corrupted(count, seed=0):
        made = corruption.GeneratedCorruptions(seed)
        return made(Split(images[:count], labels[:count]), "shot_noise", 3).images

    few = corrupted(2)
    assert few.shape == (2, *images.shape[1:]) and few.dtype == np.uint8
    np.testing.assert_array_equal(few, corrupted(5)[:2])
    assert (corrupted(2, seed=1) != few).any()


def test_published_images_go_first_and_can_be_asked_for(run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no published corruptions of 'digits'"):
        corruption.source(run, "published")
    with pytest.raises(ValueError, match="'mine': expected one of"):
        corruption.source(run, "mine")
    test = run.experiment.dataset.test
    folder = tmp_path / "DIGITS-C"
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(test.labels, 5))
    inverted = np.concatenate([test.images] * 4 + [255 - test.images])
    np.save(folder / "contrast.npy", inverted)
    monkeypatch.setitem(cifar_c.FOLDERS, "digits", "DIGITS-C")
    with run.experiment.config.unlocked():
        monkeypatch.setitem(run.experiment.config.dataset, "data_dir", str(tmp_path))
    images = corruption.source(run)
    assert images.identity() == {"source": "official"}
    call = run, Results(tmp_path), NONE, "linf", [0.0], images, N, ["contrast"], [1, 5]
    rows = corruption.measure(*call, console=QUIET)
    clean = evaluation.measure(*call[:5], n=N, console=QUIET)
    assert [row["value"] for row in rows[:2]] == [row["value"] for row in clean]
    assert all(row["value"] < 0.5 for row in rows[2:])
    assert isinstance(corruption.source(run, "made"), corruption.GeneratedCorruptions)


def test_the_command_attacks_corrupted_images_and_prints_table_1(
    run, tmp_path, monkeypatch
):
    asked = {
        "corruptions": "made",
        "corruption_seed": 0,
        "only": "bright",
        "norm": "l2",
    }
    monkeypatch.setattr(evaluate_command, "FLAGS", types.SimpleNamespace(**asked))
    console = Console(file=io.StringIO(), width=200)
    options = {"n": N, "batch_size": 250, "console": console}
    store, made = Results(tmp_path), corruption.GeneratedCorruptions()
    clean = evaluation.measure(run, store, NONE, "l2", [0.0], **options)
    call = run, store, Attack("fgsm"), [0.5], clean, made, options
    assert evaluate_command._corruption(*call) == 0
    shown = console.file.getvalue()
    assert "fgsm l2 0.5" in shown and "| brightness | " in shown
    assert "of 1 of the 19" in shown and "MISSING: gaussian_noise" in shown
    with pytest.raises(ValueError, match="only='x': expected the beginning of one of"):
        corruption.named("x")
