"""The study: its work, done once on tiny runs, and its command line."""

import dataclasses
import io
import json
import shutil
import types

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from study import __main__ as command
from study import nets, plan, run, status
from study.plan import Accuracy, Audit, PlannedRun
from study.results import StudyResults
from study.run import Folders, groups_of, part_of
from study.runs import FULL, TRAININGS, Size
from symjax import attacks, compilation, evaluation
from symjax.attacks import sanity
from symjax.evaluation import protocol, results
from symjax.seeds import of_seed
from symjax.training import loop

BASELINE = "cifar10-10-baseline-published"
KINDS = ("attack", "metric", "audit")
CHECKS = ("logits_not_probabilities", "enough_classes")
TINY = Size(
    name="tiny",
    override={
        "dataset.name": "digits",
        "dataset.size": 8,
        "dataset.train_images": 320,
        "model.depth": 4,
        "model.width": 0.1,
        "model.group": "C4",
        "model.mean": (0.5,),  # digits are grey
        "model.std": (0.5,),
        "epochs": 2,
        "batch_size": 32,
        "optimizer.rate": 0.01,
    },
    seeds=2,
    n=40,
    n_autoattack=8,
    n_audit=24,
    n_tolerance=2,
    n_corrupted=8,
    steps=3,
    radii=2,
    autoattack={"steps": 2, "n_queries": 4, "n_target_classes": 1},
    audit={"only": CHECKS},
    corruptions=("contrast",),
    severities=(1, 5),
)


def few(training, size=None):
    """One measurement of each kind, of the baseline net."""
    seen = set()
    for each in plan._full(training):
        corrupted = getattr(each, "corrupted", False)
        kind = type(each), corrupted, each.protocol, each.attack
        slow = (each.protocol, each.attack) in (("switched", "pgd"),)
        slow |= corrupted and (each.protocol, each.attack) != ("published", "fgsm")
        if kind not in seen and not slow:
            yield each
        seen.add(kind)


def autoattack(nets, images, labels, keys, threat, **asked):
    """In place of AutoAttack, which takes long to compile: breaks every other image."""
    assert asked["n_queries"] == 4 and asked["steps"] == 2
    seeds, shape = len(keys), (len(keys), len(images))
    stands = np.broadcast_to(np.arange(len(images)) % 2 == 0, shape)
    return types.SimpleNamespace(
        images=np.broadcast_to(images, (seeds, *images.shape)),
        robust=stands,
        distance=np.zeros(shape),
        queries=np.ones(shape, int),
        gradients=np.ones(shape, int),
        broken_by=np.where(stands, "", "square"),
        rejected=np.zeros(shape, int),
    )


class WholeEpochs:
    """A pace of one call an epoch."""

    steps = 10**6

    def took(self, steps, seconds):
        pass


class Stop:
    """A clock that is up once it has been asked so many times."""

    def __init__(self, times):
        self.left = times

    def is_up(self):
        self.left -= 1
        return self.left < 0


