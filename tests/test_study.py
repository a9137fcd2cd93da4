"""The study: the paper's numbers, the runs, what is measured of them, and the work."""

import dataclasses
import io
import json
import shlex
import shutil
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags
from rich.console import Console

from symjax import attacks, compilation, evaluation, models
from symjax.attacks import sanity
from symjax.evaluation import results
from symjax.evaluation.results import cell_id
from symjax.study import __main__ as command
from symjax.study import listing, measurements, published
from symjax.study import work as works
from symjax.study.measurements import Accuracy, Audit, Corrupted, Subject, Tolerance
from symjax.study.size import SMALL, WHOLE, Size
from symjax.study.trainings import CONTROLLED, PUBLISHED, SWITCHED, TRAININGS
from symjax.study.work import Folders
from symjax.training import experiment as experiments

ROOT = Path(__file__).parents[1]
BASELINE, EQUIVARIANT = (
    f"cifar10-10-{net}-reference" for net in ("baseline", "equivariant")
)
CHECKS = ("logits, not probabilities", "enough classes for the DLR loss")
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
    autoattack={"steps": 2, "queries": 4, "target_classes": 1},
    audit={"only": CHECKS},
    corruptions=("contrast",),
    severities=(1, 5),
)
MOVED = Accuracy("reference", "fgsm", (0.01, 0.02))  # of the equivariant net


def few(training):
    """One measurement of each kind, of the two nets that are trained here."""
    if training.name == EQUIVARIANT:
        yield MOVED
        return
    seen = set()
    for each in measurements.of_training(training):
        says = type(each), each.protocol, each.attack, getattr(each, "metric", "")
        dear = ("switched", "pgd"), ("reference", "pgd")
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


