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

from symjax import attacks, compilation, evaluation
from symjax.attacks import sanity
from symjax.evaluation import protocol, results
from symjax.evaluation.rows import cell_id
from symjax.seeds import of_seed
from symjax.study import __main__ as command
from symjax.study import listing, measurements, nets
from symjax.study import speed as speeds
from symjax.study import work as works
from symjax.study.measurements import Accuracy, Audit, Corrupted, PlannedRun
from symjax.study.size import FULL, Size
from symjax.study.trainings import TRAININGS
from symjax.study.work import Folders
from symjax.training import loop

BASELINE = "cifar10-10-baseline-published"
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
    for each in measurements.of_training(training, TINY):
        says = type(each), each.protocol, each.attack, getattr(each, "metric", "")
        dear = ("switched", "pgd"), ("published", "pgd")
        if says[1:3] == dear[0] or (says[0] is Corrupted and says[1:3] == dear[1]):
            continue
        if says not in seen and says[:2] != (Corrupted, "sound"):
            yield each
        seen.add(says)


def autoattack(nets, images, labels, keys, threat, **asked):
    """In place of AutoAttack, which takes long to compile: breaks every other image."""
    assert asked["queries"] == 4 and asked["steps"] == 2
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
    """Folders, and what was said, and there, each time that work ended."""

    folders: Folders
    stages: list = dataclasses.field(default_factory=list)

    def work(self, **options):
        """Works, and gives whether all is done, and what was said."""
        said = io.StringIO()
        console = Console(file=said, width=200)
        call = [TRAININGS[BASELINE]], TINY, self.folders
        done = works.work(*call, console=console, **options)
        return done, said.getvalue()

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
        for module in (works, listing):
            patch.setattr(module, "of_training", few)
        patch.setattr(loop, "Pace", WholeEpochs)
        for times in (1, 5, 1000):
            with patch.context() as clock:
                clock.setattr(works, "Clock", lambda *_, left=times: Stop(left))
                stage = made.work()
                eps = [row["eps"] for row in made.rows.values()]
                made.stages.append((*stage, eps))
        yield made


@pytest.fixture
def again(study, tmp_path):
    """The same rows in a folder of their own, and the same runs."""
    shutil.copytree(study.folders.results, tmp_path / "results" / "tiny")
    return Study(Folders(tmp_path / "results" / "tiny", study.folders.runs))


def subject_of(name, size=TINY):
    return PlannedRun.of(TRAININGS[name], size)


@pytest.mark.slow
def test_rows_are_the_cells_that_were_known_before_training(study):
    known = [
        cell_id(cell)
        for seed in (0, 1)
        for each in few(TRAININGS[BASELINE])
        for cell in each.identities(subject_of(BASELINE), seed)
    ]
    assert len(known) == len(set(known)) and set(study.rows) == set(known)
    for row in study.rows.values():
        assert row["epoch"] == 2 and row["run"] == BASELINE and not row["diverged"]
        assert row["dataset"] == "digits"


@pytest.mark.slow
def test_rows_say_protocol_and_switches(study):
    rows = list(study.rows.values())
    pgd = {x["protocol"]: x for x in rows if x["attack"] == "pgd"}
    assert pgd["published"]["eps"] == 0.01  # 0.02 of what the net is fed
    assert pgd["published"]["input_clip"] == [0.0, 1.0]
    assert (pgd["published"]["start"], pgd["published"]["n_restarts"]) == ("image", 1)
    assert (pgd["sound"]["start"], pgd["sound"]["n_restarts"]) == ("uniform", 3)
    switched = [row for row in rows if row["protocol"] == "switched"]
    assert len(switched) == 4  # of FGSM, its epsilon alone as published
    for row in switched:
        assert row["input_clip"] == "valid" and row["keep"] == "best"
        assert row["eps"] in (0.005, 0.015) and row["in_ball"]
    corrupted = [row for row in rows if row["corruption"]]
    assert {(x["corruption"], x["severity"]) for x in corrupted} == {
        ("contrast", 1),
        ("contrast", 5),
    }
    assert {row["n"] for row in corrupted} == {8}
    audits = [row for row in rows if row["metric"].startswith("audit")]
    assert {row["seed"] for row in audits} == {0} and len(audits) == 5
    last = [row for row in rows if row["attack"] == "autoattack"]
    assert [row["value"] for row in last] == [0.5] * 4
    assert last[0]["broken_by"] == {"none": 4, "square": 4}