@dataclasses.dataclass
class Study:
    """Folders; and each time that the work ended, the output and the epsilons."""

    folders: Folders
    stages: list = dataclasses.field(default_factory=list)

    def work(self, **options):
        """Works; returns whether nothing is missing, and the output."""
        output = io.StringIO()
        console = Console(file=output, width=200)
        call = [TRAININGS[BASELINE]], TINY, self.folders
        done = run.run_missing(*call, console=console, **options)
        return done, output.getvalue()

    @property
    def path(self):
        """The file of the rows."""
        return self.folders.results / BASELINE / "results.jsonl"

    @property
    def rows(self):
        """By cell id."""
        return {row["cell_id"]: row for row in results.read([self.path])}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A tiny run of two seeds, one at a time; the work is stopped twice."""
    folder = tmp_path_factory.mktemp("study")
    where = folder / "results" / "tiny", folder / "runs", folder / "nets"
    made = Study(Folders(*where))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanity, "CHECKS", {name: sanity.CHECKS[name] for name in CHECKS})
        patch.setattr(attacks, "autoattack", autoattack)
        patch.setattr(plan, "measurements", few)
        patch.setattr(loop, "Pace", WholeEpochs)
        for times in (1, 5, 1000):
            with patch.context() as clock:
                clock.setattr(run, "Clock", lambda *_, left=times: Stop(left))
                stage = made.work()
                eps = [row.get("eps") for row in made.rows.values()]
                made.stages.append((*stage, eps))
        yield made


@pytest.fixture
def again(study, tmp_path):
    """The same rows in a folder of their own, and the same runs."""
    shutil.copytree(study.folders.results, tmp_path / "results" / "tiny")
    return Study(Folders(tmp_path / "results" / "tiny", study.folders.runs))


def planned():
    return PlannedRun.of(TRAININGS[BASELINE], TINY)


@pytest.mark.slow
def test_rows_are_the_cells_that_were_known_before_training(study):
    known = [
        cell
        for seed in (0, 1)
        for each in few(TRAININGS[BASELINE])
        for cell in planned().cells(each, seed)
    ]
    assert len(known) == len(set(known)) and set(study.rows) == set(known)
    for row in study.rows.values():
        assert row["epoch"] == 2 and row["run"] == BASELINE and not row["diverged"]
        assert row["dataset"] == "digits"


@pytest.mark.slow
def test_rows_have_protocol_and_switches(study):
    rows = list(study.rows.values())
    of_kind = {kind: [x for x in rows if x["kind"] == kind] for kind in KINDS}
    pgd = {x["protocol"]: x for x in of_kind["attack"] if x["attack"] == "pgd"}
    assert pgd["published"]["eps"] == 0.01  # 0.02 of the net's input
    assert pgd["published"]["eps_given"] == "0.02"
    assert pgd["published"]["input_clip"] == [0.0, 1.0]
    assert (pgd["published"]["start"], pgd["published"]["n_restarts"]) == ("image", 1)
    assert (pgd["sound"]["start"], pgd["sound"]["n_restarts"]) == ("uniform", 3)
    switched = [row for row in rows if row["protocol"] == "switched"]
    assert len(switched) == 4  # of FGSM, its epsilon alone as published
    for row in switched:
        assert row["input_clip"] == "valid" and row["keep"] == "best"
        assert row["eps"] in (0.005, 0.015) and row["in_ball"]
    corrupted = [row for row in rows if row["corruption"]]
    assert {(x["corruption"], x["severity"], x["n"]) for x in corrupted} == {
        ("contrast", 1, 8),
        ("contrast", 5, 8),
    }
    assert {x["seed"] for x in of_kind["audit"]} == {0} and len(of_kind["audit"]) == 5
    last = [row for row in of_kind["attack"] if row["attack"] == "autoattack"]
    assert [row["value"] for row in last] == [0.5] * 4
    assert last[0]["broken_by"] == {"none": 4, "square": 4}


@pytest.mark.slow
def test_results_are_those_of_the_rows(study):
    results = StudyResults(study.folders.results.parent, TINY)
    curve = results.curve(BASELINE, "published", "pgd")
    rows = [x for x in study.rows.values() if x.get("attack") == "pgd"]
    rows = [x for x in rows if (x["kind"], x["protocol"]) == ("attack", "published")]
    values = {(x["seed"], x["eps_given"]): 100 * x["value"] for x in rows}
    expected = [[values[seed, eps] for eps in ("0.01", "0.02")] for seed in (0, 1)]
    np.testing.assert_allclose(curve.values, expected)
    assert len(results.rows(BASELINE, Audit("sound"))) == len(CHECKS)


@pytest.mark.slow
def test_attacks_that_move_the_averages_name_what_came_before(again, monkeypatch):
    """The equivariant net's protocol, on a net that is trained already."""
    moved = [Accuracy("published", x, (0.01, 0.02)) for x in ("fgsm", "pgd")]
    monkeypatch.setitem(
        protocol.PUBLISHED, "baseline", protocol.published("equivariant")
    )
    monkeypatch.setattr(plan, "measurements", lambda training, size: moved)
    before = set(again.rows)
    known = [x for y in moved for seed in (0, 1) for x in planned().cells(y, seed)]
    assert again.work()[0] and set(again.rows) == before | set(known)
    rows = [again.rows[cell] for cell in known]
    assert [x["eps_series"] for x in rows] == 4 * [[0.005], [0.005, 0.01]]
    assert [x["attack"] for x in rows] == 4 * ["fgsm"] + 4 * ["pgd"]
    assert all(x["attack_series"] == ["fgsm", "pgd"] for x in rows)
    assert {(x["batch_norm"], x["test_batch"]) for x in rows} == {("moved", 128)}


