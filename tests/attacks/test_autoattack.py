"""AutoAttack: the ensemble, its driver, and that a killed one goes on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax import attacks
from symjax.attacks import ThreatModel, autoattack, ensemble, host_loop, iterative
from symjax.attacks._apgd import APGD
from symjax.attacks._square import Square
from symjax.attacks.iterative import AttackInputs
from tests.linear_models import boundary_distance, linear, problem

KEY = jax.random.key(3)
QUICK = {"steps": 40, "n_queries": 20, "n_target_classes": 3, "batch_size": 10}
"""Everywhere the same, so that tests share programs."""
RADII = {"linf": (0.004, 0.02), "l2": (0.01, 0.04), "l1": (0.02, 0.1)}


def same(a, b):
    for name in vars(a):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)


@pytest.mark.parametrize("norm", list(RADII))
@pytest.mark.slow
def test_the_robust_accuracy_of_a_linear_model_is_met(norm):
    logits_fn, images, labels = problem(4)
    labels = np.asarray(logits_fn(images)).argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % 4
    distance = boundary_distance(logits_fn, images, labels, norm)
    for eps in RADII[norm]:
        threat = ThreatModel(norm, eps)
        result = autoattack(logits_fn, images, labels, KEY, threat, **QUICK)
        assert np.abs(distance - eps).min() > 1e-5  # no image is on the fence
        np.testing.assert_array_equal(result.robust, distance > eps)
        assert 0 < result.robust.sum() < len(images) - 3
        assert threat.contains(result.images, images).all()
        margin = attacks.margin(logits_fn(result.images), labels)
        np.testing.assert_array_equal(margin < 0, result.robust)
        assert (result.broken_by[:3] == "clean").all() and not result.rejected.any()
        np.testing.assert_array_equal(result.broken_by == "", result.robust)
        kept = result.robust | (result.broken_by == "clean")
        assert (result.distance[kept] == 0).all()
        assert (result.distance[~kept] > 0).all()


@pytest.mark.slow
def test_broken_images_cost_nothing_more():
    logits_fn, images, labels = problem(4)
    threat = attacks.Linf(0.02)
    result = autoattack(logits_fn, images, labels, KEY, threat, **QUICK)
    clean, first = result.broken_by == "clean", result.broken_by == "apgd-ce"
    assert clean.any() and first.any() and result.robust.any()
    assert (result.queries[clean] == 1).all() and (result.gradients[clean] == 0).all()
    assert result.queries[first].max() <= 1 + 41
    # Clean, APGD, three targets of APGD and FAB each, Square.
    assert (result.queries[result.robust] == 1 + 41 + 3 * 42 + 3 * 82 + 21).all()
    assert (result.gradients[result.robust] == 41 + 3 * 41 + 3 * 41).all()


def test_a_killed_evaluation_goes_on_to_the_same_result(tmp_path):
    logits_fn, images, labels = problem(4)
    threat = attacks.Linf(0.01)
    call = logits_fn, images, labels, KEY, threat
    whole = autoattack(*call, **QUICK)
    seen = []

    def kill(progress):
        seen.append(progress)
        if progress.attack == "apgd-t" and progress.attempt == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        autoattack(*call, **QUICK, folder=tmp_path, report=kill)
    assert 0 < whole.robust.sum() <= seen[-1].robust < len(images)
    kept = sorted(path.name for path in tmp_path.rglob("*.npz"))
    assert len(kept) == len(seen)
    (tmp_path / "seeds-0-0" / "99-cut-off.partial").write_bytes(b"half")
    same(autoattack(*call, **QUICK, folder=tmp_path), whole)
    with pytest.raises(
        ValueError, match=r"another call, which differs in \['threat'\]"
    ):
        autoattack(*call[:-1], attacks.Linf(0.2), **QUICK, folder=tmp_path)
    with pytest.raises(ValueError, match=r"differs in \['arrays'\]"):
        autoattack(
            logits_fn, images, labels[::-1].copy(), *call[3:], **QUICK, folder=tmp_path
        )


@pytest.mark.slow
def test_seeds_give_what_each_gives_alone():
    nets = [problem(4, seed=seed)[0] for seed in range(2)]
    _, images, labels = problem(4)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)
    keys = jax.random.split(KEY, 2)
    threat = attacks.L2(0.05)
    together = autoattack(stacked, images, labels, keys, threat, **QUICK)
    assert together.images.shape == (2, *images.shape)
    for seed, net in enumerate(nets):
        alone = autoattack(net, images, labels, keys[seed], threat, **QUICK)
        for name in vars(alone):
            among = getattr(together, name)[seed]
            np.testing.assert_array_equal(among, getattr(alone, name), name)


@pytest.mark.parametrize("attack", [APGD(steps=7), Square(n_queries=15)])
@pytest.mark.slow
def test_steps_from_the_host_equal_a_loop_and_seeds_together(attack, monkeypatch):
    """On an accelerator the seeds are together and the steps a loop in the program."""
    nets = [problem(4, seed=seed)[0] for seed in range(2)]
    _, images, labels = problem(4)
    several = AttackInputs(
        images=jnp.stack([images] * 2),
        labels=jnp.stack([labels] * 2),
        key=jax.random.split(KEY, 2),
        threat=ThreatModel("linf", jnp.full(2, 0.01), (jnp.zeros(2), jnp.ones(2))),
        rank=jnp.zeros(2, int),
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)
    real = np.ones((2, len(images)), bool)
    host = host_loop.run(attack, stacked, several, real)
    host_loop._programs.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(jax, "default_backend", lambda: "gpu")
        loop = host_loop.run(attack, stacked, several, real)
    host_loop._programs.cache_clear()
    for seed, net in enumerate(nets):
        of_seed = jax.tree.map(lambda x, s=seed: x[s], several)
        state = attack.init(net, of_seed)
        alone = iterative.advance(attack, net, of_seed, 0, attack.steps, state).best
        for best in (host, loop):
            np.testing.assert_array_equal(best.broken[seed], alone.broken)
            np.testing.assert_allclose(best.images[seed], alone.images, atol=1e-5)
            np.testing.assert_array_equal(best.queries[seed], alone.queries)


def test_a_second_call_compiles_nothing():
    logits_fn, images, labels = problem(4)
    autoattack(logits_fn, images, labels, KEY, attacks.Linf(0.02), **QUICK)
    sizes = []
    for seed, eps in ((1, 0.01), (2, 0.3)):
        other, _, labels = problem(4, seed=seed)
        key = jax.random.key(seed)
        autoattack(other, images, labels, key, attacks.Linf(eps), **QUICK)
        init, _ = host_loop._programs(APGD(steps=QUICK["steps"]), 1)
        sizes.append(init._cache_size())
    assert sizes[0] == sizes[1]


def test_what_holds_in_a_batch_alone_is_rejected():
    """A net that errs with several images and not with one."""
    logits_fn, images, labels = problem(4)
    labels = np.asarray(logits_fn(images)).argmax(axis=1)

    def crowded(images):
        return logits_fn(images) * (1.0 if len(images) == 1 else -1.0)

    result = autoattack(
        crowded, images, labels, KEY, attacks.Linf(1e-6), version=("apgd-ce",), **QUICK
    )
    assert result.robust.all() and (result.rejected == 2).all()
    np.testing.assert_array_equal(result.images, images)


def test_a_randomised_net_is_attacked_with_averaged_gradients():
    logits_fn, images, labels = problem(4)
    weights, bias = logits_fn.args

    def noisy(weights, images, key):
        noise = 0.3 * jax.random.normal(key, weights.shape)
        return linear(weights + noise, bias, images)

    call = images, labels, KEY, attacks.Linf(0.05)
    options = QUICK | {"version": "rand", "eot_iter": 4}
    net = Partial(noisy, jnp.asarray(weights))
    result = autoattack(net, *call, **options)
    assert set(result.broken_by) <= {"", "clean", "apgd-ce", "apgd-dlr"}
    assert result.robust.mean() < 0.3
    same(result, autoattack(net, *call, **options))


@pytest.mark.parametrize(
    ("version", "norm", "classes", "expected"),
    [
        ("standard", "linf", 10, "apgd-ce 1, apgd-t 9, fab-t 9, square 1"),
        ("standard", "l1", 10, "apgd-ce 5, apgd-t 5, fab-t 9, square 1"),
        ("standard", "l2", 4, "apgd-ce 1, apgd-t 3, fab-t 3, square 1"),
        (
            "plus",
            "l2",
            10,
            "apgd-ce 5, apgd-dlr 5, fab 5, square 1, apgd-t 9, fab-t 9",
        ),
        ("rand", "linf", 10, "apgd-ce 1, apgd-dlr 1"),
        (("square", "apgd-dlr"), "linf", 10, "square 1, apgd-dlr 1"),
    ],
)
def test_versions_are_those_of_the_public_implementation(
    version, norm, classes, expected
):
    stages = ensemble.stages(version, norm, classes)
    said = ", ".join(f"{stage.name} {len(stage.ranks)}" for stage in stages)
    assert said == expected
    first = next(stage.attack for stage in stages if stage.name.startswith("apgd"))
    assert isinstance(first, APGD) and first.rho == first.momentum == 0.75
    assert first.eot_iter == (20 if version == "rand" else 0)
    wide = norm == "l1" and version == "standard"
    assert first.radii == ((3.0, 2.0, 1.0) if wide else (1.0,))


@pytest.mark.parametrize(("classes", "loss"), [(2, "margin"), (3, "dlr")])
def test_few_classes_take_a_loss_that_is_defined(classes, loss):
    plan = {
        stage.name: stage.attack for stage in ensemble.stages("plus", "l2", classes)
    }
    assert plan["apgd-dlr"].loss == loss and plan["apgd-t"].loss == "margin"


def test_a_closure_over_other_weights_is_another_call(tmp_path):
    _, images, labels = problem(4)
    nets = [lambda x, seed=seed: problem(4, seed=seed)[0](x) for seed in (0, 0, 1)]
    options = QUICK | {"version": ("apgd-ce",), "folder": tmp_path}
    call = images, labels, KEY, attacks.Linf(0.01)
    same(autoattack(nets[0], *call, **options), autoattack(nets[1], *call, **options))
    with pytest.raises(ValueError, match=r"differs in \['arrays'\]"):
        autoattack(nets[2], *call, **options)
