"""Evaluation: rows, their identity, what is not measured twice, and the table."""

import dataclasses
import io
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from symjax import attacks, evaluate_flags
from symjax.evaluation import (
    Attack,
    Results,
    Run,
    RunNotFoundError,
    measure,
    newest,
    table,
)
from symjax.evaluation import measurement as attacking
from symjax.evaluation.attack import NAMES as attack_names
from symjax.evaluation.results import read
from symjax.evaluation.rows import cell_id
from symjax.seeds import of_seed
from tests import made_rows

IDENTITY = (
    "run model depth width trunk trunk_version group basis training epoch dataset "
    "split n seed attack steps step_size n_restarts start loss keep norm eps "
    "protocol corruption severity kind eps_given eps_unit dtype"
).split()
PROVENANCE = (
    "cell_id value in_ball diverged config data commit versions device batch_size "
    "seconds_all_seeds utc argv"
).split()

FGSM, CLEAN = Attack("fgsm"), Attack("none")
PGD = Attack("pgd", steps=2)
N = 30


@pytest.fixture
def store(tmp_path):
    return Results(tmp_path)


def test_a_row_says_what_was_measured_and_how(run, store, trained):
    rows = measure(run, store, PGD, "linf", [0.05, 0.1], n=N)
    assert [(row["eps"], row["seed"]) for row in rows] == [
        (eps, seed) for eps in (0.05, 0.1) for seed in (0, 1)
    ]
    for row in rows:
        assert set(row) >= {*IDENTITY, *PROVENANCE}
        assert row["cell_id"] == cell_id({key: row[key] for key in IDENTITY})
        assert row["in_ball"] and not row["diverged"] and row["n"] == N
        assert (row["run"], row["epoch"]) == (trained.folder.name, 3)
        outcomes = made_rows.outcomes_of(store.path.parent, row)
        assert outcomes["robust"].shape == (N,)
        assert outcomes["robust"].mean() == pytest.approx(row["value"])
        assert outcomes["distance"].max() <= row["eps"] + 1e-6
        assert (outcomes["gradients"] == 2).all()
    assert len({row["cell_id"] for row in rows}) == 4
    assert read([store.path]) == rows


def test_a_measured_cell_is_not_measured_again(run, store, monkeypatch):
    first = measure(run, store, FGSM, "linf", [0.1], n=N)
    text = store.path.read_text()
    monkeypatch.setattr(attacking, "_attack", None)  # would fail if it were called
    again = measure(run, Results(store.path.parent), FGSM, "linf", [0.1], n=N)
    assert again == first and store.path.read_text() == text
    identity = {key: first[0][key] for key in IDENTITY}
    with pytest.raises(ValueError, match="already"):
        store.add(identity, 0.0, {}, {}, {})


def test_rows_of_other_weights_or_data_are_measured_again(run, store):
    rows = measure(run, store, FGSM, "linf", [0.1], n=N)
    assert [row["weights"] for row in rows] == run.weights
    assert len(set(run.weights)) == 2 and Run.open(run.folder).weights == run.weights
    for part, name in (("weights", "0" * 16), ("data", "other")):
        folder = store.path.parent / part
        foreign = Results(folder)
        for row in rows:
            where = row.provenance | {part: name}
            foreign.add(row.identity, 0.0, {}, row.facts, where)
        foreign = Results(folder)
        with pytest.warns(UserWarning, match="2 rows are of other weights or data"):
            again = measure(run, foreign, FGSM, "linf", [0.1], n=N)
        assert [row["value"] for row in again] == [row["value"] for row in rows]
        assert all("supersedes" in row for row in again)
        assert measure(run, Results(folder), FGSM, "linf", [0.1], n=N) == again
    untrained = run.untrained()
    assert set(untrained.weights).isdisjoint(run.weights)
    measure(untrained, store, FGSM, "linf", [0.1], n=N)  # of another epoch: no warning
    assert set(store.rows) >= {row["cell_id"] for row in rows}


def test_only_the_outcomes_that_are_to_be_kept_are_saved(tmp_path):
    outcomes = {"robust": np.arange(5) > 2, "distance": np.linspace(0, 1, 5)}
    kept = {None: {"robust", "distance"}, ("robust", "absent"): {"robust"}, (): set()}
    rest = outcomes, made_rows.FACTS, made_rows.PROVENANCE
    for number, (keep, names) in enumerate(kept.items()):
        folder = tmp_path / str(number)
        store = Results(folder, keep=keep)
        row = store.add(made_rows.IDENTITY, 0.4, *rest)
        assert read([store.path]) == [row] and row["value"] == 0.4
        assert (folder / "cells").exists() == bool(names)  # no cell of nothing
        if names:
            saved = made_rows.outcomes_of(folder, row)
            assert saved.keys() == names
            for name in names:
                np.testing.assert_array_equal(saved[name], outcomes[name])


