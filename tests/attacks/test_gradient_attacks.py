"""FGSM and PGD against closed forms on linear models, see `tests.linear_models`."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import attacks
from symjax.attacks import ThreatModel, fgsm, is_correct, margin, pgd
from symjax.attacks.losses import largest_margin
from tests.linear_models import SHAPE, linear, owes, problem, towards_error, waves

KEY = jax.random.key(3)
EPS = 0.05
pgd = jax.jit(
    pgd,
    static_argnames=("steps", "n_restarts", "random_start", "loss", "keep", "momentum"),
)
norms = pytest.mark.parametrize("norm", ["linf", "l2"])
FROM_IMAGE = {"random_start": False}


@norms
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_fgsm_is_one_whole_step_along_the_gradient(norm, loss):
    logits_fn, images, labels = problem()
    threat = ThreatModel(norm, EPS)
    result = fgsm(logits_fn, images, labels, None, threat, loss=loss)
    uphill, dual = towards_error(logits_fn, labels)
    step = {"linf": np.sign(uphill), "l2": uphill / dual["l2"][:, None, None, None]}
    correct = np.asarray(is_correct(logits_fn(images), labels))
    assert 4 < correct.sum() < 20
    moved = (images + EPS * step[norm])[correct]
    np.testing.assert_allclose(result.images[correct], moved, atol=1e-6)
    chex.assert_trees_all_equal(result.images[~correct], images[~correct])
    assert not result.robust[~correct].any()
    owes(result, threat, logits_fn, images, labels)
    assert (result.queries == 2).all() and (result.gradients == 1).all()


def test_fgsm_ascends_cross_entropy_of_many_classes():
    logits_fn, images, _ = problem(classes=4)
    logits = np.asarray(logits_fn(images), np.float64)
    labels = logits.argmax(axis=1)
    result = fgsm(logits_fn, images, labels, None, attacks.Linf(EPS))
    errors = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    errors -= np.eye(4)[labels]
    uphill = np.sign(errors @ logits_fn.args[0].T.astype(np.float64)).reshape(SHAPE)
    np.testing.assert_allclose(result.images, images + EPS * uphill, atol=1e-6)


def test_fgsm_clips_to_the_bounds():
    logits_fn, images, labels = problem()
    threat = attacks.Linf(0.5, bounds=(0.25, 0.75))
    result = fgsm(logits_fn, images, labels, None, threat)
    moved = result.images[result.distance > 0]
    assert len(moved) and np.isin(moved, np.float32([0.25, 0.75])).all()


@pytest.mark.parametrize(
    ("norm", "options"),
    [
        ("linf", {}),
        ("linf", FROM_IMAGE | {"steps": 3}),
        ("linf", {"loss": "margin", "keep": "last"}),
        ("l2", FROM_IMAGE),
        # Each step of length eps at least halves the angle that is left on the sphere.
        ("l2", {"step_size": EPS, "n_restarts": 2}),
        ("l1", FROM_IMAGE),  # of 12 pixels one moves: the steepest
        ("linf", {"momentum": 1.0, "loss": "margin"}),
    ],
)
def test_pgd_reaches_the_worst_margin_of_a_linear_model(norm, options):
    logits_fn, images, labels = problem()
    threat = ThreatModel(norm, EPS)
    result = pgd(logits_fn, images, labels, KEY, threat, **options)
    _, dual = towards_error(logits_fn, labels)
    weights, bias = (array.astype(np.float64) for array in logits_fn.args)
    worst = margin(linear(weights, bias, images), labels) + EPS * dual[norm]
    reached = margin(logits_fn(result.images), labels)
    np.testing.assert_allclose(reached, worst, atol=1e-5)
    assert np.abs(worst).min() > 1e-4  # no image is on the fence
    certified = worst < 0
    assert 0 < certified.sum() < len(images)
    np.testing.assert_array_equal(result.robust, certified)
    owes(result, threat, logits_fn, images, labels)


@pytest.mark.parametrize(
    ("norm", "keep", "queries"), [("linf", "best", 7), ("l2", "last", 6)]
)
def test_pgd_owes_the_same_at_the_bounds(norm, keep, queries):
    logits_fn, images, labels = problem(4, waves)
    images = np.round(images)
    threat = ThreatModel(norm, (0.0, 0.4))
    options = {"steps": 2, "n_restarts": 2, "keep": keep}
    result = pgd(logits_fn, images, labels, KEY, threat, **options)
    owes(result, threat, logits_fn, images, labels)
    chex.assert_trees_all_equal(result.images[..., 0], images[..., 0])
    assert (result.gradients == 4).all() and (result.queries == queries).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targets_are_gone_towards(norm):
    """On a linear model the target's logit gains eps times the dual norm, exactly."""
    logits_fn, images, labels = problem(4)
    targets = (labels + 1 + np.arange(len(labels)) % 3) % 4
    weights, eps = logits_fn.args[0], 0.05
    result = pgd(
        logits_fn,
        images,
        labels,
        KEY,
        ThreatModel(norm, eps),
        loss="margin",
        targets=targets,
        keep="last",
        steps=20,
        random_start=False,
    )
    normal = weights[:, targets] - weights[:, labels]
    dual = np.linalg.norm(normal, 1 if norm == "linf" else 2, axis=0)
    rows = np.arange(len(labels))
    before, after = (np.asarray(logits_fn(x)) for x in (images, result.images))
    gain = (after - before)[rows, targets] - (after - before)[rows, labels]
    np.testing.assert_allclose(gain, eps * dual, rtol=1e-3)