@dataclasses.dataclass
class Study:
    """Folders, and what was said while they were filled."""

    folders: Folders
    log: str = ""

    def work(self, names=(BASELINE, EQUIVARIANT), size=TINY, **options):
        """Works, and gives whether all is done, and what was said."""
        said = io.StringIO()
        trainings = [TRAININGS[name] for name in names]
        done = works.work(
            trainings, size, self.folders, console=Console(file=said, width=200),
            **options,
        )  # fmt: skip
        return done, said.getvalue()

    def rows(self, name):
        """Of a run, by cell id."""
        path = self.folders.results / name / "results.jsonl"
        return {row["cell_id"]: row for row in results.read([path])}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two tiny runs of two seeds each, trained and measured one seed at a time."""
    folder = tmp_path_factory.mktemp("study")
    made = Study(Folders(folder / "results" / "tiny", folder / "runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanity, "CHECKS", {name: sanity.CHECKS[name] for name in CHECKS})
        patch.setattr(attacks, "autoattack", autoattack)
        for module in (works, listing):
            patch.setattr(module, "of_training", few)
        done, made.log = made.work(together=1)
        assert done
        yield made


@pytest.fixture
def again(study, tmp_path):
    """The same rows in a folder of their own, and the same runs."""
    shutil.copytree(study.folders.results, tmp_path / "results" / "tiny")
    return Study(Folders(tmp_path / "results" / "tiny", study.folders.runs))


def cells_of(name, seed, size=TINY):
    subject = Subject.of(TRAININGS[name], size)
    return [x for each in few(TRAININGS[name]) for x in each.identities(subject, seed)]


def published_at(name, attack, eps, corruption=None):
    return {
        (cell.artefact, cell.percent)
        for cell in published.cells()
        if (cell.training, cell.eps, cell.corruption) == (name, eps, corruption)
        and attack in cell.attack
    }


def test_the_paper_has_so_many_numbers():
    assert Counter(cell.artefact for cell in published.cells()) == {
        "figure 1": 300,  # 2 data sets, 5 nets, 2 attacks, 15 radii
        "figure 2": 300,
        "table 1": 380,  # 19 corruptions, 5 nets, 4 radii
        "table 2": 16,
        "table 3": 16,
        "table 4": 20,
        "figure 6": 32,
    }
    assert all(
        cell.percent is None or 0 <= cell.percent <= 100 for cell in published.cells()
    )
    exact = [x for x in published.cells() if x.artefact not in ("figure 1", "figure 2")]
    assert all(cell.percent is not None for cell in exact)


def test_numbers_stand_as_printed():
    assert ("table 2", 60.23) in published_at(EQUIVARIANT, "fgsm", 0.05)
    assert ("table 2", 37.80) in published_at(EQUIVARIANT, "pgd", 0.05)
    assert published_at(f"{BASELINE}-pgd", "fgsm", 0.01) == {("table 4", 74.5)}
    for attack in ("fgsm", "pgd"):
        found = published_at(BASELINE, attack, 0.01, "brightness")
        assert found == {("table 1", 14.79)}
    of_rs = published_at("cifar100-10-parallel_rs-reference", "pgd", 0.01)
    assert ("figure 6", 29.62) in of_rs


def test_every_number_is_of_a_cell_that_is_measured():
    measured = {
        name: list(measurements.of_training(x)) for name, x in TRAININGS.items()
    }
    for cell in published.cells():
        kind = Corrupted if cell.corruption else Accuracy
        for attack in cell.attack.split(" or "):
            radii = [
                each.eps
                for each in measured[cell.training]
                if type(each) is kind
                and (each.protocol, each.attack) == ("reference", attack)
            ]
            assert len(radii) == 1 and cell.eps in radii[0], cell


def test_tables_that_share_numbers_agree():
    tables = {
        wanted: {
            (cell.attack, cell.eps): cell.percent
            for cell in published.cells()
            if (cell.artefact, cell.training) == (wanted, EQUIVARIANT)
        }
        for wanted in ("table 2", "table 4")
    }
    shared = tables["table 2"].keys() & tables["table 4"].keys()
    assert shared == {(x, eps) for x in ("fgsm", "pgd") for eps in (0.01, 0.03, 0.05)}
    for key in shared:
        assert tables["table 2"][key] == pytest.approx(
            tables["table 4"][key], abs=0.051
        )


def parsed(arguments):
    """The configuration that train.py makes of its flags."""
    values = flags.FlagValues()
    argv = [arguments[0], *arguments[1:]]
    found = config_flags.DEFINE_config_file(
        "config", None, "", flag_values=values, sys_argv=argv
    )
    values(argv)
    return found.value


@pytest.mark.parametrize("size", [WHOLE, SMALL], ids=lambda size: size.name)
def test_a_command_gives_the_configuration(size, monkeypatch):
    monkeypatch.chdir(ROOT)
    for training in TRAININGS.values():
        changes = size.changes(training)
        config = training.config(changes)
        assert config.is_locked and config.name == training.name
        with pytest.raises(AttributeError, match="epochs"):
            config.epoch = 3
        python, *arguments = shlex.split(training.command(changes))
        assert (python, arguments[0]) == ("python", "train.py")
        found = parsed(arguments)
        found.name = training.name  # a command's run has that of its folder
        assert experiments.digest(found) == experiments.digest(config), training.name


def test_a_key_that_is_not_there_is_an_error():
    with pytest.raises((KeyError, AttributeError), match="optimizer.rat"):
        TRAININGS[BASELINE].config({"optimizer.rat": 1.0})


def test_published_nets_are_trained_as_published():
    found = [x for x in TRAININGS.values() if x.kind == PUBLISHED]
    assert len(found) == 26
    for training in found:
        config = training.config()
        net = config.model.name
        assert config.model.trunk == "reference" and config.seeds == 5
        assert config.optimizer.rate == 1e-3 and not config.dataset.augment
        alone = net == "equivariant"
        assert (config.epochs, config.batch_size) == ((50, 64) if alone else (200, 128))
        step = net in ("cascaded", "parallel_rot", "weighted")
        assert config.optimizer.schedule == ("step" if step else "constant")
        adversarial = training.name.endswith("-pgd")
        mode = "pgd" if adversarial else "clean"
        if net == "parallel_rot":
            mode = "fgsm_augmented"
            assert config.training.eps_pixels == 0.005
            assert tuple(config.training.bounds) == (0.5, 1.0)
        assert config.training.mode == mode
        says = Subject.of(training, WHOLE).says
        turned = net in ("parallel_rs", "equivariant")
        assert says["group"] == ("C8" if turned else "C4")
    c4 = [x for x in TRAININGS.values() if x.name.endswith("reference-c4")]
    assert [Subject.of(x, WHOLE).says["group"] for x in c4] == ["C4", "C4"]


def flat(config):
    pairs = json.loads(experiments.to_json(config)).items()
    nested = {k: v for k, v in pairs if isinstance(v, dict)}
    plain = {k: v for k, v in pairs if k not in nested}
    return plain | {f"{k}.{x}": y for k, v in nested.items() for x, y in v.items()}


def differing(one, other):
    mine, theirs = flat(one.config()), flat(other.config())
    assert mine.keys() == theirs.keys()
    return {key for key in mine if mine[key] != theirs[key]} - {"name"}


def test_a_switched_training_differs_from_the_published_one_by_its_switch():
    changed = {
        "clean": {"training.mode"},
        "fgsm": {"training.mode", "training.eps_pixels", "training.bounds"},
        "c4": {"model.group"},
        "invariant": {"model.readout"},
        "longer": {"epochs", "batch_size"},
        "constant": {"optimizer.schedule"},
    }
    found = [x for x in TRAININGS.values() if x.kind == SWITCHED]
    assert len(found) == 8
    for training in found:
        name, _, switch = training.name.rpartition("-")
        assert differing(training, TRAININGS[name]) == changed[switch]


def test_matched_nets_are_as_large_and_trained_alike():
    found = [x for x in TRAININGS.values() if x.kind == CONTROLLED]
    base, *others = found
    assert base.name == "cifar10-10-baseline-matched" and len(others) == 9
    changed = {
        "fgsm": {"training.mode", "training.eps_pixels", "training.bounds"},
        "turned": {"dataset.quarter_turns"},
        "flatten": {"model.readout", "model.name"},
    }
    sizes = {}
    for training in found:
        last = training.name.rpartition("-")[2]
        wanted = changed.get(last, {"model.name"} if training != base else set())
        assert differing(training, base) == wanted
        model = experiments.model(training.config(), 10)
        sizes[training.name] = models.parameter_count(model, (32, 32, 3))
    ratios = np.array(list(sizes.values())) / sizes[base.name]
    assert np.abs(ratios - 1).max() < 0.05, sizes
    config = base.config()
    assert (config.epochs, config.batch_size, config.model.trunk) == (
        200,
        128,
        "matched",
    )


def test_no_two_cells_of_the_study_are_one():
    found = []
    for training in TRAININGS.values():
        subject = Subject.of(training, WHOLE)
        for each in measurements.of_training(training):
            for seed in (0, 4):
                found += map(cell_id, each.identities(subject, seed))
    assert len(found) > 10_000 and len(set(found)) == len(found)


def test_only_seed_0_is_audited_check_by_check():
    subject = Subject.of(TRAININGS[BASELINE], WHOLE)
    for protocol, extra in (("sound", 0), ("reference", 1)):
        names = [x["metric"] for x in Audit(protocol).identities(subject, 0)]
        assert len(names) == len(set(names)) == len(sanity.CHECKS) + extra
        assert not Audit(protocol).identities(subject, 1)


@pytest.mark.parametrize("name", [BASELINE, EQUIVARIANT])
def test_rows_are_the_cells_that_were_known_before_training(study, name):
    known = [cell_id(cell) for seed in (0, 1) for cell in cells_of(name, seed)]
    assert len(known) == len(set(known)) and set(study.rows(name)) == set(known)
    for row in study.rows(name).values():
        assert row["epoch"] == 2 and row["run"] == name and not row["diverged"]
        assert row["dataset"] == "digits"


def test_rows_say_protocol_and_switches(study):
    rows = list(study.rows(BASELINE).values())
    pgd = {x["protocol"]: x for x in rows if x["attack"] == "pgd"}
    assert pgd["reference"]["eps"] == 0.01  # 0.02 of what the net is fed
    assert pgd["reference"]["input_clip"] == [0.0, 1.0]
    assert (pgd["reference"]["start"], pgd["reference"]["restarts"]) == ("image", 1)
    assert (pgd["sound"]["start"], pgd["sound"]["restarts"]) == ("uniform", 3)
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
    moved = study.rows(EQUIVARIANT).values()
    series = [row["eps_series"] for row in moved]
    assert sorted(series, key=len) == [[0.005], [0.005], [0.005, 0.01], [0.005, 0.01]]
    assert {row["batch_norm"] for row in moved} == {"moved"}


def test_cells_keep_what_comparisons_need(study):
    rows, folder = study.rows(BASELINE), study.folders.results / BASELINE / "cells"
    names = set()
    for path in folder.glob("*.npz"):
        row = rows[path.stem]
        with np.load(path) as kept:
            names |= set(kept)
            if "robust" in kept:
                assert kept["robust"].shape == (row["n"],)
                assert kept["robust"].mean() == pytest.approx(row["value"])
    assert names == set(works.KEPT) == {"robust", "largest"}
    audits = {x for x, row in rows.items() if row["metric"].startswith("audit")}
    assert {path.stem for path in folder.glob("*.npz")} == set(rows) - audits


def test_nothing_is_missing_and_nothing_is_measured_twice(study, monkeypatch):
    for name in (BASELINE, EQUIVARIANT):
        training = TRAININGS[name]
        subject, store = Subject.of(training, TINY), study.folders.store(training)
        assert [works.missing(subject, store, seed) for seed in (0, 1)] == [[], []]
        now = listing.progress(training, TINY, study.folders.results.parent)
        assert now.complete and now.seeds == 2
        assert now.rows == now.needed == len(study.rows(name))
    monkeypatch.setattr(works, "train", None)
    before = study.rows(BASELINE)
    assert study.work() == (True, "")
    assert study.rows(BASELINE) == before


def test_a_seed_whose_rows_are_gone_is_measured_again_alone(again):
    path = again.folders.results / BASELINE / "results.jsonl"
    before = again.rows(BASELINE)
    kept = [x for x in path.read_text().splitlines() if json.loads(x)["seed"] == 0]
    path.write_text("".join(f"{line}\n" for line in kept))
    training = TRAININGS[BASELINE]
    subject, store = Subject.of(training, TINY), again.folders.store(training)
    whole = [x for x in few(training) if not isinstance(x, Audit)]
    missing = [works.missing(subject, store, seed) for seed in (0, 1)]
    assert missing == [[], whole]
    now = listing.progress(training, TINY, again.folders.results.parent)
    assert (now.seeds, now.rows, now.complete) == (1, len(kept), False)
    done, said = again.work([BASELINE])
    assert done and "seeds 1 to 1" in said and "seeds 0" not in said
    assert "epoch 1:" not in said  # trained already
    after = again.rows(BASELINE)
    values = {cell: row["value"] for cell, row in before.items()}
    assert {cell: row["value"] for cell, row in after.items()} == values


def test_one_missing_cell_is_measured_and_no_other(again):
    path = again.folders.results / BASELINE / "results.jsonl"
    lines = path.read_text().splitlines()
    gone = next(
        x for x in map(json.loads, lines) if (x["attack"], x["seed"]) == ("fgsm", 1)
    )
    path.write_text("".join(f"{x}\n" for x in lines if gone["cell_id"] not in x))
    assert again.work([BASELINE])[0]
    assert path.read_text().splitlines()[:-1] == [
        x for x in lines if gone["cell_id"] not in x
    ]
    assert again.rows(BASELINE)[gone["cell_id"]]["value"] == gone["value"]


class Stop:
    """A clock that is up once it has been asked so many times."""

    def __init__(self, times):
        self.left = times

    def is_up(self):
        self.left -= 1
        return self.left < 0


def test_a_clock_that_is_up_begins_nothing(study, tmp_path):
    empty = Study(Folders(tmp_path / "results", tmp_path / "runs"))
    done, said = empty.work(minutes=0)
    assert not done and "the time is up" in said and "epoch" not in said
    assert not list(tmp_path.rglob("*.jsonl")) and not (tmp_path / "runs").exists()
    assert study.work(minutes=0)[0]  # nothing is left to begin


def test_a_training_that_was_stopped_goes_on(study, tmp_path, monkeypatch):
    """After one of two epochs, then after one epsilon, then to the end."""
    two = Study(Folders(tmp_path / "results" / "tiny", tmp_path / "runs"))
    monkeypatch.setattr(works, "of_training", lambda training: [MOVED_NOT])
    monkeypatch.setattr(works, "Clock", lambda minutes: Stop(1))
    done, said = two.work([BASELINE])
    assert not done and "epoch 1:" in said and "epoch 2:" not in said
    assert not (two.folders.results / BASELINE / "results.jsonl").exists()
    monkeypatch.setattr(works, "Clock", lambda minutes: Stop(3))
    done, said = two.work([BASELINE])
    assert not done and "resuming after epoch 1 of 2" in said
    assert [row["eps"] for row in two.rows(BASELINE).values()] == [0.005]
    monkeypatch.setattr(works, "Clock", lambda minutes: Stop(1000))
    done, said = two.work([BASELINE])
    assert done and len(two.rows(BASELINE)) == 4
    values = study.rows(BASELINE)
    for cell, row in two.rows(BASELINE).items():
        assert row["value"] == values[cell]["value"]


MOVED_NOT = Accuracy("reference", "fgsm", (0.01, 0.02))


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
        lambda x: [each for each in few(x) if each.attack == "none"] + [Audit("sound")],
    )
    (again.folders.results / BASELINE / "results.jsonl").unlink()
    assert again.work([BASELINE])[0]
    rows = again.rows(BASELINE).values()
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
    every = list(TRAININGS.values())
    assert works.share("") == every and works.share("1/1") == every
    parts = [works.share(f"{index}/3") for index in (1, 2, 3)]
    names = [training.name for part in parts for training in part]
    assert sorted(names) == sorted(TRAININGS) and len(names) == 44


@pytest.mark.parametrize("only", ["0/3", "4/3", "2", "a/b", "1/0", "-1/3", "1/2/3"])
def test_other_parts_are_refused(only):
    with pytest.raises(ValueError, match="expected i/n, i from 1 to n"):
        works.share(only)


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
    assert all(name in said for name in TRAININGS)
    assert "44 of 44 runs have cells without a row" in said
    assert said.count("python train.py --config configs/") == 44
    some = call("list", "--size", "small", "--only", "2/44")
    assert "1 of 1 runs" in some and "cifar10-10-parallel_rot-reference" in some


def test_list_counts_what_is_there(study, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(command.SIZES, "small", TINY)
    folder = study.folders.results.parent
    monkeypatch.setattr(works, "TRAININGS", {BASELINE: TRAININGS[BASELINE]})
    command.main(["--results", str(folder), "list", "--size", "small"])
    said = capsys.readouterr().out
    rows = len(study.rows(BASELINE))
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


def test_what_a_run_serves():
    assert listing.serves(TRAININGS[EQUIVARIANT]) == "table 2, table 4"
    assert listing.serves(TRAININGS[BASELINE]) == "figure 2, table 1, figure 5"
    switched = TRAININGS[f"{EQUIVARIANT}-c4"]
    assert listing.serves(switched) == "attribution: C4, as the text says"


def test_what_is_measured_of_a_run():
    kinds = Counter(
        type(each).__name__ for each in measurements.of_training(TRAININGS[BASELINE])
    )
    # 7 accuracies, of FGSM 3 + 1 switches and of PGD 5 + 3
    assert kinds == {"Accuracy": 7 + 12, "Audit": 2, "Tolerance": 2, "Corrupted": 4}
    metrics = [
        each.metric
        for each in measurements.of_training(TRAININGS[BASELINE])
        if isinstance(each, Tolerance)
    ]
    assert metrics == ["tolerance, removal as published", "tolerance, removal"]