@pytest.mark.slow
def test_attacks_order_as_they_must(run, store):
    def values(attack, eps):
        rows = measure(run, store, attack, "linf", eps, n=N)
        return np.array([row["value"] for row in rows])

    clean, fgsm, pgd = values(CLEAN, [0.0]), values(FGSM, [0.1]), values(PGD, [0.1])
    nothing = values(FGSM, [0.0])
    np.testing.assert_array_equal(nothing, clean)
    assert (fgsm <= clean).all() and (pgd <= clean).all()
    assert fgsm.min() < clean.min()
    labels = run.experiment.dataset.test.labels[:N]
    images = run.experiment.dataset.test.images[:N] / np.float32(255)
    for seed, value in enumerate(clean):
        variables = of_seed(run.state.variables, seed)
        logits = run.experiment.model.apply(variables, images)
        assert np.mean(np.argmax(logits, -1) == labels) == pytest.approx(value)


def test_a_sweep_compiles_once(run, store):
    program = attacking._program(FGSM, run.experiment.layout)
    program.clear_cache()
    measure(run, store, FGSM, "linf", [0.01, 0.02, 0.03], n=N)
    assert program._cache_size() == 1
    measure(run, store, FGSM, "l2", [0.5], n=N)
    assert program._cache_size() == 2  # the norm is static


@pytest.mark.slow
def test_padding_the_last_batch_changes_nothing(run, tmp_path):
    first, second = (
        measure(run, Results(tmp_path / str(size)), FGSM, "linf", [0.1], 29, size)
        for size in (30, 17)  # 17: two batches, of which the last is padded
    )
    assert [row["value"] for row in first] == [row["value"] for row in second]


def test_impossible_numbers_of_images_are_errors(run, store):
    with pytest.raises(ValueError, match=r"n=361: expected 0 \(all\) to 360"):
        measure(run, store, CLEAN, "linf", [0.0], n=361)
    with pytest.raises(ValueError, match="batch_size=0"):
        measure(run, store, CLEAN, "linf", [0.0], n=N, batch_size=0)


HOST_DRIVEN = Attack("apgd-t", steps=3, n_target_classes=2)


@pytest.mark.slow
def test_an_attack_from_the_host_keeps_what_became_of_each_image(run, store):
    clean = measure(run, store, CLEAN, "linf", [0.0], n=N)
    rows = measure(run, store, HOST_DRIVEN, "linf", [0.03], n=N)
    dataset = run.experiment.dataset.test
    images, labels = dataset.images[:N] / np.float32(255), dataset.labels[:N]
    for seed, row in enumerate(rows):
        cell = made_rows.outcomes_of(store.path.parent, row)
        assert (row["steps"], row["n_target_classes"]) == (3, 2) and row["in_ball"]
        assert 0 < row["value"] == cell["robust"].mean() < clean[seed]["value"]
        counts = row["broken_by"]
        assert sum(counts.values()) == N and counts["none"] == cell["robust"].sum()
        assert (cell["broken_by"] == "apgd-t").sum() == counts["apgd-t"] > 0
        moved = np.abs(cell["images"] - images).max(axis=(1, 2, 3))
        np.testing.assert_allclose(moved, cell["distance"], atol=1e-6)
        logits = of_seed(run.logits_fns, seed)(cell["images"])
        right = np.asarray(attacks.is_correct(logits, labels))
        np.testing.assert_array_equal(right, cell["robust"])
        assert (cell["queries"][cell["robust"]] == 1 + 2 * (1 + 4)).all()
    assert not list((store.path.parent / "unfinished").glob("*"))


