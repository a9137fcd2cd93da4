"""Attacks on the same images in other units: nothing but the unit changes.

Images, bounds, eps and steps are multiplied by a scale and shifted, and the net reads
`(x - shift) / scale`. Each attack then has to return the same flags, and images and
distances in the new unit: exactly where the scale is a power of two, since no float is
rounded in another way then, and up to rounding elsewhere. One program serves all units.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax import attacks
from symjax.attacks import ThreatModel

KEY = jax.random.key(5)
UNITS = {
    "256": (256.0, 0.0),
    "1/256": (1 / 256, 0.0),
    "2**-20": (2.0**-20, 0.0),
    "255": (255.0, 0.0),
    "1/255": (1 / 255, 0.0),
    "[-1, 1]": (2.0, -1.0),
}
EXACT = ("256", "1/256", "2**-20")
CLASSES, SHAPE = 4, (16, 8, 5, 1)
RADIUS = {"linf": 0.03, "l2": 0.12, "l1": 0.6}


def net(weights, bias, scale, shift, images):
    """Curved, so that an attack has to look twice."""
    x = (images - shift) / scale
    logits = x.reshape(len(x), -1) @ weights + bias
    return logits + jnp.tanh(2 * logits)


def problem(unit=(1.0, 0.0)):
    """A net, images and labels in that unit; some pixels are on the bounds."""
    rng = np.random.default_rng(0)
    images = np.clip(rng.uniform(-0.2, 1.2, SHAPE), 0, 1).astype(np.float32)
    weights = rng.normal(size=(40, CLASSES)).astype(np.float32)
    bias = (-0.5 * weights.sum(axis=0, keepdims=True)).astype(np.float32)
    scale, shift = map(np.float32, unit)
    labels = np.asarray(net(weights, bias, 1, 0, images)).argmax(axis=1)
    labels[0] = (labels[0] + 1) % CLASSES
    model = Partial(net, weights, bias, scale, shift)
    return model, images * scale + shift, labels


def threat_in(unit, norm, eps):
    scale, shift = map(np.float32, unit)
    return ThreatModel(norm, np.float32(eps) * scale, (shift, scale + shift))


def pgd_with_a_step(logits_fn, images, labels, key, threat):
    return attacks.pgd(
        logits_fn, images, labels, key, threat, steps=7, step_size=threat.eps / 3
    )


def only(attack, **options):
    return functools.partial(attack, **options)


ATTACKS = {
    "fgsm": attacks.fgsm,
    "pgd": only(attacks.pgd, steps=7, momentum=0.5),
    "pgd-step": pgd_with_a_step,
    "apgd-ce": only(attacks.apgd, steps=12),
    "apgd-dlr": only(attacks.apgd, steps=12, loss="dlr"),
    "apgd-margin": only(attacks.apgd, steps=12, loss="margin"),
    "apgd-t": only(attacks.apgd, steps=12, loss="dlr", targeted=True),
    "fab": only(attacks.fab, steps=8, restart=1),
    "fab-t": only(attacks.fab, steps=8, targeted=True),
    "square": only(attacks.square, n_queries=60),
    "deepfool": attacks.deepfool,
    "carlini_wagner": only(attacks.carlini_wagner, steps=60, binary_searches=4),
}
CASES = [
    *((name, norm) for name in ("fgsm", "pgd", "apgd-ce", "fab", "square")
      for norm in RADIUS),
    ("pgd-step", "l1"), ("apgd-dlr", "linf"), ("apgd-margin", "l2"), ("apgd-t", "l1"),
    ("fab-t", "l2"), ("deepfool", "linf"), ("deepfool", "l2"), ("carlini_wagner", "l2"),
]  # fmt: skip


def assert_same(result, other, unit, name):
    """That the other result is the first one in that unit.

    Rounded in another way, a tie of two losses can fall to the other side, and the
    search of that image goes on elsewhere: three of the 16 images may differ.
    """
    scale, shift = unit
    np.testing.assert_array_equal(other.robust, result.robust)
    distance = np.asarray(other.distance) / scale
    images = (np.asarray(other.images) - shift) / scale
    if name in EXACT:
        np.testing.assert_array_equal(distance, result.distance)
        np.testing.assert_array_equal(images, result.images)
        return
    apart = np.abs(images - result.images).max(axis=(1, 2, 3))
    same = np.isclose(distance, result.distance, rtol=1e-3, atol=1e-5) & (apart < 1e-3)
    assert same.sum() >= len(same) - 3


@pytest.mark.parametrize(("name", "norm"), CASES)
@pytest.mark.slow
def test_an_attack_is_equivariant_to_the_unit_of_the_pixels(name, norm):
    attack = jax.jit(ATTACKS[name])
    first = attack(*problem(), KEY, threat_in((1.0, 0.0), norm, RADIUS[norm]))
    assert 0 < first.robust.sum() < len(first.robust) - 1
    for label, unit in UNITS.items():
        other = attack(*problem(unit), KEY, threat_in(unit, norm, RADIUS[norm]))
        assert_same(first, other, unit, label)


@pytest.mark.parametrize("norm", list(RADIUS))
@pytest.mark.slow
def test_autoattack_is_equivariant_to_the_unit_of_the_pixels(norm):
    def attack(unit):
        threat = threat_in(unit, norm, RADIUS[norm])
        return attacks.autoattack(*problem(unit), KEY, threat, steps=6, n_queries=8)

    first = attack((1.0, 0.0))
    assert not first.rejected.any()
    for label, unit in UNITS.items():
        other = attack(unit)
        assert_same(first, other, unit, label)
        np.testing.assert_array_equal(other.broken_by, first.broken_by)


@pytest.mark.parametrize("scale", [1 / 255, 1.0, 255.0])
@pytest.mark.parametrize("norm", list(RADIUS))
def test_what_lies_in_the_ball_and_the_bounds_does_not_depend_on_the_unit(norm, scale):
    threat = ThreatModel(norm, 0.1 * scale, (0.0, scale))
    center = np.full((4, 1, 1, 1), 0.95) * scale
    by = np.array([-0.1 + 1e-7, -0.1 - 1e-7, -0.1 - 5e-6, 0.05 + 5e-6])
    images = center + by.reshape(4, 1, 1, 1) * scale
    np.testing.assert_array_equal(threat.contains(images, center), [1, 1, 0, 0])
    far = np.float32(center + 0.05005 * scale)
    with pytest.raises(ValueError, match="leave the bounds"):
        attacks.fgsm(problem()[0], far, np.zeros(4, int), None, threat)


def test_the_span_of_the_pixels():
    images = np.array([0.5, 0.0]).reshape(2, 1, 1, 1).astype(np.float32)
    for bounds, expected in (
        ((0.0, 1.0), (1, 1)),
        ((0.0, 255.0), (8, 255)),  # images in [0, 1]: these bounds are far away
        ((-1.0, 1.0), (2, 2)),
        (((-2.0, -1.0), (3.0, 1.0)), (5, 5)),  # of each channel
        ((-np.inf, np.inf), (8, 1)),
    ):
        span = ThreatModel("linf", 0.1, bounds).span(images)
        np.testing.assert_allclose(span.ravel(), expected)
