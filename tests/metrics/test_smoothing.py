"""Randomised smoothing: linear nets, whose radius is a distance; binomial tails."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from rich.console import Console
from scipy import stats

from symjax import evaluation
from symjax.evaluation.metrics import base, smoothing
from symjax.metrics import smoothing as metric
from symjax.metrics.smoothing import certificate, certify
from symjax.seeds import KeyPurpose, of_seed, purpose_key
from tests import linear_models

KEY = jax.random.key(1)
SIGMA = 0.25
SHAPE = (1, 2, 1)  # of an image


def linear_problem(count, farthest=2.0):
    """A two-class linear net, images, their classes, and distances in sigma."""
    rng = np.random.default_rng(0)
    normal, classes = np.array([0.6, -0.8]), rng.integers(0, 2, count)
    distance = rng.uniform(0, farthest, count)
    points = 0.5 + np.outer((2 * classes - 1) * distance * SIGMA, normal)
    weights = np.stack([-2 * normal, 3 * normal], axis=1).astype(np.float32)
    bias = -0.5 * weights.sum(axis=0, keepdims=True)
    net = Partial(linear_models.linear, weights, bias)
    return net, points.reshape(-1, *SHAPE).astype(np.float32), classes, distance


@functools.cache
def certified_linear(n, alpha, count=400):
    net, images, *truth = linear_problem(count)
    return certify(net, images, KEY, SIGMA, 50, n, alpha, chunk=n + 50), *truth


def test_probabilities_of_a_linear_net_are_those_of_the_normal_law():
    """Cohen et al. 2019, Appendix B: Phi(margin / (sigma |w|))."""
    n = 1000
    found, classes, distance = certified_linear(n, 0.1)
    hits = found.counts[np.arange(len(classes)), classes]
    share = stats.norm.cdf(distance)
    squares = (hits - n * share) ** 2 / (n * share * (1 - share))
    assert 0.01 < stats.chi2.sf(squares.sum(), len(squares)) < 0.99
    np.testing.assert_array_equal(found.counts.sum(axis=1), n)


def test_radii_of_a_linear_net_are_distances_but_for_the_stated_share():
    alpha = 0.1
    found, classes, distance = certified_linear(1000, alpha)
    held = np.where(found.classes == classes, distance * SIGMA, 0.0)
    wrong = (found.radii > held).sum()
    low, high = stats.binom.ppf([0.001, 0.999], len(held), alpha)
    assert low <= wrong <= high


def test_radii_of_a_linear_net_tend_to_the_distance():
    for n, count, slack in ((1000, 400, 0.6), (30_000, 20, 0.12)):
        found, classes, distance = certified_linear(n, 1e-6, count)
        short = distance - found.radii / SIGMA
        certain = found.classes >= 0
        assert (found.classes == classes)[certain].all() and certain.sum() > 10
        assert (short >= 0).all() and short.max() < slack


def test_bounds_are_clopper_and_pearsons():
    n, alpha, sigma = 40, 0.01, 0.5
    hits = np.arange(n + 1)
    counted = np.stack([n - hits, hits], axis=1)
    found = certificate(np.tile([0, 1], (n + 1, 1)), counted, n, sigma, alpha)
    for h, lower in enumerate(found.lower):
        exact = stats.binomtest(h, n, alternative="greater").proportion_ci(1 - alpha)
        assert lower == pytest.approx(exact.low, abs=1e-9)
    assert found.lower[0] == 0 and found.lower[n] == pytest.approx(alpha ** (1 / n))
    np.testing.assert_allclose(stats.binom.sf(hits - 1, n, found.lower)[1:], alpha)
    certain = found.lower > 0.5
    np.testing.assert_array_equal(found.classes, np.where(certain, 1, -1))
    np.testing.assert_allclose(
        found.radii[certain], sigma * stats.norm.ppf(found.lower[certain])
    )
    likely = stats.binom.sf(hits - 1, n, 0.5) < alpha  # at one half already
    np.testing.assert_array_equal(certain, likely)
    assert (found.radii[~certain] == 0).all() and 0 < certain.sum() < n


def test_the_class_that_was_chosen_is_the_one_that_is_counted():
    found = certificate(np.array([[9, 1]]), np.array([[5, 95]]), 100, 1.0, 0.01)
    assert found.classes[0] == -1 and found.lower[0] < 0.05 and found.radii[0] == 0


@pytest.mark.parametrize("chunk", [1, 16, 37, None])
def test_counts_do_not_depend_on_the_chunk_or_on_other_images(chunk):
    net, images, *_ = linear_problem(3)
    call = KEY, SIGMA, 10, 30
    whole = certify(net, images, *call, chunk=40)
    found = certify(net, images[: None if chunk else 2], *call, chunk=chunk)
    np.testing.assert_array_equal(found.counts, whole.counts[: len(found.counts)])
    assert len(np.unique(whole.counts[:, 0])) > 1


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    net, images, *_ = linear_problem(5)
    call = net, images, KEY, SIGMA, 10, 30
    whole = certify(*call)

    def stop(done, total):
        assert total == 5
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        certify(*call, folder=tmp_path, report=stop)
    counted, of_image = [], metric._counts_of_image
    monkeypatch.setattr(
        metric, "_counts_of_image", lambda *a: counted.append(1) or of_image(*a)
    )
    resumed = certify(*call, chunk=7, folder=tmp_path)
    assert len(counted) == 2
    for mine, theirs in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    other = Partial(net.func, -net.args[0], net.args[1])
    with pytest.raises(ValueError, match="another call"):
        certify(other, *call[1:], folder=tmp_path)


def test_what_is_not_finite_or_tied_has_no_class():
    image = np.full((1, *SHAPE), 0.5, np.float32)

    def net(logit, images):
        clean = jnp.all(images == image, axis=(1, 2, 3))
        first = jnp.where(clean, 1.0, logit)
        return jnp.stack([first, jnp.zeros(len(images))], axis=1)

    for logit in (np.nan, np.inf, -np.inf, 0.0):
        odd = Partial(net, np.float32(logit))
        found = certify(odd, image, KEY, SIGMA, 5, 20, 0.1)
        assert found.counts.sum() == 0 and found.lower[0] == 0
        assert (found.classes[0], found.radii[0]) == (-1, 0)
    sure = certify(Partial(net, np.float32(-1)), image, KEY, SIGMA, 5, 20, 0.1)
    assert sure.classes[0] == 1 and sure.counts.tolist() == [[0, 20]]


def test_other_weights_compile_nothing():
    traced = []

    def net(weights, images):
        traced.append(images.shape)
        return images.reshape(len(images), -1) @ weights

    images = np.full((2, *SHAPE), 0.5, np.float32)
    weights = np.eye(2, dtype=np.float32)
    call = images, KEY, SIGMA, 5, 20
    certify(Partial(net, weights), *call)
    before = len(traced)
    certify(Partial(net, 2 * weights), *call)
    assert set(traced[before:]) <= {images.shape}  # the check of its classes
    assert {shape[0] for shape in traced} == {len(images), 25}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.0}, "sigma=0.0: expected a positive and finite"),
        ({"sigma": np.inf}, "sigma=inf"),
        ({"alpha": 1.0}, "alpha=1.0: expected a probability"),
        ({"n": 0}, "n=0: expected 1 or more"),
        ({"n0": 0}, "n0=0: expected 1 or more"),
        ({"chunk": -1}, "chunk=-1: expected 1 or more"),
        ({"images": np.zeros((0, *SHAPE), np.float32)}, "not empty"),
        ({"images": np.full((1, *SHAPE), 2, np.float32)}, "leave the bounds"),
        ({"images": np.full((1, *SHAPE), np.nan, np.float32)}, "not finite"),
        ({"logits_fn": lambda images: images[:, :1, 0, 0]}, "two classes or more"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    net, images, *_ = linear_problem(1)
    call = {"logits_fn": net, "images": images, "key": KEY, "sigma": SIGMA}
    with pytest.raises(ValueError, match=message):
        certify(**(call | changes))


@pytest.mark.slow
def test_rows_are_the_certificates_of_the_library(trained, tmp_path):
    run = evaluation.Run.open(trained.folder)
    chosen = smoothing.build((0.05, 0.1), samples=30, n0=10, alpha=0.05)
    quiet = Console(file=io.StringIO())
    store = evaluation.Results(tmp_path)
    rows = base.measure(run, store, chosen, 4, quiet)
    assert [row["sigma"] for row in rows] == [0.05, 0.05, 0.1, 0.1]
    assert [row["seed"] for row in rows] == [0, 1, 0, 1]
    test = run.experiment.dataset.test
    for row in rows:
        with np.load(tmp_path / "cells" / f"{row['cell_id']}.npz") as kept:
            cell = dict(kept)
        np.testing.assert_array_equal(cell["counts"].sum(axis=1), [30] * 4)
        np.testing.assert_array_equal(cell["right"], cell["class"] == test.labels[:4])
        assert (cell["radius"][~cell["right"]] == 0).all()
        assert row["value"] == pytest.approx(cell["radius"].mean())
        assert row["low"] <= row["value"] <= row["high"]
        assert row["certified"]["0"] == cell["right"].mean()
        assert row["certified"]["0.1"] == (cell["radius"] > 0.1).mean()
        assert row["abstained"] == (cell["class"] == -1).mean()
    net = of_seed(run.logits_fns, 1)
    key = purpose_key(run.experiment.keys[1], KeyPurpose.METRIC)
    found = certify(net, test.images[:4] / np.float32(255), key, 0.1, 10, 30, 0.05)
    np.testing.assert_array_equal(found.counts, cell["counts"])
