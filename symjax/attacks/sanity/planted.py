"""A weakness that is planted, so that it is known to be there (Zimmermann et al. 2022).

finding = weakness(subject)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax.attacks.losses import is_correct
from symjax.attacks.sanity.subject import (
    AuditTarget,
    DoesNotApply,
    Finding,
    at_least,
    compiled,
    evaluate,
)
from symjax.attacks.threat import ThreatModel

FOUND = 0.95  # of the planted errors: ours, for attacks that are random
POINTS = 20  # drawn on the boundary, and as many inside that must not be errors
INNER = 0.5  # of the radius, up to where points are inside
PLANTED = 0.5  # of the images, where it must be possible


def weakness(subject: AuditTarget) -> Finding:
    """The attack finds an error that was put into the ball of each image.

    A light form of the binarisation test. For each image x, `POINTS` points are drawn
    on the boundary of the ball (in linf, at its corners); x* is the one that moves the
    net's logits z farthest. With `w = z(x*) - z(x)`, the score of a point y is
    `<w, z(y)>`. As many points are drawn in the ball of half the radius. An error is a
    score above the middle between that of x* and the largest of x and the inner points:
    x* is an error, and these are none. The audited PGD then attacks the two logits
    `(0, score - middle)` with the margin as its loss. The figure is the share of images
    whose error it finds.

    Images where an inner point scores as high as x* are left out. The original takes
    the net apart, trains a linear classifier on its last features with many more inner
    points, and moves it close to x*: it is harder, and finds weaker attacks.
    """
    key = jax.random.fold_in(subject.key, 2)
    call = subject.net, subject.images, key, subject.threat
    w, highest, planted = compiled(_plant)(*call)
    middle = (highest + planted) / 2
    possible = np.asarray((planted > middle) & (middle > highest))
    if possible.mean() < PLANTED:
        raise DoesNotApply(
            f"an error could be planted for {possible.mean():.0%} of the images alone"
        )
    net = Partial(_two_classes, subject.net, w, middle)
    labels = jnp.zeros_like(subject.labels)
    found = subject.attack(net=net, labels=labels, loss="margin").images
    broken = ~np.asarray(is_correct(compiled(evaluate)(net, found), labels))
    detail = f"share found of {possible.sum()} planted errors"
    return at_least(FOUND, float(broken[possible].mean()), detail)


def _plant(
    net: Partial, images: Array, key: Array, threat: ThreatModel
) -> tuple[Array, Array, Array]:
    """`w`, `[B, K]`, the largest score of the inner points and that of x*, `[B]`."""

    def edge(key):
        noise = jax.random.normal(key, images.shape)
        return threat.project(threat.ascend(images, noise, threat.eps), images)

    def inner(key):
        return threat.scaled(INNER).start(key, images)

    keys = jax.random.split(key, (2, POINTS))
    points = jnp.concatenate(
        [images[None], jax.vmap(inner)(keys[0]), jax.vmap(edge)(keys[1])]
    )
    logits = net(points.reshape(-1, *images.shape[1:]))
    logits = logits.reshape(1 + 2 * POINTS, len(images), -1)
    change = logits[1 + POINTS :] - logits[:1]
    farthest = jnp.argmax(jnp.sum(jnp.square(change), axis=-1), axis=0)
    w = change[farthest, jnp.arange(len(images))]
    scores = jnp.einsum("bk,pbk->pb", w, logits[: 1 + POINTS])
    planted = scores[0] + jnp.sum(jnp.square(w), axis=-1)
    return w, jnp.max(scores, axis=0), planted


def _two_classes(net: Partial, w: Array, middle: Array, images: Array) -> Array:
    score = jnp.sum(w * net(images), axis=1) - middle
    return jnp.stack([jnp.zeros_like(score), score], axis=1)
