"""PGD and APGD in l1 against the linear program that they solve on a linear net.

With two classes, the largest margin in the ball and the bounds is a linear program.
What the attacks gain of it is a fact about the published algorithms, whose steps move
several pixels evenly: `python -m benchmarks.l1_optimum` measures them beside the public
implementation.
"""

import functools

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.optimize import linprog

from symjax import attacks
from symjax.attacks import iterative
from symjax.attacks._apgd import APGD
from symjax.attacks.ensemble import L1_RADII
from symjax.attacks.iterative import AttackInputs

COUNT, SHAPE, EPS = 24, (24, 8, 8, 1), 0.5
THREAT = attacks.L1(EPS)
pgd = jax.jit(functools.partial(attacks.pgd, loss="margin"))


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def problem():
    """A net, images and labels, and the largest gain of each margin, float64."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-0.2, 1.2, SHAPE).clip(0, 1).astype(np.float32)
    weights = rng.normal(size=(64, 2)).astype(np.float32)
    labels = linear(weights, images).argmax(axis=1)
    uphill = (weights[:, 1 - labels] - weights[:, labels]).T.astype(np.float64)
    best = []
    for slope, image in zip(uphill, images.reshape(COUNT, -1), strict=True):
        size, room = np.abs(slope), np.where(slope > 0, 1 - image, image)
        bounds = [(0, r) for r in room]
        found = linprog(-size, A_ub=np.ones((1, 64)), b_ub=[EPS], bounds=bounds)
        best.append(-found.fun)
    return Partial(linear, weights), images, labels, uphill, np.array(best)


def gained(found, images, uphill, best):
    """The part of the largest gain, `[B]`."""
    assert THREAT.contains(found, images).all()
    moved = (np.asarray(found, np.float64) - images).reshape(COUNT, -1)
    share = np.sum(uphill * moved, axis=1) / best
    assert share.max() < 1 + 1e-4
    return share


def test_pgd_does_not_spend_its_steps_on_pixels_that_cannot_move():
    """Some of the steepest pixels are at the bounds that they would have to cross."""
    logits_fn, images, labels, uphill, best = problem()
    result = pgd(logits_fn, images, labels, jax.random.key(0), THREAT)
    share = gained(result.images, images, uphill, best)
    assert share.mean() > 0.9 and share.min() > 0.2


@pytest.mark.parametrize(
    ("radii", "mean", "least"), [((1.0,), 0.9, 0.6), (L1_RADII, 0.95, 0.8)]
)
def test_apgd_comes_as_near_as_the_public_implementation(radii, mean, least):
    logits_fn, images, labels, uphill, best = problem()
    about = AttackInputs(jax.numpy.asarray(images), labels, jax.random.key(0), THREAT)
    attack = APGD("cross_entropy", 100, radii=radii)
    found = jax.jit(functools.partial(iterative.run, attack))(logits_fn, about)
    share = gained(found.best.images, images, uphill, best)
    assert share.mean() > mean and share.min() > least
