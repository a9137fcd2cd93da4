"""Distances of errors that FAB finds, against linear nets, and what a row says."""

import jax.numpy as jnp
import linear_models
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax.evaluation.metrics import distance
from tests.made_rows import seed_context


def steps_of(weights, bias, images):
    """Bent, so that more starts find nearer errors."""
    logits = linear_models.linear(weights, bias, images)
    return jnp.tanh(4 * logits) + jnp.tanh(2 * logits[:, ::-1])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_linear_net_has_its_errors_where_they_are(norm):
    logits_fn, images, labels = linear_models.problem(classes=4)
    (metric,) = distance.build((norm,), steps=10)
    found = metric.compute(seed_context(logits_fn, images, labels))
    wanted = linear_models.boundary_distance(logits_fn, images, labels, norm)
    outcomes = found.outcomes
    np.testing.assert_allclose(outcomes["distance"], wanted, rtol=0.06, atol=1e-6)
    assert (outcomes["distance"] >= wanted * (1 - 1e-5)).all()
    np.testing.assert_array_equal(outcomes["correct"], wanted > 0)
    assert found.value == pytest.approx(outcomes["distance"].mean())
    assert found.facts["low"] < found.value < found.facts["high"]
    assert metric.identity["metric"] == "distance" and metric.identity["norm"] == norm


def test_images_do_not_depend_on_their_company_and_a_killed_one_goes_on(tmp_path):
    net, images, _ = linear_models.problem(4, steps_of)
    labels = np.asarray(net(images)).argmax(axis=1)
    problem = net, images, labels
    (metric,) = distance.build(("l2",), steps=4, n_restarts=3)
    (once,) = distance.build(("l2",), steps=4)
    whole = metric.compute(seed_context(*problem, folder=tmp_path)).outcomes["distance"]
    said = []
    (tmp_path / "000020.npz").unlink()  # as if killed after the first part
    before = (tmp_path / "000000.npz").stat().st_mtime_ns
    report = lambda *parts: said.append(parts)  # noqa: E731
    context = seed_context(*problem, folder=tmp_path, report=report)
    again = metric.compute(context).outcomes["distance"]
    np.testing.assert_array_equal(again, whole)
    assert said == [(20, 24), (24, 24)]
    assert (tmp_path / "000000.npz").stat().st_mtime_ns == before
    single = once.compute(seed_context(*problem)).outcomes["distance"]
    context = seed_context(net, images[::-1], labels[::-1])
    reversed_order = once.compute(context).outcomes["distance"]
    np.testing.assert_allclose(reversed_order[::-1], single, rtol=1e-3)
    assert (whole <= single).all() and (whole < single).any()


def lighter(threshold, x):
    return jnp.concatenate([0 * x[:, 0, 0], x[:, 0, 0] - threshold], axis=1)


def test_images_without_an_error_are_counted_and_left_out():
    images = np.array([0.25, 0.5, 0.75], np.float32).reshape(3, 1, 1, 1)
    (metric,) = distance.build(("linf",), steps=5)
    for threshold, wanted in ((0.9, [0.65, 0.4, 0.15]), (0.6, [0.35, 0.1, 0.0])):
        net = Partial(lighter, jnp.array(threshold))
        found = metric.compute(seed_context(net, images, np.zeros(3, int)))
        np.testing.assert_allclose(found.outcomes["distance"], wanted, rtol=0.06)
        assert found.facts["no_error_found"] == 0
    net = Partial(lighter, jnp.array(2.0))
    found = metric.compute(seed_context(net, images, np.zeros(3, int)))
    assert found.facts["no_error_found"] == 3 and np.isnan(found.value)
    assert np.isinf(found.outcomes["distance"]).all()


def test_numbers_of_steps_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="steps=0"):
        distance.build(steps=0)
