"""The audit tells the published protocol from a sound one, and writes what it finds."""

import dataclasses

import jax
import numpy as np
import pytest

from symjax import attacks
from symjax.attacks import sanity
from symjax.attacks.losses import largest_margin
from symjax.evaluation._audit import (
    UNIT,
    _AsPublished,
    _unit,
    audit,
    audit_published,
    record,
)
from symjax.evaluation.protocol import SOUND
from symjax.evaluation.published_attack import PublishedAttack
from symjax.evaluation.results import Results
from symjax.evaluation.rows import cell_id
from symjax.training import experiment as experiments
from tests import made_rows
from tests.linear_models import problem

N, EPS, STEPS = 24, 0.03, 3
RETURNED, BATCH = "returned_images", "no_batch_dependence"
CLASSES, SATURATED = "enough_classes", "loss_gradients"


def named(run, name, **changes):
    """The same nets, said to be another of the paper's."""
    config = experiments.from_json(experiments.to_json(run.experiment.config))
    config.update_from_flattened_dict({"model.name": name, **changes})
    experiment = dataclasses.replace(run.experiment, config=config)
    return dataclasses.replace(run, experiment=experiment)


def published(run, only, eps=EPS):
    found = audit_published(run, "pgd", eps, N, only=only, steps=STEPS)
    return {check.name: check for check in found}


def sound(run, only):
    found = audit(run, attacks.Linf(EPS), N, only=only, steps=STEPS)
    return {check.name: check for check in found}


@pytest.mark.slow
def test_the_published_attack_on_the_baseline_is_not_what_it_says(run):
    found = published(run, [RETURNED])
    assert list(found) == [UNIT, RETURNED]
    unit = found[UNIT]
    assert unit.passed is False and unit.value == pytest.approx(0.5)  # std 0.5
    returned = found[RETURNED]
    assert returned.passed is False and "leave the ball" in returned.detail
    assert sound(run, [RETURNED])[RETURNED].passed is True


def test_pixel_units_are_told_from_others():
    assert _unit(0.03, 0.03).passed is True
    cifar = tuple(0.1 * std for std in (0.2023, 0.1994, 0.2010))
    found = _unit(0.1, cifar)
    assert found.passed is False and found.value == pytest.approx(0.1994)


@pytest.mark.parametrize("name", ["parallel_rs", "equivariant"])
@pytest.mark.slow
def test_a_net_that_looks_at_the_batch_is_found(run, name):
    other = named(run, name)
    found = published(other, [BATCH])[BATCH]
    assert found.passed is False and found.value > 0.01
    assert sound(other, [BATCH])[BATCH].passed is True
    assert published(run, [BATCH])[BATCH].passed is True  # running averages


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("fgsm", {}),
        ("pgd", {"keep": "last", "start": "image", "n_restarts": 1}),
        ("pgd", {"keep": "last", "n_restarts": 2}),
        ("pgd", {"keep": "best", "n_restarts": 2}),
    ],
)
def test_the_path_of_a_published_attack_has_every_point(name, changes):
    """From the images, or random points, to the images that are returned."""
    net, images, labels = problem()
    protocol = dataclasses.replace(SOUND, **changes)
    attack = _AsPublished(PublishedAttack(name, protocol, steps=STEPS))
    call = net, images, labels, jax.random.key(0), attacks.Linf(np.float32(EPS))
    settings = {"step_size": None, "n_restarts": 1, "loss": "", "keep": "best"}
    result, margins = attack(*call, steps=STEPS, path=True, **settings)
    ends = [largest_margin(net(x), labels) for x in (images, result.images)]
    if name == "fgsm" or changes["keep"] == "best" or protocol.start == "image":
        np.testing.assert_allclose(margins[0], ends[0], atol=1e-5)
    np.testing.assert_allclose(margins[-1], ends[1], atol=1e-5)
    assert np.isfinite(margins).all() and len(margins) == attack.attack.evaluations
    alone = attack.attack(*call)
    np.testing.assert_array_equal(result.images, alone.images)


def cells_of(names, seed=0):
    return [made_rows.identity(run="tiny", seed=seed, check=name) for name in names]


def write(run, store, cells, protocol, **options):
    settings = {"steps": STEPS} | options
    record(run, store, cells, protocol, EPS, N, n_restarts=2, **settings)


def test_a_row_a_check_written_once(run, tmp_path, monkeypatch):
    """One passes, one fails, and one has no answer of PGD that ascends the margin."""
    names = [UNIT, CLASSES, SATURATED, RETURNED]
    cells, store = cells_of(names), Results(tmp_path)
    store.add(cells[1], 0.25, {}, made_rows.FACTS, made_rows.PROVENANCE)
    options = {"only": names[1:], "loss": "margin"}
    write(run, store, cells, "published", **options)
    rows = [store.rows[cell_id(cell)] for cell in cells]
    assert [row["value"] for row in rows] == [0.0, 0.25, None, 0.0]
    assert [rows[0]["check"], rows[3]["check"]] == [UNIT, RETURNED]
    assert "ascends the margin" in rows[2]["detail"] and not rows[2]["diverged"]
    assert rows[0]["data"] == run.experiment.dataset.sha256
    assert Results(tmp_path).rows == store.rows and len(store.rows) == 4
    monkeypatch.setattr(sanity, "audit", None)  # is not called again
    write(run, store, cells, "published", **options)
    write(run, store, [], "published", **options)
    assert len(store.rows) == 4


def test_the_sound_protocol_passes_and_errors_are_errors(run, tmp_path):
    names = [CLASSES, RETURNED]
    cells, store = cells_of(names), Results(tmp_path)
    write(run, store, cells, "sound", only=names)
    assert [store.rows[cell_id(cell)]["value"] for cell in cells] == [1.0, 1.0]
    with pytest.raises(ValueError, match="zip"):  # as many checks as cells
        write(run, store, cells_of(["x"]), "sound", only=names)
    with pytest.raises(ValueError, match="expected some of"):
        write(run, store, cells_of(["y"]), "sound", only=["y"])


def without_answer(run, tmp_path):
    names = [CLASSES, RETURNED]
    cells, store = cells_of(names), Results(tmp_path)
    write(run, store, cells, "sound", only=names)
    rows = [store.rows[cell_id(cell)] for cell in cells]
    assert [(row["value"], row["measured"]) for row in rows] == [(None, None)] * 2
    assert [row["check"] for row in rows] == names
    return rows


def test_a_seed_that_diverged_has_no_answer(run, tmp_path):
    state = run.state.replace(diverged_step=np.array([5, 0], np.int32))
    lost = dataclasses.replace(run, state=state)
    rows = without_answer(lost, tmp_path)
    assert all(row["diverged"] for row in rows)
    assert "diverged" in rows[0]["detail"]
    with pytest.raises(ValueError, match="seed 0 diverged, and the audit needs its"):
        sound(lost, [CLASSES])


def test_a_net_that_is_never_right_has_no_answer(run, tmp_path):
    """Logits that are not finite are of no class."""
    params = jax.tree.map(lambda x: np.nan * x, run.state.params)
    state = run.state.replace(params=params)
    rows = without_answer(dataclasses.replace(run, state=state), tmp_path)
    assert "are NaN or infinite" in rows[0]["detail"]
    assert not rows[0]["diverged"]
