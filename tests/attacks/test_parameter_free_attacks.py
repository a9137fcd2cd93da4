"""APGD, FAB and Square against closed forms, and what every attack owes.

DeepFool and Carlini-Wagner are in a file of their own.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial

from symjax import attacks
from symjax.attacks import NORMS, ThreatModel, is_correct, schedule, windows
from symjax.attacks._apgd import APGD, _review
from symjax.attacks._square import _grid
from symjax.attacks.iterative import AttackInputs
from symjax.seeds import over_seeds
from tests.linear_models import boundary_distance, linear, owes, problem, waves

KEY = jax.random.key(3)
every_norm = pytest.mark.parametrize("norm", NORMS)
apgd = jax.jit(attacks.apgd, static_argnames=("loss", "steps", "targeted"))
fab = jax.jit(attacks.fab, static_argnames=("steps", "targeted"))
square = jax.jit(attacks.square, static_argnames="n_queries")
fgsm = jax.jit(attacks.fgsm)
pgd = jax.jit(attacks.pgd, static_argnames=("steps", "momentum"))
ATTACKS = {
    "apgd": functools.partial(apgd, steps=8),
    "apgd-dlr": functools.partial(apgd, loss="dlr", steps=8),
    "apgd-t": functools.partial(apgd, loss="dlr", targeted=True, steps=8),
    "fab": functools.partial(fab, steps=8),
    "fab-t": functools.partial(fab, targeted=True, steps=8),
    "square": functools.partial(square, n_queries=20),
    "fgsm": functools.partial(fgsm),
    "pgd": functools.partial(pgd, steps=8, momentum=0.5),
}
every_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
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


@every_norm
@every_attack
@pytest.mark.slow
def test_what_every_attack_owes(attack, norm):
    check(attack, norm, seed=0, eps=0.3)


PERTURBED = settings(max_examples=20, deadline=None, derandomize=True)


@PERTURBED
@given(
    attack=st.sampled_from(list(ATTACKS)),
    norm=st.sampled_from(NORMS),
    seed=st.integers(0, 10**6),
    eps=st.floats(0, 1, width=32),
)
@pytest.mark.slow
def test_what_every_attack_owes_whatever_it_meets(attack, norm, seed, eps):
    check(ATTACKS[attack], norm, seed, eps)


def check(attack, norm, seed, eps):
    logits_fn, images, labels = problem(4, waves, seed)
    images[:4] = np.round(images[:4])  # on the bounds
    threat = ThreatModel(norm, jnp.float32(eps))
    key = jax.random.key(seed)
    first, second = (attack(logits_fn, images, labels, key, threat) for _ in range(2))
    chex.assert_trees_all_equal(first, second)
    threat = ThreatModel(norm, np.float32(eps))
    distance = np.asarray(first.distance)
    returned = threat.distance(first.images, images)
    clean = is_correct(logits_fn(images), labels)
    broken = ~np.asarray(first.robust)
    assert broken[~clean].all()
    # A minimum-norm attack says the distance of errors outside the ball, too.
    np.testing.assert_allclose(returned[broken], distance[broken], atol=1e-5)
    owes(
        first.replace(distance=jnp.where(first.robust, returned, first.distance)),
        threat,
        logits_fn,
        images,
        labels,
    )


@every_attack
@pytest.mark.slow
def test_neither_eps_nor_key_nor_model_compiles_again(attack):
    program = attack.func
    program.clear_cache()
    for seed, eps in ((0, 0.1), (1, 0.2)):
        logits_fn, images, labels = problem(4, waves, seed)
        threat = ThreatModel("l2", jnp.float32(eps))
        attack(logits_fn, images, labels, jax.random.key(seed), threat)
    assert program._cache_size() == 1


@pytest.mark.parametrize("name", ["apgd-t", "square"])
@pytest.mark.slow
def test_seeds_among_others_equal_seeds_alone(name):
    attack = ATTACKS[name]
    nets = [problem(4, seed=seed)[0] for seed in range(3)]
    _, images, labels = problem(4)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)
    keys = jax.random.split(KEY, 3)
    threat = attacks.L2(0.05)
    axes = (0, None, None, 0, None)
    among = jax.jit(over_seeds(attack, axes, together=True))
    results = among(stacked, images, labels, keys, threat)
    for index, logits_fn in enumerate(nets):
        alone = attack(logits_fn, images, labels, keys[index], threat)
        of_seed = jax.tree.map(lambda leaf, i=index: leaf[i], results)
        chex.assert_trees_all_close(of_seed, alone, atol=1e-5)


@every_attack
def test_nan_logits_are_never_robust(attack):
    """Logits that are NaN wherever an image is changed count as errors."""
    logits_fn, images, labels = problem(4)

    def nowhere(logits_fn, x):
        changed = jnp.any(x != images, axis=(1, 2, 3))[:, None]
        return jnp.where(changed, jnp.nan, logits_fn(x))

    threat = attacks.Linf(0.1)
    result = attack(Partial(nowhere, logits_fn), images, labels, KEY, threat)
    assert not result.robust.any()
    assert threat.contains(result.images, images).all()


@pytest.mark.parametrize(
    ("norm", "eps", "targeted"), [("linf", 1e-5, False), ("l2", 1e-4, True)]
)
def test_fab_looks_into_the_ball_where_the_net_has_no_answer_beyond(
    norm, eps, targeted
):
    """A single step leads beyond the ball, and all that was changed is NaN."""
    logits_fn, images, labels = problem(4)

    def nowhere(logits_fn, x):
        changed = jnp.any(x != images, axis=(1, 2, 3))[:, None]
        return jnp.where(changed, jnp.nan, logits_fn(x))

    net, threat = Partial(nowhere, logits_fn), ThreatModel(norm, eps)
    result = fab(net, images, labels, KEY, threat, steps=1, targeted=targeted)
    right = np.asarray(is_correct(logits_fn(images), labels))
    assert right.any() and not result.robust.any()
    assert threat.contains(result.images, images).all()
    np.testing.assert_allclose(result.distance[right], eps, rtol=0.02)


def test_checkpoints_are_those_of_the_paper():
    lengths = schedule.windows("linf", 100)
    closes = [index + 1 for index, length in enumerate(lengths) if length]
    assert closes == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.slow
def test_steps_that_do_not_pay_are_halved():
    """Section 3.2: few rises, or no gain since the last checkpoint at the same step."""
    images = jnp.zeros((4, 1, 1, 1))
    about = AttackInputs(
        images, jnp.zeros(4, int), KEY, attacks.Linf(0.1), start=images
    )
    attack = APGD(loss="margin", steps=10)
    state = attack.init(Partial(linear, np.ones((1, 2)), np.zeros((1, 2))), about)
    state = state.replace(
        x=images + 1,
        x_highest=images + 2,
        gradients=images + 3,
        gradients_highest=images + 4,
        rises=jnp.array([8, 7, 8, 8]),  # of 10: more than rho in all but one
        highest=jnp.array([1.0, 1.0, 0.5, 0.5]),
        highest_then=jnp.array([0.5, 0.5, 0.5, 0.5]),
        reduced_then=jnp.array([False, False, False, True]),
        step=images + 2,
    )
    after = _review(state, images, jnp.array(10), rho=0.75)
    halved = np.array([False, True, True, False])
    np.testing.assert_array_equal(after.step.ravel(), np.where(halved, 1, 2))
    np.testing.assert_array_equal(after.x.ravel(), np.where(halved, 2, 1))
    np.testing.assert_array_equal(after.gradients.ravel(), np.where(halved, 4, 3))
    np.testing.assert_array_equal(after.reduced_then, halved)
    np.testing.assert_array_equal(after.highest_then, state.highest)
    np.testing.assert_array_equal(after.rises, 0)


@pytest.mark.parametrize("name", ["apgd", "fab"])
@pytest.mark.parametrize("rank", [1, 5])
def test_a_target_is_a_wrong_class(name, rank):
    call = *problem(4), KEY, attacks.Linf(0.1)
    with pytest.raises(ValueError, match=f"rank={rank}: expected 2 to 4"):
        getattr(attacks, name)(*call, targeted=True, rank=rank, steps=1)


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


@pytest.mark.parametrize(
    ("attack", "options", "match"),
    [
        (attacks.apgd, {"loss": "hinge"}, "loss='hinge'"),
        (attacks.apgd, {"steps": 0}, "steps=0"),
        (attacks.apgd, {"rho": 2.0}, "rho=2.0"),
        (attacks.apgd, {"loss": "dlr"}, "needs 3 classes or more, and the net has 2"),
        (attacks.fab, {"steps": 0}, "steps=0"),
        (attacks.fab, {"beta": 1.5}, "beta=1.5"),
        (attacks.fab, {"eta": 0.5}, "eta=0.5"),
        (attacks.square, {"n_queries": 0}, "n_queries=0"),
        (attacks.square, {"initial_share": 0.0}, "initial_share=0.0"),
    ],
)
def test_impossible_settings_are_errors(attack, options, match):
    with pytest.raises(ValueError, match=match):
        attack(*problem(), KEY, attacks.Linf(0.1), **options)


@pytest.mark.parametrize(
    "attack", [attacks.pgd, attacks.fgsm, attacks.apgd, attacks.fab, attacks.square]
)
def test_impossible_inputs_are_errors(attack):
    logits_fn, images, labels = problem()
    threat = attacks.Linf(0.1)
    nan = images.copy()
    nan[2, 0, 0, 0] = np.nan
    for wrong, match in (
        ((nan, labels, threat), "image 2 has pixels that are not finite"),
        ((images + 1, labels, threat), "leave the bounds"),
        ((images[0], labels, threat), r"expected \[B, H, W, C\]"),
        (((255 * images).astype(np.uint8), labels, threat), "dtype uint8"),
        ((images, labels[:3], threat), r"labels of shape \(3,\)"),
        ((images, labels * 1.0, threat), "dtype float64"),
        ((images, labels - 5, threat), "labels from -5"),
        ((images, labels, attacks.Linf(-1.0)), "eps=-1.0"),
    ):
        with pytest.raises(ValueError, match=match):
            attack(logits_fn, wrong[0], wrong[1], KEY, wrong[2])


@pytest.mark.parametrize(
    ("attack", "norm"),
    [(attacks.apgd, "l1"), (attacks.fab, "linf"), (attacks.square, "l2")],
)
def test_one_eps_a_channel_is_an_error_where_it_has_no_meaning(attack, norm):
    threat = ThreatModel(norm, (0.1, 0.2))
    with pytest.raises(ValueError, match="expected one number"):
        attack(*problem(), KEY, threat)
