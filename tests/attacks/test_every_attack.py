"""What every attack owes, whatever it meets: a report that is right, and no more.

All cases of an attack share one program for each norm.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import attacks
from symjax.attacks import ThreatModel, is_correct
from symjax.seeds import over_seeds
from tests.linear_models import nan_gradient, nan_if_changed, owes, problem, waves

KEY = jax.random.key(3)
STATIC = {
    "apgd": ("loss", "steps", "targeted"),
    "fab": ("steps", "targeted"),
    "pgd": ("steps", "momentum", "keep"),
    "square": ("n_queries",),
}


def attack(name, **options):
    program = jax.jit(getattr(attacks, name), static_argnames=STATIC.get(name, ()))
    return functools.partial(program, **options)


ATTACKS = {
    "fgsm": attack("fgsm"),
    "pgd": attack("pgd", steps=8, momentum=0.5),
    "pgd-last": attack("pgd", steps=8, keep="last"),
    "apgd": attack("apgd", steps=8),
    "apgd-dlr": attack("apgd", loss="dlr", steps=8),
    "apgd-t": attack("apgd", loss="dlr", targeted=True, steps=8),
    "fab": attack("fab", steps=8),
    "fab-t": attack("fab", targeted=True, steps=8),
    "square": attack("square", n_queries=20),
    "deepfool": attack("deepfool", steps=20),
    "cw": attack("carlini_wagner", steps=50, binary_searches=3),
}
MINIMUM_NORM = ("fab", "fab-t", "deepfool", "cw")
NORMS = {"deepfool": ("linf", "l2"), "cw": ("l2",)}
PAIRS = [(name, norm) for name in ATTACKS for norm in NORMS.get(name, attacks.NORMS)]
every_attack = pytest.mark.parametrize("name", ATTACKS)


def norm_of(name):
    return "l2" if name == "cw" else "linf"


@pytest.mark.parametrize(("name", "norm"), PAIRS)
@pytest.mark.slow
def test_what_every_attack_owes(name, norm):
    """Neither eps, bounds, key nor weights compile again, and two runs are equal."""
    program = ATTACKS[name].func
    program.clear_cache()
    cases = (0, 0.3, 1), (1, 0.0, 1), (2, 0.5, 0.5), (3, 0.02, 4), (4, 0.1, 1)
    for seed, eps, width in cases:
        logits_fn, images, labels = problem(4, waves, seed)
        images[:4] = np.round(images[:4])  # on the bounds
        images = np.float32(0.5 + width * (images - 0.5))
        bounds = np.float32(0.5 - width / 2), np.float32(0.5 + width / 2)
        call = logits_fn, images, labels, jax.random.key(seed)
        threat = ThreatModel(norm, np.float32(eps), bounds)
        first, second = (ATTACKS[name](*call, threat) for _ in range(2))
        chex.assert_trees_all_equal(first, second)
        clean = is_correct(logits_fn(images), labels)
        if name != "pgd-last":  # whose last image may be classified correctly again
            assert not first.robust[~clean].any()
        owes(first, threat, logits_fn, images, labels, name in MINIMUM_NORM)
    assert program._cache_size() == 1


@every_attack
def test_nan_logits_are_never_robust(name):
    """Also where every step of a minimum-norm attack leads beyond the ball."""
    logits_fn, images, labels = problem(4)
    net = nan_if_changed(logits_fn, images)
    right = np.asarray(is_correct(logits_fn(images), labels))
    assert right.any()
    for eps in (0.1, 1e-4):
        threat = ThreatModel(norm_of(name), jnp.float32(eps))
        result = ATTACKS[name](net, images, labels, KEY, threat)
        assert not result.robust.any()
        assert threat.contains(result.images, images).all()
        if name in MINIMUM_NORM:
            distance = result.distance[right]
            assert (distance > 0).all() and (distance <= 1.02 * eps).all()


@every_attack
def test_a_nan_gradient_leaves_finite_images_in_the_ball(name):
    logits_fn, images, labels = problem(4, nan_gradient)
    threat = ThreatModel(norm_of(name), 0.05)
    result = ATTACKS[name](logits_fn, images, labels, KEY, threat)
    assert is_correct(logits_fn(images), labels).any()
    owes(result, threat, logits_fn, images, labels, name in MINIMUM_NORM)


@pytest.mark.parametrize(
    "name",
    [
        *("fgsm", "pgd", "deepfool", "cw"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("apgd-t", "square")),
    ],
)
def test_seeds_among_others_equal_seeds_alone(name):
    nets = [problem(4, seed=seed)[0] for seed in range(3)]
    _, images, labels = problem(4)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)
    keys = jax.random.split(KEY, 3)
    all_seeds = over_seeds(ATTACKS[name], (0, None, None, 0, None), together=True)
    chex.clear_trace_counter()
    among = jax.jit(chex.assert_max_traces(lambda *call: all_seeds(*call), n=1))
    for eps in (0.1, 0.05):
        threat = attacks.L2(eps)
        results = among(stacked, images, labels, keys, threat)
    for index, logits_fn in enumerate(nets):
        alone = ATTACKS[name](logits_fn, images, labels, keys[index], threat)
        of_seed = jax.tree.map(lambda leaf, i=index: leaf[i], results)
        chex.assert_trees_all_close(of_seed, alone, atol=1e-4)
