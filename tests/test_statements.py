"""Statements on a run: over the orbits of the net's own group, which rows name."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax.evaluation import Run, figure, orbit, results, symmetry
from symjax.evaluation.figure import Subject
from symjax.evaluation.results import cell_id
from symjax.formatting import figure_name
from symjax.groups import C2, C4, C8, D4, C, D
from symjax.metrics.orbit import averaged

RESULTS = Path(__file__).parents[1] / "results"
ROUNDING = 1e-4
OF_RUN = "run model depth width trunk group basis training epoch dataset dtype".split()
RUN = {"run": "a", "model": "equivariant", "group": "C4", "epoch": 1}


def subject(net, group, model="equivariant"):
    """Two images of 4x4 pixels, and a run with a net of that group."""
    images = np.float32(np.random.default_rng(0).uniform(0.2, 0.8, (2, 4, 4, 1)))
    config = SimpleNamespace(model=SimpleNamespace(name=model))
    experiment = SimpleNamespace(config=config, model=SimpleNamespace(group=group))
    return Subject(
        logits_fn=net,
        layers_fn=Partial(lambda x: {"head": net(x)}),
        images=images,
        labels=np.zeros(2, int) if net is None else np.argmax(net(images), axis=1),
        key=jax.random.key(0),
        folder=None,
        report=lambda done, total: None,
        run=SimpleNamespace(experiment=experiment),
        index=0,
    )


def smooth_net(group):
    """A net of three classes, invariant under the group and no larger one."""
    first, last = (
        jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
        for seed, shape in enumerate([(16, 8), (8, 3)])
    )

    def logits(weights, x):
        return jnp.tanh(x.reshape(len(x), -1) @ weights[0]) @ weights[1]

    return averaged(Partial(logits, (first, last)), group)


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
    named = orbit.facts({"model": model, "group": str(group)})
    assert named == {"orbit": str(expected), "orbit_reason": reason}
    assert subject(None, group, model).orbit == expected


def test_rows_of_another_group_have_another_identity_and_those_of_c4_keep_theirs():
    of_metric = {each.says["metric"]: each for each in symmetry.figures()}
    for metric in ("invariance", "lemma 1", "theorem 1, clever", "theorem 2, orbit"):
        each = of_metric[metric]
        found = {
            group: figure.identity_of(RUN | {"group": group}, each, 100, 0)
            for group in ("C4", "C8", "D4", "C2")
        }
        assert "orbit" not in found["C4"] and "orbit" not in found["C8"]
        assert found["D4"]["orbit"] == "D4" and found["C2"]["orbit"] == "C2"
        assert figure_name(found["D4"]).endswith("under D4")
    for metric in ("tangent slope", "equation 12"):  # which rotate by no group
        assert not of_metric[metric].over_orbit


def test_rows_of_before_the_group_was_named_are_found_again():
    """All committed rows of C4 nets and baselines keep their cells."""
    rows = results.read(sorted(RESULTS.rglob("results.jsonl")))
    rows = [row for row in rows if "settings" in row]
    found = set()
    for each in symmetry.figures():
        settings = json.loads(json.dumps(dict(each.says)))  # tuples as lists
        for row in rows if each.over_orbit else ():
            if settings == {name: row.get(name) for name in settings}:
                run = {name: row[name] for name in OF_RUN if name in row}
                says = figure.identity_of(run, each, row["n"], row["seed"])
                assert cell_id(says) == row["cell_id"]
                found.add(each.says["metric"])
    assert len(found) >= 8


def test_a_row_names_its_group(trained, tmp_path):
    run, store = Run.open(trained.folder), results.Results(tmp_path)
    figures = [x for x in symmetry.figures() if x.says["metric"] == "lemma 2"]
    for row in figure.measure(run, store, figures, n=2):
        says = figure.identity_of(run.identity(), figures[0], 2, row["seed"])
        assert row["cell_id"] == cell_id(says) and "orbit" not in says
        assert {name: row[name] for name in ("orbit", "orbit_reason")} == orbit.facts(
            run.identity()
        )
        assert row["orbit"] == "C4" and row["settings"] == ["images", "metric"]


@pytest.mark.slow
def test_every_statement_on_orbits_holds_for_a_net_of_half_turns():
    """It is invariant under its own group, C2, and not under C4."""
    net = smooth_net(C2)
    theirs = subject(net, C2)
    exact = {"error", "orbit_error", "turned_back", "turned_back_over_right"}
    checked = set()
    figures = {each.says["metric"]: each for each in symmetry.figures(samples=2)}
    for each in figures.values():
        if not each.over_orbit or each.says["metric"] == "equivariance":
            continue
        outcomes = each.find(theirs).outcomes
        for name in exact & set(outcomes):
            assert np.max(outcomes[name]) < ROUNDING, (each.says, name)
            checked.add(each.says["metric"])
        if each.says["metric"] == "theorem 2":
            alike, mean = (
                outcomes[name] for name in ("ratio_alike", "ratio_alike_of_average")
            )
            np.testing.assert_allclose(mean, alike, rtol=1e-3)
            checked.add("theorem 2")
    assert checked == {
        *("invariance", "lemma 1", "lemma 2", "lemma 3", "lemma 4", "lemma 5"),
        *("theorem 1", "theorem 1, clever", "theorem 2", "theorem 2, orbit"),
        "appendix A.1",
    }
    invariance = figures["invariance"]
    assert invariance.find(subject(net, C4)).value > 0.01
    assert invariance.find(subject(net, C2, "baseline")).value > 0.01  # P4


def test_an_error_under_the_identity_alone_is_no_error_of_0():
    each = next(x for x in symmetry.figures() if x.says["metric"] == "equivariance")
    found = each.find(subject(smooth_net(C2), C(3)))
    assert np.isnan(found.value) and found.facts["undefined"] == 2