@pytest.mark.slow
def test_a_killed_attack_from_the_host_goes_on_to_the_same_rows(
    run, store, tmp_path, monkeypatch
):
    other = Results(tmp_path / "other")
    expected = measure(run, other, HOST_DRIVEN, "linf", [0.03], n=N, batch_size=10)
    calls = []

    def kill(progress, now):
        calls.append(now)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(attacking, "_report_progress", kill)
        with pytest.raises(KeyboardInterrupt):
            measure(run, store, HOST_DRIVEN, "linf", [0.03], n=N, batch_size=10)
    assert not store.path.exists()
    assert len(list((store.path.parent / "unfinished").rglob("*.npz"))) == 4
    rows = measure(run, store, HOST_DRIVEN, "linf", [0.03], n=N, batch_size=10)
    for row, whole in zip(rows, expected, strict=True):
        for key in ("cell_id", "value", "broken_by", "rejected"):
            assert row[key] == whole[key]
        cells = [made_rows.outcomes_of(x.path.parent, row) for x in (store, other)]
        for name in cells[0]:
            np.testing.assert_array_equal(cells[0][name], cells[1][name], name)


def test_the_command_knows_every_attack_and_others_are_errors():
    assert set(evaluate_flags.ATTACKS) == set(attack_names)
    with pytest.raises(ValueError, match="'magic': expected one of"):
        Attack("magic")


def test_the_newest_run_is_that_with_the_newest_checkpoint(tmp_path):
    with pytest.raises(RunNotFoundError, match="train.py --config configs/quickstart"):
        newest(tmp_path)
    for age, name in ((100, "older"), (10, "newer"), (1, "never trained")):
        folder = tmp_path / name / "checkpoints"
        step = folder / "3" if age > 1 else folder / "tmp"
        step.mkdir(parents=True)
        os.utime(step, (1e9 - age, 1e9 - age))
    assert newest(tmp_path).name == "newer"


def test_a_folder_without_a_run_or_with_other_data_is_an_error(trained, tmp_path):
    with pytest.raises(RunNotFoundError, match="no trained run in"):
        Run.open(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(trained.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["dataset"]["size"] = 17
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="was trained on data with hash"):
        Run.open(folder)


def test_the_state_is_that_of_training_and_the_net_computes_in_float32(run, trained):
    assert run.experiment.model.dtype == jnp.float32
    for a, b in zip(
        jax.tree.leaves(run.state), jax.tree.leaves(trained.state), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_diverged_seeds_are_marked_and_left_out(run, store):
    marked = run.state.replace(diverged_step=jnp.array([7, -1]))
    lost = dataclasses.replace(run, state=marked)
    clean = measure(lost, store, CLEAN, "linf", [0.0], n=N)
    fgsm = measure(lost, store, FGSM, "linf", [0.1], n=N)
    assert [row["diverged"] for row in clean] == [True, False]
    text = printed(table.accuracy(clean, fgsm))
    assert f"{100 * clean[1]['value']:.2f}" in text and "±" not in text
    assert "seeds left out because they diverged: 0" in table.note(clean, fgsm)


def made_up(values, attack="pgd", eps=0.0, **facts):
    """Rows of seeds 0, 1, ... with these values."""
    ball = {"norm": None if attack == "none" else "linf", "eps": eps}
    facts = {"diverged": False, **facts}
    return [
        made_rows.row(value, facts, attack=attack, steps=40, seed=seed, **ball)
        for seed, value in enumerate(values)
    ]


def test_the_table_is_mean_and_deviation_in_percent():
    clean = made_up((0.8, 0.9), "none")
    low, high = made_up((0.5, 0.7), eps=2 / 255), made_up((0.1, 0.1), eps=0.1)
    text = printed(table.accuracy(clean, [*low, *low, *high]))  # the seeds count once
    for part in ("pgd-40", "2/255", "85.00 ± 7.07", "60.00 ± 14.14", "10.00 ± 0.00"):
        assert part in text
    assert text.index("2/255") < text.index("0.1 ")
    near = made_up((0.3, 0.3), eps=0.12341) + made_up((0.5, 0.7), eps=0.12342)
    assert "60.00 ± 14.14" in printed(table.accuracy(clean, near))
    assert "WRONG" not in table.note(clean, low)
    assert "WRONG" in table.note(clean, made_up((0.1,), in_ball=False))


def test_what_broke_the_images_is_added_up_over_seeds():
    broken = [
        {"clean": 3, "none": 5, "apgd-t": 2},
        {"clean": 1, "none": 9},
        {"clean": 7},
    ]
    rows = [
        *(made_up((0.5,), eps=8 / 255, broken_by=each)[0] for each in broken[:2]),
        *made_up((0.5,), eps=8 / 255, broken_by=broken[2], diverged=True),
        *made_up((0.5,)),
    ]
    assert table.broken_by(rows) == ["8/255: 14 robust; broken by clean 4, apgd-t 2"]


def printed(item):
    text = io.StringIO()
    Console(file=text, width=120).print(item)
    return text.getvalue()