def test_the_best_iterate_is_never_weaker():
    logits_fn, images, labels = problem(4, waves)
    attack = functools.partial(
        pgd, logits_fn, images, labels, KEY, attacks.Linf(0.3), steps=5
    )
    best, last, more = attack(), attack(keep="last"), attack(n_restarts=3)
    clean = margin(logits_fn(images), labels)
    margins = {
        name: margin(logits_fn(result.images), labels)
        for name, result in {"best": best, "last": last, "more": more}.items()
    }
    for stronger, weaker in (
        (margins["best"], margins["last"]),
        (margins["best"], clean),
        (margins["more"], margins["best"]),
    ):
        assert (stronger >= weaker - 1e-6).all() and (stronger > weaker + 0.01).any()
    assert (margins["last"] < clean).any()  # which "best" guards against


def by_hand(norm, logits_fn, images, labels, eps, steps, step_size):
    """The last iterate of PGD on a linear model, from the image, in float64."""
    weights, bias = (array.astype(np.float64) for array in logits_fn.args)
    x = start = images.astype(np.float64)
    for _ in range(steps):
        logits = np.exp(linear(weights, bias, x))
        errors = logits / logits.sum(axis=1, keepdims=True)
        errors -= np.eye(logits.shape[1])[labels]
        gradients = (errors @ weights.T).reshape(x.shape)
        if norm == "linf":
            x = x + step_size * np.sign(gradients)
            x = start + np.clip(x - start, -eps, eps)
        else:
            length = np.sqrt(np.square(gradients).sum(axis=(1, 2, 3), keepdims=True))
            x = x + step_size * gradients / length
            length = np.sqrt(np.square(x - start).sum(axis=(1, 2, 3), keepdims=True))
            x = start + (x - start) * np.minimum(1, eps / length)
        x = np.clip(x, 0, 1)
    return x


@norms
def test_the_last_iterate_equals_a_loop_by_hand(norm):
    logits_fn, images, labels = problem(3)
    settings = {"steps": 5, "step_size": 0.15}
    threat = ThreatModel(norm, 0.4)  # the ball and the bounds both bind
    result = pgd(
        logits_fn, images, labels, KEY, threat, keep="last", **FROM_IMAGE, **settings
    )
    expected = by_hand(norm, logits_fn, images, labels, 0.4, **settings)
    np.testing.assert_allclose(result.images, expected, atol=1e-5)


def test_the_default_step_is_two_and_a_half_eps_over_the_steps():
    logits_fn, images, labels = problem(3)
    eps = jnp.array([0.1, 0.05])
    attack = functools.partial(
        pgd, logits_fn, images, labels, KEY, attacks.Linf(eps), steps=2
    )
    said = attack(step_size=1.25 * eps)
    chex.assert_trees_all_close(attack().images, said.images, atol=1e-6)
    other = attack(step_size=0.3 * eps)
    assert np.abs(other.images - said.images).max() > 0.005


def test_starts_differ_between_keys_and_restarts():
    logits_fn, images, labels = problem()
    still = functools.partial(
        pgd,
        logits_fn,
        images,
        labels,
        threat=attacks.Linf(EPS),
        steps=1,
        step_size=1e-9,
    )
    starts = [still(key=jax.random.key(seed), keep="last") for seed in (0, 0, 1)]
    chex.assert_trees_all_equal(starts[0], starts[1])
    assert (starts[0].images != starts[2].images).mean() > 0.9
    more = still(key=jax.random.key(0), n_restarts=8, keep="last")
    margins = [margin(logits_fn(x.images), labels) for x in (starts[0], more)]
    assert (margins[1] >= margins[0]).all() and (margins[1] > margins[0]).any()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_path_has_the_margin_of_every_point_in_order(keep):
    """On a linear net the margin grows by step times the dual norm, up to eps."""
    logits_fn, images, labels = problem()
    options = {"steps": 4, "step_size": EPS / 3, "n_restarts": 2, "keep": keep}
    call = logits_fn, images, labels, KEY, attacks.Linf(EPS)
    result, margins = attacks.pgd(*call, path=True, random_start=False, **options)
    _, dual = towards_error(logits_fn, labels)
    clean = np.asarray(largest_margin(logits_fn(images), labels))
    moved = np.array([0, 1, 2, 3, 3])[:, None] * EPS / 3 * dual["linf"]
    walks = np.tile(clean + moved, (2, 1))
    expected = np.concatenate([clean[None], walks]) if keep == "best" else walks
    np.testing.assert_allclose(margins, expected, atol=1e-5)
    alone = pgd(*call, random_start=False, **options)
    chex.assert_trees_all_close(result, alone, atol=1e-6)
