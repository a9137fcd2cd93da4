"""Metrics of a trained run become rows; what they measure is tested elsewhere."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console

from symjax import evaluation
from symjax.evaluate_flags import CORRUPTION, METRICS
from symjax.evaluation import metrics, table
from symjax.evaluation.metrics import clever, per_image
from symjax.evaluation.metrics.base import Metric, MetricResult
from symjax.metrics import clever_images
from symjax.seeds import KeyPurpose, of_seed, purpose_key
from tests.made_rows import QUIET, outcomes_of, seed_context


def test_a_metric_has_a_row_per_seed_and_is_measured_once(run, tmp_path):
    asked = []

    def compute(subject):
        asked.append(subject)
        wrong = np.asarray(subject.logits_fn(subject.images)).argmax(1)
        return MetricResult(0.25, {"class": wrong}, {"undefined": 1})

    store = evaluation.Results(tmp_path)
    metric = Metric({"metric": "made up", "norm": "l2"}, compute)
    rows = metrics.measure(run, store, [metric], 5, QUIET)
    again = metrics.measure(run, evaluation.Results(tmp_path), [metric], 5, QUIET)
    assert len(asked) == 2 and again == rows
    assert [row["seed"] for row in rows] == [0, 1]
    for row, subject in zip(rows, asked, strict=True):
        assert (row["metric"], row["norm"], row["n"]) == ("made up", "l2", 5)
        assert (row["value"], row["undefined"], row["kind"]) == (0.25, 1, "metric")
        assert {"config", "data", "commit", "versions", "device"} <= set(row)
        logits = subject.layers_fn(subject.images)["head"]
        classes = outcomes_of(tmp_path, row)["class"]
        np.testing.assert_array_equal(classes, logits.argmax(1))
    assert not np.array_equal(asked[0].key, asked[1].key)
    printed = Console(file=io.StringIO(), width=120)
    printed.print(table.metrics(rows))
    assert "made up" in printed.file.getvalue() and "0.25" in printed.file.getvalue()


def test_clever_rows_are_the_scores_of_the_library(run, tmp_path):
    (metric,) = clever.build(("l2",), radius=0.5, batches=4, samples=3)
    rows = metrics.measure(run, evaluation.Results(tmp_path), [metric], 2, QUIET)
    for row in rows:
        score = outcomes_of(tmp_path, row)["score"]
        assert row["value"] == pytest.approx(score.mean())
        assert 0 <= row["value"] <= 0.5 and score.shape == (2,)
    images = run.experiment.dataset.test.images[:2] / np.float32(255)
    key = purpose_key(of_seed(run.experiment.keys, 1), KeyPurpose.METRIC)
    net = of_seed(run.logits_fns, 1)
    found = clever_images(net, images, key, "l2", 0.5, batches=4, samples=3)
    assert rows[1]["value"] == pytest.approx(float(found.score.mean()), rel=1e-6)


@pytest.mark.slow
def test_statements_are_measured_image_by_image(run, tmp_path):
    chosen = metrics.build("symmetry", "invariance")
    chosen += metrics.build("symmetry", "lemma_1")
    store = evaluation.Results(tmp_path)
    rows = metrics.measure(run, store, chosen, 3, QUIET)
    assert [row["metric"] for row in rows] == ["invariance"] * 2 + ["lemma_1"] * 2
    assert [row["dequantized"] for row in rows] == [False] * 2 + [True] * 2
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"] and row["undefined"] == 0
        assert row["value"] > 0.01  # the baseline is not invariant
        assert row["exact"] == 0
    with pytest.raises(ValueError, match="only='lemma 9': expected the beginning"):
        metrics.build("symmetry", "lemma 9")


def test_noisy_images_are_within_a_grey_level_whatever_they_are_measured_with(run):
    seen = []

    def look(subject, batch):
        seen.append(np.asarray(batch.images))
        return {"mean": seen[-1].mean(axis=(1, 2, 3))}

    clean = (run.experiment.dataset.test.images[:25] / 255).astype(np.float32)
    labels = run.experiment.dataset.test.labels[:25]
    for count in (25, 3):
        context = seed_context(run.logits_fns, clean[:count], labels)
        per_image.metric("look", look).compute(context)
    assert [len(each) for each in seen] == [20, 5, 3]
    np.testing.assert_array_equal(seen[2], seen[0][:3])
    noise = np.concatenate(seen[:2]) * 256 - clean * 255
    assert -1e-4 < noise.min() and noise.max() < 1 + 1e-4
    assert abs(noise.mean() - 0.5) < 0.02


@pytest.mark.slow
def test_the_first_seeds_alone_and_nets_before_training(run, tmp_path):
    chosen = metrics.build("symmetry", "equivariance")
    fresh = run.untrained()
    store = evaluation.Results(tmp_path)
    after = metrics.measure(run, store, chosen, 2, QUIET, seeds=1)
    before = metrics.measure(fresh, store, chosen, 2, QUIET, seeds=1)
    assert [row["seed"] for row in after + before] == [0, 0]
    assert before[0]["epoch"] == 0 < after[0]["epoch"]
    assert before[0]["value"] != after[0]["value"]
    for path, average in jax.tree.leaves_with_path(
        fresh.state.variables["batch_stats"]
    ):
        expected = 0 if "mean" in jax.tree_util.keystr(path) else 1
        np.testing.assert_array_equal(average, np.full(average.shape, expected))


def test_the_command_takes_every_metric():
    assert METRICS == sorted([*metrics.METRICS, CORRUPTION])
    with pytest.raises(ValueError, match="metric 'nothing': expected one of"):
        metrics.build("nothing")
    with pytest.raises(ValueError, match="takes .*'radius'.*, not .'sigma'"):
        metrics.build("clever", sigma=1.0)