@pytest.mark.slow
def test_final_weights_are_kept(study):
    """In float32 or float16; they give the rows' accuracy and the run's logits."""
    folder = study.folders.nets
    assert len(list(folder.iterdir())) == 2  # a file per seed
    images = np.random.default_rng(0).uniform(size=(4, 8, 8, 1)).astype(np.float32)
    clean = [x for x in study.rows.values() if x.get("attack") == "none"]
    for seed in (0, 1):
        net = nets.load(folder / f"{BASELINE}-seed-{seed}.safetensors")
        trained = evaluation.Run.open(study.folders.run(TRAININGS[BASELINE], [seed]))
        logits = of_seed(trained.logits_fns, 0)(images)
        assert (net.run, net.seed, net.epoch) == (BASELINE, seed, 2)
        assert net.data == trained.experiment.dataset.sha256 and not net.diverged
        assert net.config.dataset.data_dir == "~/tensorflow_datasets"
        np.testing.assert_allclose(net.logits_fn(images), logits, atol=0.02)
        path = nets.save(trained, 0, folder.parent / "whole", half=False)
        exact = nets.load(path).logits_fn
        np.testing.assert_array_equal(exact(images), logits)
        test = trained.experiment.dataset.test
        found = np.argmax(exact(test.images[:40] / np.float32(255)), axis=1)
        accuracy = float(np.mean(np.asarray(found) == test.labels[:40]))
        rows = [x for x in clean if (x["seed"], x["n"]) == (seed, 40)]
        assert [x["value"] for x in rows] == pytest.approx([accuracy] * len(rows))


@pytest.mark.slow
def test_a_damaged_file_of_weights_is_named(study, tmp_path):
    path = tmp_path / "net.safetensors"
    whole = next(study.folders.nets.iterdir()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="net.safetensors is not a whole safetensors"):
        nets.load(path)
    save_file({"kernel": np.zeros(2, np.float32)}, path)
    with pytest.raises(ValueError, match="net.safetensors has no .*'run'"):
        nets.load(path)


def test_the_hours_that_are_left(monkeypatch):
    """A closed form: 2 seeds of 320 images and 2 epochs, and gradients of one seed."""
    known = status.Speed(training=160.0, gradients=10.0)
    only = [Accuracy("published", "pgd", (0.01, 0.02)), Accuracy("sound", "fgsm")]
    monkeypatch.setattr(plan, "measurements", lambda training, size: only)
    trained, measured = status.hours_left(planned(), (), known)
    assert trained == pytest.approx(2 * 320 * 2 / 160 / 3600)
    assert measured == pytest.approx(2 * (40 * 3 * 2 + 40) / 10 / 3600)
    every = {x for seed in (0, 1) for y in only for x in planned().cells(y, seed)}
    assert status.hours_left(planned(), every, known) == (0, 0)
    assert status.hours_left(planned(), (), None) is None


@pytest.mark.slow
def test_speeds_are_measured_once(study, tmp_path, monkeypatch):
    output = io.StringIO()
    call = [TRAININGS[BASELINE]], TINY, tmp_path, {}, Console(file=output)
    status.measure(*call)
    found = status.speeds(tmp_path)
    assert found.keys() == {BASELINE}
    assert found[BASELINE].training > 0 and found[BASELINE].gradients > 0
    monkeypatch.setattr(status, "train", None)
    status.measure(*call)
    assert status.speeds(tmp_path) == found and "gradients/s" in output.getvalue()


@pytest.mark.slow
def test_cells_keep_what_comparisons_need(study):
    rows, folder = study.rows, study.folders.results / BASELINE / "cells"
    names = set()
    for path in folder.glob("*.npz"):
        row = rows[path.stem]
        with np.load(path) as kept:
            names |= set(kept)
            if "robust" in kept:
                assert kept["robust"].shape == (row["n"],)
                assert kept["robust"].mean() == pytest.approx(row["value"])
    assert names == {"robust", "largest", "clean", "original", "last_held"}
    audits = {x for x, row in rows.items() if row["kind"] == "audit"}
    assert {path.stem for path in folder.glob("*.npz")} == set(rows) - audits


def progress(study):
    results = StudyResults(study.folders.results.parent, TINY)
    return status.progress(TRAININGS[BASELINE], results)


