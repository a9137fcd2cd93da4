"""The study: the paper's numbers, the runs, and what is measured of them."""

import json
import shlex
from collections import Counter

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from symjax import models
from symjax.attacks import sanity
from symjax.evaluation.rows import cell_id
from symjax.study import listing, measurements, published
from symjax.study.measurements import Accuracy, Audit, Corrupted, PlannedRun, Tolerance
from symjax.study.size import FULL, REDUCED, SIZES
from symjax.study.trainings import CONTROLLED, PUBLISHED, SWITCHED, TRAININGS
from symjax.training import experiment as experiments
from tests.paths import ROOT

BASELINE, EQUIVARIANT = (
    f"cifar10-10-{net}-published" for net in ("baseline", "equivariant")
)


def published_at(name, attack, eps, corruption=None):
    return {
        (cell.artefact, cell.percent)
        for cell in published.cells()
        if (cell.training, cell.eps, cell.corruption) == (name, eps, corruption)
        and attack == cell.attack
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
    assert published_at(BASELINE, "pgd", 0.01, "brightness") == {("table 1", 14.79)}
    of_rs = published_at("cifar100-10-parallel_rs-published", "pgd", 0.01)
    assert ("figure 6", 29.62) in of_rs


def test_every_number_is_of_a_cell_that_is_measured():
    measured = {
        name: list(measurements.of_training(x, FULL))
        for name, x in FULL.trainings.items()
    }
    for cell in published.cells():
        kind = Corrupted if cell.corruption else Accuracy
        radii = [
            each.eps
            for each in measured[cell.training]
            if type(each) is kind
            and (each.protocol, each.attack) == ("published", cell.attack)
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
    found = config_flags.DEFINE_config_file(
        "config", None, "", flag_values=values, sys_argv=arguments
    )
    values(arguments)
    return found.value


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_command_gives_the_configuration(size, monkeypatch):
    monkeypatch.chdir(ROOT)
    for training in size.trainings.values():
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
    with pytest.raises((KeyError, AttributeError), match="rat"):
        TRAININGS[BASELINE].config({"optimizer.rat": 1.0})


def test_published_nets_are_trained_as_published():
    found = [x for x in TRAININGS.values() if x.kind == PUBLISHED]
    assert len(found) == 29 and len(FULL.trainings) == 44
    for training in found:
        config = training.config()
        net = config.model.name
        assert config.model.trunk == "published" and config.seeds == 5
        assert not config.training.drop_last
        assert config.optimizer.rate == 1e-3 and not config.dataset.augment
        alone = net == "equivariant"
        assert (config.epochs, config.batch_size) == ((50, 64) if alone else (200, 128))
        step = net in ("cascaded", "parallel_rot", "weighted")
        assert config.optimizer.schedule == ("step" if step else "constant")
        adversarial = training.name.endswith("-pgd")
        mode = "pgd" if adversarial else "clean"
        if net == "parallel_rot":
            mode = "fgsm_published"
            assert config.training.eps_pixels == 0.005
            assert tuple(config.training.bounds) == (0.5, 1.0)
        assert config.training.mode == mode
        says = PlannedRun.of(training, FULL).identity
        assert says["trunk_version"] == 2  # rows of another version are others
        turned = net in ("parallel_rs", "equivariant")
        assert says["group"] == ("C8" if turned else "C4")
    c4 = [x for x in TRAININGS.values() if x.name.endswith("published-c4")]
    assert [PlannedRun.of(x, FULL).identity["group"] for x in c4] == ["C4", "C4"]


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
        assert PlannedRun.of(training, FULL).identity["trunk_version"] == 1
        sizes[training.name] = models.parameter_count(model, (32, 32, 3))
    ratios = np.array(list(sizes.values())) / sizes[base.name]
    assert np.abs(ratios - 1).max() < 0.05, sizes
    config = base.config()
    assert (config.epochs, config.batch_size, config.model.trunk) == (
        200,
        128,
        "matched",
    )


@pytest.mark.parametrize("size, last, least", [(FULL, 4, 10_000), (REDUCED, 1, 2_000)])
def test_no_two_cells_of_the_study_are_one(size, last, least):
    found = []
    for training in size.trainings.values():
        subject = PlannedRun.of(training, size)
        for each in measurements.of_training(training, size):
            for seed in (0, last):
                found += map(cell_id, each.identities(subject, seed))
    assert len(found) > least and len(set(found)) == len(found)


def test_the_reduced_size_has_every_net_in_order():
    names = list(REDUCED.trainings)
    first = ("baseline", "parallel_rot", "parallel_rs")
    assert names[:3] == [f"cifar10-4-{net}-published" for net in first]
    stages = [(x.kind, *x.name.split("-")[:2]) for x in REDUCED.trainings.values()]
    assert list(Counter(stages).items()) == [
        ((PUBLISHED, "cifar10", "4"), 8),  # the six, the scale-only net and CNN + AT
        ((PUBLISHED, "cifar10", "10"), 7),
        ((CONTROLLED, "cifar10", "10"), 10),
        ((PUBLISHED, "cifar100", "4"), 7),
        ((SWITCHED, "cifar10", "10"), 8),
    ]


def test_the_reduced_size_changes_width_and_epochs_alone():
    epochs = set()
    for training in REDUCED.trainings.values():
        config = training.config(REDUCED.changes(training))
        whole = training.config()
        assert config.model.width == {4: 0.5, 10: 0.25}[config.model.depth]
        assert config.dataset.train_images == 0  # all of them
        step = config.optimizer.schedule == "step"
        assert not step or 4 * config.optimizer.decay_epochs == config.epochs
        for key in ("batch_size", "training", "dataset"):
            assert config[key] == whole[key]
        epochs.add(config.epochs)
    assert len(epochs) == 1


def test_matched_nets_of_the_reduced_size_have_one_number_of_parameters():
    sizes = [
        models.parameter_count(PlannedRun.of(x, REDUCED).model, (32, 32, 3))
        for x in REDUCED.trainings.values()
        if x.kind == CONTROLLED
    ]
    ratios = np.array(sizes) / sizes[0]
    assert np.abs(ratios - 1).max() < 0.05, sizes


def test_what_the_reduced_size_measures():
    training = TRAININGS["cifar10-4-parallel_rot-published"]
    subject = PlannedRun.of(training, REDUCED)
    found = list(measurements.of_training(training, REDUCED))
    accuracies = [x for x in found if type(x) is Accuracy]
    assert {x.protocol for x in accuracies} == {"published", "sound", "switched"}
    for each in accuracies:
        cells = each.identities(subject, 0)
        alone = each.attack == "autoattack" or each.protocol == "switched"
        assert {cell["n"] for cell in cells} == {200 if alone else 1_000}
        assert bool(each.identities(subject, 1)) != alone
    of_pgd = [x.identities(subject, 0)[0] for x in accuracies if x.attack == "pgd"]
    assert {cell["n_restarts"] for cell in of_pgd} == {1}
    of_switches = [x.switches for x in accuracies if x.protocol == "switched"]
    every = ("epsilon unit", "clip range", "start", "iterate", "step")
    assert of_switches.count(()) == 2 and every in of_switches  # both ends
    assert {cell["steps"] for cell in of_pgd} == {40}
    kinds = Counter(type(each).__name__ for each in found)
    assert kinds["Audit"] == kinds["Tolerance"] == 2 and kinds["Corrupted"] >= 2


def test_only_seed_0_is_audited_check_by_check():
    subject = PlannedRun.of(TRAININGS[BASELINE], FULL)
    for protocol, extra in (("sound", 0), ("published", 1)):
        names = [x["check"] for x in Audit(protocol).identities(subject, 0)]
        assert len(names) == len(set(names)) == len(sanity.CHECKS) + extra
        assert not Audit(protocol).identities(subject, 1)


def test_what_a_run_serves():
    assert listing.serves(TRAININGS[EQUIVARIANT]) == "table 2, table 4"
    assert listing.serves(TRAININGS[BASELINE]) == "figure 2, table 1, figure 5"
    switched = TRAININGS[f"{EQUIVARIANT}-c4"]
    assert listing.serves(switched) == "attribution: C4, as the text says"


def test_what_is_measured_of_a_run():
    kinds = Counter(
        type(each).__name__
        for each in measurements.of_training(TRAININGS[BASELINE], FULL)
    )
    # 7 accuracies, of FGSM 3 + 1 switches and of PGD 5 + 3
    assert kinds == {"Accuracy": 7 + 12, "Audit": 2, "Tolerance": 2, "Corrupted": 4}
    metrics = [
        each.metric
        for each in measurements.of_training(TRAININGS[BASELINE], FULL)
        if isinstance(each, Tolerance)
    ]
    assert metrics == ["tolerance_removal_published", "tolerance_removal"]
