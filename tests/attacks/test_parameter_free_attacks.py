"""APGD, FAB and Square against closed forms, and what every attack owes.

DeepFool and Carlini-Wagner are in a file of their own.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax import attacks
from symjax.attacks import NORMS, ThreatModel, is_correct, schedule, windows
from symjax.attacks._square import _grid
from symjax.attacks.iterative import AttackInputs
from tests.linear_models import boundary_distance, linear, owes, problem

KEY = jax.random.key(3)
every_norm = pytest.mark.parametrize("norm", NORMS)
apgd = jax.jit(attacks.apgd, static_argnames=("loss", "steps", "targeted"))
fab = jax.jit(attacks.fab, static_argnames=("steps", "targeted"))
square = jax.jit(attacks.square, static_argnames="n_queries")
RADII = {"linf": (0.004, 0.02, 0.05), "l2": (0.01, 0.04, 0.1), "l1": (0.02, 0.1, 0.2)}


def three_classes(norm):
    """Two classes and a third that no image reaches: the DLR loss needs three.

    In l1 all pixels weigh the same: APGD never moves fewer than two, as published.
    """
    logits_fn, images, labels = problem()
    weights, bias = logits_fn.args
    if norm == "l1":
        weights = np.sign(weights[:, :1]) * np.float32([[0.5, -0.5]])
        bias = -0.5 * weights.sum(axis=0, keepdims=True)
    weights = np.concatenate([weights, 0 * weights[:, :1]], axis=1)
    bias = np.concatenate([bias, [[-30.0]]], axis=1).astype(np.float32)
    return Partial(linear, weights, bias), images, labels


@every_norm
def test_apgd_dlr_meets_the_robust_accuracy_of_a_linear_model(norm):
    logits_fn, images, labels = three_classes(norm)
    distance = boundary_distance(logits_fn, images, labels, norm)
    shares = set()
    for eps in RADII[norm]:
        result = apgd(logits_fn, images, labels, KEY, ThreatModel(norm, eps), "dlr")
        certified = distance > eps
        assert np.abs(distance - eps).min() > 1e-5  # no image is on the fence
        np.testing.assert_array_equal(result.robust, certified)
        shares.add(certified.mean())
    assert len(shares) > 1


@every_norm
@pytest.mark.parametrize("targeted", [False, True])
def test_fab_meets_the_distance_of_a_linear_model(norm, targeted):
    classes = 3 if targeted else 5
    logits_fn, images, labels = problem(classes)
    distance = boundary_distance(logits_fn, images, labels, norm)
    nearest = np.full(len(images), np.inf)
    for rank in (2, 3) if targeted else (0,):
        result = fab(
            logits_fn,
            images,
            labels,
            KEY,
            ThreatModel(norm, jnp.inf),
            targeted=targeted,
            rank=rank,
            steps=60,
        )
        nearest = np.minimum(nearest, result.distance)
    wrong = ~np.asarray(is_correct(logits_fn(images), labels))
    assert (nearest[wrong] == 0).all() and 0 < wrong.sum() < len(images)
    np.testing.assert_allclose(nearest[~wrong], distance[~wrong], rtol=0.01)
    assert (nearest >= distance - 1e-6).all()


@every_norm
def test_square_comes_close_on_a_linear_model_and_never_undercuts_it(norm):
    logits_fn, images, labels = problem()
    distance = boundary_distance(logits_fn, images, labels, norm)
    eps = float(np.median(distance[distance > 0]))
    clean = np.asarray(is_correct(logits_fn(images), labels))
    threat = ThreatModel(norm, eps)
    result = square(logits_fn, images, labels, KEY, threat, n_queries=400)
    owes(result, threat, logits_fn, images, labels)
    robust = np.asarray(result.robust)
    assert robust[distance > eps * 1.00001].all()
    assert robust.sum() < clean.sum() and (result.gradients == 0).all()
    assert (np.asarray(result.queries)[robust] == 402).all()
    assert np.asarray(result.queries)[~robust].max() < 402


def test_checkpoints_are_those_of_the_paper():
    lengths = schedule.windows("linf", 100)
    closes = [index + 1 for index, length in enumerate(lengths) if length]
    assert closes == [22, 41, 57, 70, 80, 87, 93, 99]


def test_fab_restarts_elsewhere_and_comes_to_the_same_distance():
    logits_fn, images, labels = problem(2)  # one boundary: nowhere else to go
    distance = boundary_distance(logits_fn, images, labels, "l2")
    call = logits_fn, images, labels, KEY, ThreatModel("l2", 0.2)
    first, second = (fab(*call, steps=60, restart=restart) for restart in (0, 2))
    reached = (distance > 0) & (distance < 0.19)
    assert reached.sum() > 5
    for result in (first, second):
        np.testing.assert_allclose(
            result.distance[reached], distance[reached], rtol=0.01
        )
    assert (first.images != second.images).any(axis=(1, 2, 3))[reached].all()


@pytest.mark.slow
def test_expectation_over_transformation_averages_gradients():
    """Draws that turn most gradients around, of nets that are never broken."""
    logits_fn, images, labels = problem()
    weights, bias = logits_fn.args
    safe = 10.0 * np.eye(2, dtype=np.float32)[labels]

    def noisy(x, key):
        draw = 5 * jax.random.normal(key, weights.shape)
        return safe + linear(weights, bias, x) + linear(draw, 0.0, x - images)

    def gained(draws):
        """The part of what the worst image would gain."""
        attack = functools.partial(attacks.apgd, noisy, loss="margin", eot_iter=draws)
        result = jax.jit(functools.partial(attack, steps=20))(
            images, labels, KEY, attacks.Linf(eps)
        )
        assert result.robust.all() and (result.gradients == 21 * draws).all()
        gain = attacks.margin(logits_fn(result.images), labels)
        gain -= attacks.margin(logits_fn(images), labels)
        normal = weights[:, 1 - labels] - weights[:, labels]
        return np.mean(gain / (eps * np.abs(normal).sum(axis=0)))

    eps = 0.02
    assert gained(64) > 0.7 > 0.3 > gained(1)


def test_square_windows_shrink_as_published():
    sides = windows.sizes(5000, 0.8, False, 32, 32, "linf")
    assert sides[0] == 29 and sides[10] == 29 and sides[11] == 20  # sqrt(.8, .4) * 32
    assert sides[51] == 14 and sides[201] == 10 and sides[-1] == 3
    l2 = windows.sizes(5000, 0.8, False, 32, 32, "l2")
    assert set(side % 2 for side in l2) == {1} and min(l2) == 3


def grey(height, width, channels=1, batch=2):
    """Grey images, and a linear net of four classes."""
    images = jnp.full((batch, height, width, channels), 0.5)
    weights = jax.random.normal(KEY, (height * width * channels, 4))
    net = Partial(linear, weights, jnp.zeros((1, 4)))
    return net, images, jnp.argmax(net(images), axis=1)


@jax.jit
def grid(images, threat):
    labels = jnp.zeros(len(images), int)
    return _grid(KEY, AttackInputs(images, labels, KEY, threat))


@pytest.mark.parametrize("size", [(1, 8), (4, 5), (9, 9), (17, 31), (128, 32)])
def test_the_grid_of_square_covers_tall_images_as_well_as_wide_ones(size):
    moved, threat = [], attacks.L2(0.5)
    for height, width in (size, size[::-1]):
        images = np.full((2, height, width, 2), 0.5, np.float32)
        x = np.asarray(grid(images, threat))
        assert threat.contains(x, images).all()
        length = np.sqrt(np.square(x - images).sum(axis=(1, 2, 3)))
        np.testing.assert_allclose(length, 0.5, rtol=1e-4)
        moved.append((x != images).all(axis=(0, 3)))
    np.testing.assert_array_equal(moved[0], moved[1].T)
    # Of square images the public implementation leaves out most at 9 x 9: two rows.
    for axis in (0, 1):
        assert moved[0].any(axis=axis).mean() >= 7 / 9


def test_the_grid_of_square_on_square_images_is_as_published():
    """Tiles of a fifth of the side from half of what five of them leave."""
    for side in (8, 9, 14, 32):
        images = np.full((1, side, side, 1), 0.5, np.float32)
        moved = np.asarray(grid(images, attacks.L2(0.5)) != 0.5)[0, :, :, 0]
        tile = side // 5
        first = (side - 5 * tile) // 2
        end = min(first + side // tile * tile, side)
        expected = np.zeros((side, side), bool)
        expected[first:end, first:end] = True
        np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize(
    ("norm", "size"),
    [
        ("l2", (1, 1, 1)),
        ("linf", (3, 2, 1)),
        ("l1", (1, 8, 7)),
        ("l2", (40, 8, 1)),
        ("l1", (40, 8, 1)),
    ],
)
@pytest.mark.slow
def test_square_on_images_of_any_shape(norm, size):
    threat = ThreatModel(norm, 0.3)
    logits_fn, images, labels = grey(*size)
    result = square(logits_fn, images, labels, KEY, threat, n_queries=20)
    owes(result, threat, logits_fn, images, labels)
    assert (result.distance > 0).all()


@pytest.mark.slow
def test_autoattack_standard_on_tall_images():
    logits_fn, images, labels = grey(20, 4)
    threat = attacks.L2(0.01)  # all attacks meet what is left, and some is
    result = attacks.autoattack(
        logits_fn, images, labels, KEY, threat, steps=2, n_queries=2, n_target_classes=1
    )
    assert result.robust.all() and not result.rejected.any()
    assert (result.queries > 2 * 3).all()


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_bumps_have_length_one_and_two_signs(norm):
    for side in (3, 4, 7):
        bump = windows.bump(side, norm)
        length = np.sqrt((bump**2).sum()) if norm == "l2" else np.abs(bump).sum()
        assert length == pytest.approx(1, rel=1e-6)
        assert (bump[: side // 2] >= 0).all() and (bump[side // 2 :] <= 0).all()