@pytest.mark.slow
def test_nothing_is_missing_and_nothing_is_measured_twice(study, monkeypatch):
    assert not any(planned().missing(seed, study.rows) for seed in (0, 1))
    now = progress(study)
    assert now.complete and now.seeds == 2
    assert now.rows == now.needed == len(study.rows)
    monkeypatch.setattr(run, "train", None)
    before = study.rows
    assert study.work() == (True, "")
    assert study.rows == before


@pytest.mark.slow
def test_missing_rows_are_measured_and_no_others(again):
    """All rows of seed 1 and one of seed 0 are removed."""
    before, lines = again.rows, again.path.read_text().splitlines()
    parsed = [json.loads(line) for line in lines]
    lost = [x["cell_id"] for x in parsed if x["identity"]["seed"] == 1]
    lost.append(next(x["cell_id"] for x in parsed if x["cell_id"] not in lost))
    kept = [line for line in lines if not any(cell in line for cell in lost)]
    again.path.write_text("".join(f"{line}\n" for line in kept))
    whole = [x for x in few(TRAININGS[BASELINE]) if not isinstance(x, Audit)]
    assert len(planned().missing(0, again.rows)) == 1
    assert planned().missing(1, again.rows) == whole
    now = progress(again)
    assert (now.seeds, now.rows, now.complete) == (0, len(kept), False)
    done, output = again.work()
    assert done and "seeds 1 to 1" in output and "epoch 1:" not in output
    assert again.path.read_text().splitlines()[: len(kept)] == kept
    values = {cell: row["value"] for cell, row in before.items()}
    assert {cell: row["value"] for cell, row in again.rows.items()} == values


@pytest.mark.slow
def test_a_measurement_that_fails_does_not_stop_the_others(again, monkeypatch):
    """All other rows are written, and the failure is raised at the end."""
    only = [Audit("sound"), Accuracy("sound", "none")]
    monkeypatch.setattr(plan, "measurements", lambda *_: only)
    monkeypatch.setattr(Audit, "measure", lambda *_: 1 / 0)
    again.path.unlink()
    with pytest.raises(ValueError, match="1 measurement failed.*audit, .*ZeroDivision"):
        again.work()
    assert [row["kind"] for row in again.rows.values()] == 2 * ["attack"]


@pytest.mark.slow
def test_without_time_nothing_starts(study, tmp_path):
    empty = Study(Folders(tmp_path / "results", tmp_path / "runs"))
    done, output = empty.work(minutes=0)
    assert not done and "the time is up" in output and "epoch" not in output
    assert not list(tmp_path.rglob("*.jsonl")) and not (tmp_path / "runs").exists()
    assert study.work(minutes=0)[0]  # nothing is left to start


@pytest.mark.slow
def test_an_interrupted_run_goes_on(study):
    """After one of two epochs, then after one epsilon, then to the end."""
    (done, output, eps), second, last = study.stages
    assert not done and "epoch 1:" in output and "epoch 2:" not in output and not eps
    done, output, eps = second
    assert not done and "resuming after epoch 1 of 2" in output and "epoch 2:" in output
    assert eps == [0.0, 0.005]  # without an attack, then one radius of FGSM
    done, output, eps = last
    assert done and "seeds 0 to 0" in output and "seeds 1 to 1" in output
    assert len(eps) == len(study.rows)
    assert "the time is up" not in output


@pytest.mark.slow
def test_a_seed_that_diverged_has_all_its_rows(again, monkeypatch):
    """As it would among others: the number of epochs is that of the whole training."""
    open_run = evaluation.Run.open

    def diverged(folder):
        trained = open_run(folder)
        state = trained.state.replace(diverged_step=np.zeros(1, np.int32))
        return dataclasses.replace(trained, state=state, epoch=1)

    monkeypatch.setattr(run.evaluation.Run, "open", diverged)
    clean = [each for each in few(TRAININGS[BASELINE]) if each.attack == "none"]
    every = [*clean, Audit("sound")]
    monkeypatch.setattr(plan, "measurements", lambda *_: every)
    again.path.unlink()
    assert again.work()[0]
    rows = again.rows.values()
    assert len(rows) == 2 * (2 + 2) + 2
    assert all(row["diverged"] and row["epoch"] == 2 for row in rows)
    kinds = sorted(row["kind"] for row in rows if row["value"] is None)
    assert kinds == 2 * ["audit"] + 4 * ["metric"]


