"""Statements on a run: over the orbits of the net's own group, which rows name."""

import copy
import dataclasses
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax.evaluation import results, rows
from symjax.evaluation.metrics import base, orbit, symmetry
from symjax.evaluation.rows import cell_id
from symjax.evaluation.titles import metric_name
from symjax.groups import C2, C4, C8, D4, C, D
from symjax.metrics.orbit import orbit_average
from tests import made_rows
from tests.paths import ROOT

RESULTS = ROOT / "results"
ROUNDING = 1e-4
OF_RUN = (*rows.RUN, "dataset")
RUN = {"run": "a", "model": "equivariant", "group": "C4", "epoch": 1}


def subject(net, group, model="equivariant"):
    """Two images of 4x4 pixels, and a run with a net of that group."""
    images = np.float32(np.random.default_rng(0).uniform(0.2, 0.8, (2, 4, 4, 1)))
    config = SimpleNamespace(model=SimpleNamespace(name=model))
    experiment = SimpleNamespace(config=config, model=SimpleNamespace(group=group))
    labels = np.zeros(2, int) if net is None else np.argmax(net(images), axis=1)
    run = SimpleNamespace(experiment=experiment)
    return made_rows.seed_context(net, images, labels, run=run)


def smooth_net(group):
    """A net of three classes, invariant under the group and no larger one."""
    first, last = (
        jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
        for seed, shape in enumerate([(16, 8), (8, 3)])
    )

    def logits(weights, x):
        return jnp.tanh(x.reshape(len(x), -1) @ weights[0]) @ weights[1]

    return orbit_average(Partial(logits, (first, last)), group)


@pytest.mark.parametrize(
    ("model", "group", "expected", "reason"),
    [
        ("equivariant", C4, C4, "the group of the net"),
        ("equivariant", D4, D4, "the group of the net"),
        ("parallel_rs", C8, C4, "the elements of C8 on the pixel grid"),
        ("cascaded", D(8), D4, "the elements of D8 on the pixel grid"),
        ("weighted", C(6), C2, "the elements of C6 on the pixel grid"),
        ("equivariant", C(3), C4, "P4 of the paper: C3 rotates no pixel onto another"),
        ("baseline", C4, C4, "P4 of the paper: the net has no group of its own"),
        ("parallel_scale", D4, C4, "P4 of the paper: the net has no group of its own"),
    ],
)
def test_the_group_is_the_nets_own_as_far_as_it_is_on_the_grid(
    model, group, expected, reason
):
    assert orbit.of(model, group) == orbit.of(model, str(group)) == (expected, reason)
    row = {"model": model, "group": str(group)}
    assert orbit.facts(row) == {"orbit_reason": reason}
    assert orbit.identity(row) == {"orbit": str(expected)}
    assert subject(None, group, model).orbit == expected


def test_rows_of_another_group_have_another_identity_and_those_of_c4_keep_theirs():
    of_metric = {each.identity["metric"]: each for each in symmetry.build()}
    for metric in ("invariance", "lemma_1", "theorem_1_clever", "theorem_2_orbit"):
        each = of_metric[metric]
        found = {
            group: base.identity_of(RUN | {"group": group}, each, 100, 0)
            for group in ("C4", "C8", "D4", "C2")
        }
        assert found["C4"]["orbit"] == found["C8"]["orbit"] == "C4"
        older = {key: x for key, x in found["C4"].items() if key != "orbit"}
        assert cell_id(older) == cell_id(found["C4"]) != cell_id(found["D4"])
        assert found["D4"]["orbit"] == "D4" and found["C2"]["orbit"] == "C2"
        assert metric_name(found["D4"]).endswith("under D4")
    for metric in ("tangent_slope", "equation_12"):  # which rotate by no group
        assert not of_metric[metric].over_orbit


def test_rows_of_before_the_group_was_named_are_found_again():
    """All committed rows of C4 nets and baselines keep their cells."""
    found_rows = results.read(sorted(RESULTS.rglob("results.jsonl")))
    found_rows = [row for row in found_rows if row["kind"] == "metric"]
    found = set()
    for each in symmetry.build():
        settings = json.loads(json.dumps(dict(each.identity)))  # tuples as lists
        for row in found_rows if each.over_orbit else ():
            if settings == {name: row.get(name) for name in settings}:
                run = {name: row[name] for name in OF_RUN if name in row}
                says = base.identity_of(run, each, row["n"], row["seed"])
                assert cell_id(says) == row["cell_id"]
                found.add(each.identity["metric"])
    assert len(found) >= 8