@pytest.mark.slow
def test_attacks_that_move_the_averages_say_what_came_before(again, monkeypatch):
    """The equivariant net's protocol, on a net that is trained already."""
    moved = [Accuracy("published", x, (0.01, 0.02)) for x in ("fgsm", "pgd")]
    monkeypatch.setitem(
        protocol.PUBLISHED, "baseline", protocol.published("equivariant")
    )
    monkeypatch.setattr(works, "of_training", lambda training, size: moved)
    before = set(again.rows)
    known = [
        cell_id(cell)
        for each in moved
        for seed in (0, 1)
        for cell in each.identities(subject_of(BASELINE), seed)
    ]
    assert again.work()[0] and set(again.rows) == before | set(known)
    rows = [again.rows[cell] for cell in known]
    assert [x["eps_series"] for x in rows] == 4 * [[0.005], [0.005, 0.01]]
    assert [x["attack"] for x in rows] == 4 * ["fgsm"] + 4 * ["pgd"]
    assert all(x["attack_series"] == ["fgsm", "pgd"] for x in rows)
    assert {(x["batch_norm"], x["test_batch"]) for x in rows} == {("moved", 128)}


@pytest.mark.slow
def test_final_weights_are_kept(study):
    """In float32 or float16; they give the logits of the run that was measured."""
    folder = study.folders.nets
    assert len(list(folder.iterdir())) == 2  # a file per seed
    images = np.random.default_rng(0).uniform(size=(4, 8, 8, 1)).astype(np.float32)
    for seed in (0, 1):
        net = nets.load(folder / f"{BASELINE}-seed-{seed}.safetensors")
        run = evaluation.Run.open(study.folders.run(TRAININGS[BASELINE], [seed]))
        logits = of_seed(run.logits_fns, 0)(images)
        assert (net.run, net.seed, net.epoch) == (BASELINE, seed, 2)
        assert net.data == run.experiment.dataset.sha256 and not net.diverged
        assert net.config.dataset.data_dir == "~/tensorflow_datasets"
        np.testing.assert_allclose(net.logits_fn(images), logits, atol=0.02)
        path = nets.save(run, 0, folder.parent / "whole", half=False)
        np.testing.assert_array_equal(nets.load(path).logits_fn(images), logits)


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