@pytest.mark.slow
def test_a_run_of_another_process_is_left_out(again):
    with again.folders.lock(TRAININGS[BASELINE]) as is_free:
        assert is_free
        again.path.unlink()
        done, output = again.work()
    assert not done and "another process works on it" in output
    assert not again.path.exists()


@pytest.mark.slow
def test_nets_trained_in_another_precision_are_not_mixed(again):
    text = again.path.read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["provenance"]["trained_in"] for row in rows} == {"float32"}
    lines = text.replace('"trained_in": "float32"', '"trained_in": "bfloat16"')
    again.path.write_text("".join(lines.splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="trained in bfloat16, and these are .*32"):
        again.work()


def test_seeds_are_grouped():
    assert groups_of([0, 1, 2, 3, 4], 5) == [[0, 1, 2, 3, 4]]
    assert groups_of([0, 1, 2, 3, 4], 2) == [[0, 1], [2, 3], [4]]
    assert groups_of([0, 2, 3], 5) == [[0], [2, 3]]
    assert groups_of([], 5) == []


def test_seeds_that_were_started_together_stay_together(tmp_path):
    folders = Folders(tmp_path / "results", tmp_path / "runs")
    for seeds in ([3, 4], [0, 1, 2]):
        folder = folders.run(TRAININGS[BASELINE], seeds)
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
    started = folders.started(TRAININGS[BASELINE])
    assert started == [[0, 1, 2], [3, 4]]
    assert groups_of([0, 4], 5, started) == [[0, 1, 2], [3, 4]]
    assert groups_of([2, 3, 4], 5, started[:1]) == [[0, 1, 2], [3, 4]]
    assert folders.started(TRAININGS["cifar10-4-baseline-published"]) == []


def test_parts_are_a_partition():
    every = list(FULL.trainings.values())
    assert part_of(FULL, "") == every and part_of(FULL, "1/1") == every
    parts = [part_of(FULL, f"{index}/3") for index in (1, 2, 3)]
    names = [training.name for part in parts for training in part]
    assert sorted(names) == sorted(FULL.trainings) and len(names) == 44


@pytest.mark.parametrize("only", ["0/3", "4/3", "2", "a/b", "1/0", "-1/3", "1/2/3"])
def test_other_parts_are_refused(only):
    with pytest.raises(ValueError, match="expected i/n, i from 1 to n"):
        part_of(FULL, only)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """`call("list", ...)`: what the command prints."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(compilation, "keep_programs", lambda folder: None)

    def main(*arguments):
        command.main(["--results", str(tmp_path), *arguments])
        return capsys.readouterr().out

    return main


def test_list_prints_every_run_and_how_it_is_trained(call):
    output = call("list", "--commands")
    assert all(name in output for name in FULL.trainings)
    assert "44 of 44 runs have cells without a row" in output
    assert output.count("python train.py --config configs/") == 44
    some = call("list", "--size", "smoke", "--only", "2/44")
    assert "1 of 1 runs" in some and "cifar10-10-parallel_rot-published" in some


@pytest.mark.slow
def test_list_counts_rows(study, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(command.SIZES, "smoke", TINY)
    only = property(lambda size: {BASELINE: TRAININGS[BASELINE]})
    monkeypatch.setattr(Size, "trainings", only)
    folder = study.folders.results.parent
    command.main(["--results", str(folder), "list", "--size", "smoke"])
    output, rows = capsys.readouterr().out, len(study.rows)
    assert f"{rows}/{rows}" in output and "2/2" in output and "0 of 1 runs" in output


def test_an_error_is_one_line(call, capsys):
    with pytest.raises(SystemExit) as raised:
        call("run", "--only", "9/2")
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --only='9/2': expected i/n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("trial", [[], ["--trial"]])
def test_run_without_time_measures_nothing(call, tmp_path, monkeypatch, trial):
    sizes = []
    monkeypatch.setattr(
        command, "run_missing", lambda _, size, *rest, stop: sizes.append(size)
    )
    call("run", *trial, "--minutes", "0", "--runs", str(tmp_path / "runs"))
    assert sizes == [FULL.trial() if trial else FULL]
    assert not list(tmp_path.rglob("*.jsonl"))
