"""A check with planted errors, which are known to exist (Zimmermann et al. 2022).

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

FOUND = 0.95  # the fraction of planted errors that an attack must find: ours
POINTS = 20  # random points on the boundary, and as many inside that are no errors
INNER = 0.5  # the radius of the ball of inner points, in eps
PLANTED = 0.5  # the fraction of images in which an error must be possible


def weakness(subject: AuditTarget) -> Finding:
    """The attack finds an error that was planted in the ball of each image.

    This is a simple form of the binarization test. For each image x, `POINTS` random
    points are drawn on the boundary of the ball (in linf, at its corners); x* is the
    point that changes the net's logits z most. With `w = z(x*) - z(x)`, the score of a
    point y is `<w, z(y)>`. As many inner points are drawn in the ball of half the
    radius. The threshold is the middle between the score of x* and the largest score of
    x and the inner points; a point is an error if its score exceeds the threshold. So
    x* is an error, and x and the inner points are not. The audited PGD then attacks the
    two logits `(0, score - threshold)` with the margin as its loss. The value of the
    check is the fraction of images whose error PGD finds.

    Images where the score of an inner point is as high as that of x* are left out. The
    original test trains a linear classifier on the net's last features with many more
    inner points, and moves its boundary close to x*; it is harder, and detects weaker
    attacks.
    """
    key = jax.random.fold_in(subject.key, 2)
    call = subject.net, subject.images, key, subject.threat
    w, highest, planted = compiled(_plant)(*call)
    middle = (highest + planted) / 2
    possible = np.asarray((planted > middle) & (middle > highest))
    if possible.mean() < PLANTED:
        raise DoesNotApply(
            f"an error could be planted for only {possible.mean():.0%} of the images"
        )
    net = Partial(_two_classes, subject.net, w, middle)
    labels = jnp.zeros_like(subject.labels)
    images = subject.attack(net=net, labels=labels, loss="margin").images
    broken = ~np.asarray(is_correct(compiled(evaluate)(net, images), labels))
    detail = f"fraction of {possible.sum()} planted errors that the attack finds"
    return at_least(FOUND, float(broken[possible].mean()), detail)


def _plant(
    net: Partial, images: Array, key: Array, threat: ThreatModel
) -> tuple[Array, Array, Array]:
    """`w`, `[B, K]`; the largest score of x and the inner points, and x*'s, `[B]`."""

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