@pytest.mark.slow
def test_the_hours_that_are_left(study, tmp_path):
    """A closed form: 2 seeds of 320 images and 2 epochs, and gradients of one seed."""
    training = TRAININGS[BASELINE]
    speed = speeds.Speed(training=160.0, gradients=10.0)
    store = study.folders.store(training, write=False)
    assert speeds.hours_left(training, TINY, store, speed) == (0, 0)
    assert speeds.hours_left(training, TINY, store, None) is None
    empty = Folders(tmp_path, tmp_path).store(training)
    only = [Accuracy("published", "pgd", (0.01, 0.02)), Accuracy("sound", "fgsm")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(works, "of_training", lambda training, size: only)
        trained, measured = speeds.hours_left(training, TINY, empty, speed)
    assert trained == pytest.approx(2 * 320 * 2 / 160 / 3600)
    assert measured == pytest.approx(2 * (40 * 3 * 2 + 40) / 10 / 3600)


@pytest.mark.slow
def test_speeds_are_measured_once(study, tmp_path, monkeypatch):
    said = io.StringIO()
    call = [TRAININGS[BASELINE]], TINY, tmp_path, {}, Console(file=said)
    speeds.measure(*call)
    found = speeds.speeds(tmp_path)
    assert found.keys() == {BASELINE}
    assert found[BASELINE].training > 0 and found[BASELINE].gradients > 0
    monkeypatch.setattr(speeds, "train", None)
    speeds.measure(*call)
    assert speeds.speeds(tmp_path) == found and "gradients/s" in said.getvalue()


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
    audits = {x for x, row in rows.items() if row["metric"].startswith("audit")}
    assert {path.stem for path in folder.glob("*.npz")} == set(rows) - audits


@pytest.mark.slow
def test_nothing_is_missing_and_nothing_is_measured_twice(study, monkeypatch):
    training, store = TRAININGS[BASELINE], study.folders.store(TRAININGS[BASELINE])
    subject = subject_of(BASELINE)
    assert [works.missing(subject, store, seed) for seed in (0, 1)] == [[], []]
    now = listing.progress(training, TINY, study.folders.results.parent)
    assert now.complete and now.seeds == 2
    assert now.rows == now.needed == len(study.rows)
    monkeypatch.setattr(works, "train", None)
    before = study.rows
    assert study.work() == (True, "")
    assert study.rows == before


@pytest.mark.slow
def test_a_seed_whose_rows_are_gone_is_measured_again_alone(again):
    before = again.rows
    kept = [
        x for x in again.path.read_text().splitlines() if json.loads(x)["seed"] == 0
    ]
    again.path.write_text("".join(f"{line}\n" for line in kept))
    training = TRAININGS[BASELINE]
    subject, store = PlannedRun.of(training, TINY), again.folders.store(training)
    whole = [x for x in few(training) if not isinstance(x, Audit)]
    missing = [works.missing(subject, store, seed) for seed in (0, 1)]
    assert missing == [[], whole]
    now = listing.progress(training, TINY, again.folders.results.parent)
    assert (now.seeds, now.rows, now.complete) == (1, len(kept), False)
    done, said = again.work()
    assert done and "seeds 1 to 1" in said and "seeds 0" not in said
    assert "epoch 1:" not in said  # trained already
    after = again.rows
    values = {cell: row["value"] for cell, row in before.items()}
    assert {cell: row["value"] for cell, row in after.items()} == values


@pytest.mark.slow
def test_one_missing_cell_is_measured_and_no_other(again):
    lines = again.path.read_text().splitlines()
    gone = next(
        x for x in map(json.loads, lines) if (x["attack"], x["seed"]) == ("fgsm", 1)
    )
    again.path.write_text("".join(f"{x}\n" for x in lines if gone["cell_id"] not in x))
    assert again.work()[0]
    assert again.path.read_text().splitlines()[:-1] == [
        x for x in lines if gone["cell_id"] not in x
    ]
    assert again.rows[gone["cell_id"]]["value"] == gone["value"]


@pytest.mark.slow
def test_a_measurement_that_fails_does_not_stop_the_others(again, monkeypatch):
    """All other rows are written, and the failure is raised at the end."""
    clean = Accuracy("sound", "none")
    monkeypatch.setattr(works, "of_training", lambda *_: [Audit("sound"), clean])
    monkeypatch.setattr(Audit, "take", lambda *_: 1 / 0)
    again.path.unlink()
    with pytest.raises(ValueError, match="1 measurement failed.*audit, .*ZeroDivision"):
        again.work()
    assert [row["metric"] for row in again.rows.values()] == 2 * ["accuracy"]


@pytest.mark.slow
def test_a_clock_that_is_up_begins_nothing(study, tmp_path):
    empty = Study(Folders(tmp_path / "results", tmp_path / "runs"))
    done, said = empty.work(minutes=0)
    assert not done and "the time is up" in said and "epoch" not in said
    assert not list(tmp_path.rglob("*.jsonl")) and not (tmp_path / "runs").exists()
    assert study.work(minutes=0)[0]  # nothing is left to begin


@pytest.mark.slow
def test_what_was_stopped_goes_on(study):
    """After one of two epochs, then after one epsilon, then to the end."""
    (done, said, eps), second, last = study.stages
    assert not done and "epoch 1:" in said and "epoch 2:" not in said and not eps
    done, said, eps = second
    assert not done and "resuming after epoch 1 of 2" in said and "epoch 2:" in said
    assert eps == [0.0, 0.005]  # without an attack, then one radius of FGSM
    done, said, eps = last
    assert done and "seeds 0 to 0" in said and "seeds 1 to 1" in said
    assert len(eps) == len(study.rows)
    assert "the time is up" not in said


@pytest.mark.slow
def test_a_seed_that_diverged_alone_has_all_its_rows(again, monkeypatch):
    """As it would among others: the number of epochs is the whole one."""
    open_run = evaluation.Run.open

    def diverged(folder):
        run = open_run(folder)
        state = run.state.replace(diverged_step=np.zeros(1, np.int32))
        return dataclasses.replace(run, state=state, epoch=1)

    monkeypatch.setattr(works.evaluation.Run, "open", diverged)
    monkeypatch.setattr(
        works,
        "of_training",
        lambda x, size: [
            *(each for each in few(x) if each.attack == "none"),
            Audit("sound"),
        ],
    )
    again.path.unlink()
    assert again.work()[0]
    rows = again.rows.values()
    assert len(rows) == 2 * (2 + 2) + 2
    assert all(row["diverged"] and row["epoch"] == 2 for row in rows)
    nothing = [row["metric"] for row in rows if row["value"] is None]
    assert len(nothing) == 2 * 2 + 2  # tolerances and the audit


def test_seeds_that_follow_one_another_go_together():
    assert works._groups([0, 1, 2, 3, 4], 5) == [[0, 1, 2, 3, 4]]
    assert works._groups([0, 1, 2, 3, 4], 2) == [[0, 1], [2, 3], [4]]
    assert works._groups([0, 2, 3], 5) == [[0], [2, 3]]
    assert works._groups([], 5) == []


def test_parts_are_a_partition():
    every = list(FULL.trainings.values())
    assert works.share(FULL, "") == every and works.share(FULL, "1/1") == every
    parts = [works.share(FULL, f"{index}/3") for index in (1, 2, 3)]
    names = [training.name for part in parts for training in part]
    assert sorted(names) == sorted(FULL.trainings) and len(names) == 44


@pytest.mark.parametrize("only", ["0/3", "4/3", "2", "a/b", "1/0", "-1/3", "1/2/3"])
def test_other_parts_are_refused(only):
    with pytest.raises(ValueError, match="expected i/n, i from 1 to n"):
        works.share(FULL, only)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """`call("list", ...)`: what the command prints."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(compilation, "keep_programs", lambda folder: None)

    def run(*arguments):
        command.main(["--results", str(tmp_path), *arguments])
        return capsys.readouterr().out

    return run


def test_list_prints_every_run_and_how_it_is_made(call):
    said = call("list", "--commands")
    assert all(name in said for name in FULL.trainings)
    assert "44 of 44 runs have cells without a row" in said
    assert said.count("python train.py --config configs/") == 44
    some = call("list", "--size", "smoke", "--only", "2/44")
    assert "1 of 1 runs" in some and "cifar10-10-parallel_rot-published" in some


@pytest.mark.slow
def test_list_counts_what_is_there(study, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(command.SIZES, "smoke", TINY)
    folder = study.folders.results.parent
    monkeypatch.setattr(
        Size, "trainings", property(lambda size: {BASELINE: TRAININGS[BASELINE]})
    )
    command.main(["--results", str(folder), "list", "--size", "smoke"])
    said = capsys.readouterr().out
    rows = len(study.rows)
    assert f"{rows}/{rows}" in said and "2/2" in said and "0 of 1 runs" in said


def test_an_error_is_one_line(call, capsys):
    with pytest.raises(SystemExit) as raised:
        call("run", "--only", "9/2")
    assert raised.value.code == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("error: --only='9/2': expected i/n") and said.count("\n") == 1
    )


def test_without_time_nothing_is_done(call, tmp_path):
    said = call("run", "--minutes", "0", "--runs", str(tmp_path / "runs"))
    assert "the time is up; the same command goes on from here." in said
    assert not list(tmp_path.rglob("*.jsonl"))


def test_seeds_that_were_begun_together_stay_together(tmp_path):
    folders = Folders(tmp_path / "results", tmp_path / "runs")
    for seeds in ([3, 4], [0, 1, 2]):
        folder = folders.run(TRAININGS[BASELINE], seeds)
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
    begun = folders.begun(TRAININGS[BASELINE])
    assert begun == [[0, 1, 2], [3, 4]]
    assert works._plan([0, 4], 5, begun) == [[0, 1, 2], [3, 4]]
    assert works._plan([0, 1, 2, 3, 4], 1, []) == [[0], [1], [2], [3], [4]]
    assert works._plan([2, 3, 4], 5, begun[:1]) == [[0, 1, 2], [3, 4]]
    assert folders.begun(TRAININGS["cifar10-4-baseline-published"]) == []


@pytest.mark.slow
def test_a_run_that_another_process_is_at_is_left_to_it(again):
    with again.folders.alone(TRAININGS[BASELINE]) as mine:
        assert mine
        shutil.rmtree(again.folders.results / BASELINE / "cells")
        (again.folders.results / BASELINE / "results.jsonl").unlink()
        done, said = again.work()
    assert not done and "another process is at it" in said
    assert not (again.folders.results / BASELINE / "results.jsonl").exists()


@pytest.mark.slow
def test_nets_trained_in_another_precision_are_not_mixed(again):
    path = again.folders.results / BASELINE / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["trained_in"] for row in rows} == {"float32"}
    lines = [json.dumps(row | {"trained_in": "bfloat16"}) for row in rows[:-1]]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="trained in bfloat16, and these are .*32"):
        again.work()
