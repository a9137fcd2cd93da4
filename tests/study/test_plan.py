"""The study: the paper's numbers, the runs, and what is measured of them."""

import json
import shlex
from collections import Counter

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from study import paper
from study.plan import Accuracy, Audit, PlannedRun, measurements
from study.runs import CONTROLLED, FULL, PUBLISHED, REDUCED, SIZES, SWITCHED, TRAININGS
from symjax import models
from symjax.attacks import sanity
from symjax.training import experiment as experiments
from tests.paths import ROOT

BASELINE, EQUIVARIANT = (
    f"cifar10-10-{net}-published" for net in ("baseline", "equivariant")
)


def printed(artefact, run, attack, eps, corruption=""):
    wanted = {"artefact": artefact, "run": run, "attack": attack, "eps": eps}
    table = paper.cells()
    for column, value in {**wanted, "corruption": corruption}.items():
        table = table[table[column] == value]
    return table["percent"].item()


def test_the_paper_has_so_many_numbers():
    cells = paper.cells()
    assert cells["artefact"].value_counts().to_dict() == {
        "figure 1": 300,  # 2 data sets, 5 nets, 2 attacks, 15 radii
        "figure 2": 300,
        "table 1": 380,  # 19 corruptions, 5 nets, 4 radii
        "table 2": 16,
        "table 3": 16,
        "table 4": 20,
        "figure 6": 32,
    }
    assert cells["percent"].dropna().between(0, 100).all()
    exact = ~cells["artefact"].isin(["figure 1", "figure 2"])
    assert cells[exact]["percent"].notna().all()


def test_numbers_are_as_printed():
    assert printed("table 2", EQUIVARIANT, "fgsm", 0.05) == 60.23
    assert printed("table 2", EQUIVARIANT, "pgd", 0.05) == 37.80
    assert printed("table 4", f"{BASELINE}-pgd", "fgsm", 0.01) == 74.5
    assert printed("table 1", BASELINE, "pgd", 0.01, "brightness") == 14.79
    of_rs = "figure 6", "cifar100-10-parallel_rs-published", "pgd", 0.01
    assert printed(*of_rs) == 29.62
    assert paper.percent(EQUIVARIANT, "pgd", 0.1) == 12.46
    assert paper.percent(EQUIVARIANT, "pgd", 0.07) is None
    assert paper.percent(f"{EQUIVARIANT}-c4", "pgd", 0.1) is None
    # not the number of Table 1, which is of corrupted images
    assert paper.percent(BASELINE, "pgd", 0.01) == pytest.approx(11.2, abs=0.5)


def test_tables_that_share_numbers_agree():
    for attack in ("fgsm", "pgd"):
        for eps in (0.01, 0.03, 0.05):
            both = [printed(f"table {x}", EQUIVARIANT, attack, eps) for x in (2, 4)]
            assert both[0] == pytest.approx(both[1], abs=0.051)


def test_every_number_is_of_a_cell_that_is_measured():
    for (run, attack), cells in paper.cells().groupby(["run", "attack"]):
        for corrupted, group in cells.groupby(cells["corruption"] != ""):
            (radii,) = [
                set(each.eps)
                for each in measurements(FULL.trainings[run], FULL)
                if isinstance(each, Accuracy)
                and (each.protocol, each.attack) == ("published", attack)
                and each.corrupted == corrupted
            ]
            assert set(group["eps"]) <= radii


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
    for name, training in size.trainings.items():
        changes = size.override_of(training)
        config = training.config(changes)
        assert config.is_locked and config.name == training.name == name
        python, *arguments = shlex.split(training.command(changes))
        assert (python, arguments[0]) == ("python", "train.py")
        assert experiments.digest(parsed(arguments)) == experiments.digest(config)


def test_a_key_that_does_not_exist_is_an_error():
    with pytest.raises((KeyError, AttributeError), match="rat"):
        TRAININGS[BASELINE].config({"optimizer.rat": 1.0})


def test_published_nets_are_trained_as_published():
    found = [x for x in TRAININGS.values() if x.kind == PUBLISHED]
    assert len(found) == 29 and len(FULL.trainings) == 44
    for training in found:
        config = training.config()
        net = config.model.name
        assert net == training.net and not config.training.drop_last
        assert config.model.trunk == "published" and config.seeds == 5
        assert config.optimizer.rate == 1e-3 and not config.dataset.augment
        slow = net == "equivariant"
        assert (config.epochs, config.batch_size) == ((50, 64) if slow else (200, 128))
        step = net in ("cascaded", "parallel_rot", "weighted")
        assert config.optimizer.schedule == ("step" if step else "constant")
        mode = "pgd" if training.variant == "pgd" else "clean"
        if net == "parallel_rot":
            mode = "fgsm_published"
            assert config.training.eps_pixels == 0.005
            assert tuple(config.training.bounds) == (0.5, 1.0)
        assert config.training.mode == mode
        identity = PlannedRun.of(training, FULL).identity
        assert identity["trunk_version"] == 2  # rows of another version are others
        on_c8 = net in ("parallel_rs", "equivariant")
        assert identity["group"] == ("C8" if on_c8 else "C4")
    c4 = [x for x in TRAININGS.values() if x.variant == "c4"]
    assert [PlannedRun.of(x, FULL).identity["group"] for x in c4] == ["C4", "C4"]


def differing(one, other):
    """The keys in which two configurations differ."""

    def flat(training):
        config = json.loads(experiments.to_json(training.config()))
        return {
            (key, inner): value
            for key, part in config.items()
            for inner, value in (part if isinstance(part, dict) else {"": part}).items()
        }

    mine, theirs = flat(one), flat(other)
    assert mine.keys() == theirs.keys()
    keys = {x for x in mine if mine[x] != theirs[x]} - {("name", "")}
    return {f"{key}.{inner}".rstrip(".") for key, inner in keys}