def test_a_row_names_its_group(run, tmp_path):
    store = results.Results(tmp_path)
    chosen = [x for x in symmetry.build() if x.identity["metric"] == "lemma_2"]
    for row in base.measure(run, store, chosen, n=2):
        says = base.identity_of(run.identity(), chosen[0], 2, row["seed"])
        assert row["cell_id"] == cell_id(says) and says["orbit"] == "C4"
        assert row["orbit_reason"] == orbit.facts(run.identity())["orbit_reason"]
        assert row.measurement.keys() == {
            *("kind", "protocol", "metric", "orbit", "dequantized")
        }


@pytest.mark.slow
def test_every_statement_on_orbits_holds_for_a_net_of_half_turns():
    """It is invariant under its own group, C2, and not under C4."""
    net = smooth_net(C2)
    theirs = subject(net, C2)
    exact = {"error", "orbit_error", "turned_back", "turned_back_over_right"}
    checked = set()
    chosen = {each.identity["metric"]: each for each in symmetry.build(samples=2)}
    for each in chosen.values():
        if not each.over_orbit or each.identity["metric"] == "equivariance":
            continue
        outcomes = each.compute(theirs).outcomes
        for name in exact & set(outcomes):
            assert np.max(outcomes[name]) < ROUNDING, (each.identity, name)
            checked.add(each.identity["metric"])
        if each.identity["metric"] == "theorem_2":
            alike, mean = (
                outcomes[name] for name in ("ratio_alike", "ratio_alike_of_average")
            )
            np.testing.assert_allclose(mean, alike, rtol=1e-3)
            checked.add("theorem_2")
    assert checked == {
        *("invariance", "lemma_1", "lemma_2", "lemma_3", "lemma_4", "lemma_5"),
        *("theorem_1", "theorem_1_clever", "theorem_2", "theorem_2_orbit"),
        "appendix_a1",
    }
    invariance = chosen["invariance"]
    assert invariance.compute(subject(net, C4)).value > 0.01
    assert invariance.compute(subject(net, C2, "baseline")).value > 0.01  # P4


def odd_net(images):
    """`[w x, -w x]`, where w is the same after quarter turns and -w when mirrored."""
    w = jnp.array([[0, 1, -1, 0], [-1, 0, 0, 1], [1, 0, 0, -1], [0, -1, 1, 0]])
    value = jnp.tensordot(images[..., 0], w.astype(images.dtype), 2)
    return jnp.stack([value, -value], axis=1)


@pytest.mark.parametrize("model", ["equivariant", "baseline"])
@pytest.mark.slow
def test_values_of_a_net_that_changes_its_sign_when_it_is_mirrored(model):
    """Under D4 four of seven elements change the sign, which is a change of 2 values.

    A baseline has no group, whatever its configuration names, and is measured under C4.
    """
    mirrored = model == "equivariant"
    expected = {  # under D4; under C4 all are 0
        "invariance": {"error": 2, "same_class": False},
        "equivariance": {"worst": 2},
        "lemma_1": {"error": 0},
        "lemma_2": {"error": 2},
        "lemma_3": {"error": 8 / 7, "cosine": -1 / 7, "length_ratio": 1},
        "theorem_1": {"error": 0},
    }
    of_metric = {each.identity["metric"]: each for each in symmetry.build()}
    for metric, values in expected.items():
        outcomes = of_metric[metric].compute(subject(odd_net, D4, model)).outcomes
        for name, value in values.items():
            invariant = float(name in ("same_class", "cosine", "length_ratio"))
            value = value if mirrored else invariant
            np.testing.assert_allclose(outcomes[name], value, atol=1e-5, err_msg=metric)


@pytest.mark.slow
def test_a_row_of_a_d4_net_names_d4_and_is_another_cell_than_that_of_c4(run, tmp_path):
    """The same net under both: its errors under D4 include those under C4."""
    store = results.Results(tmp_path)
    config = copy.deepcopy(run.experiment.config)
    with config.unlocked():
        config.model.name = "equivariant"  # in its rows alone
    chosen = [x for x in symmetry.build() if x.identity["metric"] == "invariance"]
    rows = {}
    for group in (C4, D4):
        model = run.experiment.model.clone(group=group)
        changed = dataclasses.replace(run.experiment, config=config, model=model)
        other = dataclasses.replace(run, experiment=changed)
        (rows[group], _) = base.measure(other, store, chosen, n=4)
    assert rows[D4].measurement["orbit"] == "D4"
    assert rows[C4].measurement["orbit"] == "C4"
    assert rows[C4]["cell_id"] != rows[D4]["cell_id"]
    assert rows[D4]["value"] > rows[C4]["value"] > 0.01


def test_an_error_under_the_identity_alone_is_no_error_of_0():
    each = next(x for x in symmetry.build() if x.identity["metric"] == "equivariance")
    found = each.compute(subject(smooth_net(C2), C(3)))
    assert np.isnan(found.value) and found.facts["undefined"] == 2
