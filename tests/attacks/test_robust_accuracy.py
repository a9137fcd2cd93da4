"""Robust accuracy in one call: the closed form of linear nets, and what is verified."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax
from symjax import attacks
from symjax.statistics import proportion
from tests.linear_models import boundary_distance, problem

EPS = 0.03
FAST = {"steps": 5, "n_target_classes": 1, "n_queries": 5}
NET, IMAGES, LABELS = problem()
DISTANCE = boundary_distance(NET, IMAGES, LABELS, "linf")
CLEAN, ROBUST = int(np.sum(DISTANCE > 0)), int(np.sum(DISTANCE > EPS))


def measured(attack, net=NET, progress=False, **options):
    threat = attacks.Linf(EPS)
    call = net, IMAGES, LABELS, threat, attack
    return symjax.robust_accuracy(*call, progress=progress, **options)


@pytest.mark.parametrize(
    ("attack", "options"),
    [("fgsm", {"batch_size": 10}), ("PGD", {"steps": 5}), ("autoattack", FAST)],
)
def test_it_is_the_closed_form_of_a_linear_net(attack, options):
    assert 0 < ROBUST < CLEAN < len(IMAGES)
    found = measured(attack, **options)
    assert found.clean == proportion(CLEAN, len(IMAGES))
    assert found.robust == proportion(ROBUST, len(IMAGES))
    np.testing.assert_array_equal(found.robust_images, DISTANCE > EPS)
    assert attacks.Linf(EPS).contains(found.images, IMAGES).all()
    logits = NET(jnp.asarray(found.images))
    np.testing.assert_array_equal(
        attacks.is_correct(logits, LABELS), found.robust_images
    )
    assert found.broken_by["clean"] == len(IMAGES) - CLEAN
    assert sum(found.broken_by.values()) + ROBUST == len(IMAGES)
    others = set(found.broken_by) - {"clean"}
    assert others == {"apgd-ce" if attack == "autoattack" else attack.lower()}


def test_it_is_one_line():
    threat = attacks.Linf(2 / 255)
    found = attacks.RobustAccuracy(
        proportion(921, 1000), proportion(453, 1000), IMAGES, IMAGES, {}, "pgd", threat
    )
    assert str(found) == (
        "clean 92.1 % (90.3 to 93.6), robust 45.3 % (42.2 to 48.4) of 1,000 images "
        "under pgd, linf 2/255"
    )
    channels = found.__class__(**vars(found) | {"threat": attacks.Linf([0.1, 0.25])})
    assert str(channels).endswith("linf (0.1, 0.25)")


def test_a_function_is_an_attack_and_its_report_is_not_believed():
    def boast(logits_fn, images, labels, key, threat, claim):
        nothing = attacks.no_attack(logits_fn, images, labels, key, threat)
        return nothing.replace(robust=jnp.full(len(images), claim))

    for claim in (True, False):
        found = measured(functools.partial(boast, claim=claim), batch_size=10)
        assert found.robust == found.clean == proportion(CLEAN, len(IMAGES))
        assert found.broken_by == {"clean": len(IMAGES) - CLEAN}
    assert measured(attacks.fgsm).broken_by["fgsm"] == CLEAN - ROBUST


def test_an_image_outside_of_the_ball_is_an_error():
    def leave(logits_fn, images, labels, key, threat):
        result = attacks.no_attack(logits_fn, images, labels, key, threat)
        return result.replace(images=images.at[3].add(2 * EPS))

    with pytest.raises(ValueError, match=r"leave: .* of image 3 is not in .*\(1 of 24"):
        measured(leave)


def test_wrong_arguments_are_refused_before_anything_runs():
    for attack, message in (
        ("autoatack", "expected one of none, fgsm, .*did you mean 'autoattack'"),
        (None, "attack None: expected a name, or a function"),
    ):
        with pytest.raises(ValueError, match=message):
            measured(attack)
    with pytest.raises(ValueError, match="batch_size=0: expected 1 or more"):
        measured("fgsm", batch_size=0)
    with pytest.raises(ValueError, match="key=3: expected a random key"):
        measured("fgsm", key=3)
    with pytest.raises(TypeError, match="Did you mean 'steps'"):
        measured("pgd", stepz=3)
    with pytest.raises(ValueError, match="labels from 0 to 9"):
        symjax.robust_accuracy(
            NET, IMAGES, np.where(np.arange(24) == 20, 9, LABELS), attacks.Linf(EPS)
        )


def test_the_key_and_only_the_key_decides_a_random_start():
    options = {"steps": 1, "step_size": 1e-3, "keep": "last"}
    first, again, other = (
        measured("pgd", key=key, **options).images
        for key in (None, jax.random.key(0), jax.random.key(1))
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_importing_symjax_imports_no_jax():
    code = "import sys, symjax; print('jax' in sys.modules, symjax.robust_accuracy)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.startswith("False <function robust_accuracy")
    with pytest.raises(AttributeError, match="no attribute 'robust_acuracy'"):
        symjax.robust_acuracy  # noqa: B018