FGSM = {"training.mode", "training.eps_pixels", "training.bounds"}


def test_a_switched_training_differs_from_the_published_one_by_its_switch():
    changed = {
        "clean": {"training.mode"},
        "fgsm": FGSM,
        "c4": {"model.group"},
        "invariant": {"model.readout"},
        "longer": {"epochs", "batch_size"},
        "constant": {"optimizer.schedule"},
    }
    found = [x for x in TRAININGS.values() if x.kind == SWITCHED]
    assert len(found) == 8
    for training in found:
        published = TRAININGS[f"cifar10-10-{training.net}-published"]
        assert differing(training, published) == changed[training.variant]


@pytest.mark.parametrize("size", [FULL, REDUCED], ids=lambda size: size.name)
def test_matched_nets_are_as_large_and_trained_equally(size):
    base, *others = [x for x in size.trainings.values() if x.kind == CONTROLLED]
    assert base.name == "cifar10-10-baseline-matched" and len(others) == 9
    changed = {
        "": {"model.name"},
        "fgsm": FGSM,
        "turned": {"dataset.quarter_turns"},
        "flatten": {"model.readout", "model.name"},
    }
    counts = []
    for training in (base, *others):
        if training != base:
            assert differing(training, base) == changed[training.variant]
        planned = PlannedRun.of(training, size)
        assert planned.identity["trunk_version"] == 1
        counts.append(models.parameter_count(planned.model, (32, 32, 3)))
    assert np.abs(np.array(counts) / counts[0] - 1).max() < 0.05, counts


@pytest.mark.parametrize("size, last, least", [(FULL, 4, 10_000), (REDUCED, 1, 2_000)])
def test_no_two_cells_of_the_study_are_one(size, last, least):
    found = []
    for training in size.trainings.values():
        planned = PlannedRun.of(training, size)
        for each in planned.measurements():
            found += planned.cells(each, 0) + planned.cells(each, last)
    assert len(found) > least and len(set(found)) == len(found)


def test_the_reduced_size_has_every_net_in_order():
    first = ("baseline", "parallel_rot", "parallel_rs")
    names = [f"cifar10-4-{net}-published" for net in first]
    assert list(REDUCED.trainings)[:3] == names
    stages = [(x.kind, x.dataset, x.depth) for x in REDUCED.trainings.values()]
    assert list(Counter(stages).items()) == [
        ((PUBLISHED, "cifar10", 4), 8),  # the six, the scale-only net and CNN + AT
        ((PUBLISHED, "cifar10", 10), 7),
        ((CONTROLLED, "cifar10", 10), 10),
        ((PUBLISHED, "cifar100", 4), 7),
        ((SWITCHED, "cifar10", 10), 8),
    ]


def test_the_reduced_size_changes_width_and_epochs_alone():
    epochs = set()
    for training in REDUCED.trainings.values():
        config = training.config(REDUCED.override_of(training))
        whole = training.config()
        assert config.model.width == {4: 0.5, 10: 0.25}[config.model.depth]
        assert config.dataset.train_images == 0  # all of them
        step = config.optimizer.schedule == "step"
        assert not step or 4 * config.optimizer.decay_epochs == config.epochs
        for key in ("batch_size", "training", "dataset"):
            assert config[key] == whole[key]
        epochs.add(config.epochs)
    assert len(epochs) == 1


def test_what_the_reduced_size_measures():
    training = TRAININGS["cifar10-4-parallel_rot-published"]
    planned = PlannedRun.of(training, REDUCED)
    found = list(planned.measurements())
    accuracies = [x for x in found if isinstance(x, Accuracy) and not x.corrupted]
    assert {x.protocol for x in accuracies} == {"published", "sound", "switched"}
    for each in accuracies:
        few = each.attack == "autoattack" or each.protocol == "switched"
        cells = each.identities(planned, 0)
        assert {cell["n"] for cell in cells} == {200 if few else 1_000}
        assert bool(each.identities(planned, 1)) != few
    of_pgd = [x.identities(planned, 0)[0] for x in accuracies if x.attack == "pgd"]
    assert {(cell["n_restarts"], cell["steps"]) for cell in of_pgd} == {(1, 40)}
    of_switches = [x.switches for x in accuracies if x.protocol == "switched"]
    every = ("epsilon unit", "clip range", "start", "iterate", "step")
    assert of_switches.count(()) == 2 and every in of_switches  # both ends
    kinds = Counter(type(each).__name__ for each in found)
    assert kinds["Audit"] == kinds["Tolerance"] == 2
    assert sum(getattr(each, "corrupted", False) for each in found) >= 2


def test_what_the_full_size_measures():
    planned = PlannedRun.of(TRAININGS[BASELINE], FULL)
    found = list(planned.measurements())
    kinds = Counter((type(x).__name__, getattr(x, "corrupted", False)) for x in found)
    # 7 accuracies, of FGSM 3 + 1 switches and of PGD 5 + 3
    assert kinds == {
        ("Accuracy", False): 7 + 12,
        ("Accuracy", True): 4,
        ("Audit", False): 2,
        ("Tolerance", False): 2,
    }
    for protocol, extra in (("sound", 0), ("published", 1)):
        names = [x["check"] for x in Audit(protocol).identities(planned, 0)]
        assert len(names) == len(set(names)) == len(sanity.CHECKS) + extra
        assert not Audit(protocol).identities(planned, 1)
