"""Gradient-free attacks must not succeed on images where PGD fails.

    finding = square_attack(subject)

Outcomes are compared image by image, not as success rates: PGD has missed every error
that a weaker attack finds.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax.attacks._square import square
from symjax.attacks.entry import unchecked
from symjax.attacks.losses import is_correct
from symjax.attacks.sanity.subject import (
    AuditTarget,
    DoesNotApply,
    Finding,
    at_most,
    compiled,
)
from symjax.attacks.threat import ThreatModel

DRAWN_TOGETHER = 1024  # the number of images in a batch of random draws


def square_attack(subject: AuditTarget) -> Finding:
    """The Square attack, which uses logits only, breaks no image that PGD does not."""
    if np.ndim(subject.threat.eps):
        raise DoesNotApply("Square needs one eps, not one eps per channel")
    rows = _left(subject)
    adversarial = subject.images
    if len(rows):
        images, labels = subject.images[rows], subject.labels[rows]
        call = subject.net, images, labels, subject.key, subject.threat
        result = compiled(unchecked(square), "n_queries")(
            *call, n_queries=subject.square_queries
        )
        adversarial = adversarial.at[rows].set(result.images)
    detail = (
        f"fraction of images that Square breaks with {subject.square_queries} queries "
        "and PGD does not"
    )
    return _more(subject, subject.broken(adversarial), detail)


def transfer(subject: AuditTarget) -> Finding:
    """Adversarial examples of other seeds' nets break no image that PGD does not."""
    if not subject.peers:
        raise DoesNotApply("no net of another seed was given")
    broken = np.zeros_like(subject.white)
    for peer in subject.peers:
        broken |= subject.broken(subject.attack(net=peer).images)
    detail = (
        f"fraction of images that adversarial examples of {len(subject.peers)} other "
        "nets break and PGD does not"
    )
    return _more(subject, broken, detail)


def draws(subject: AuditTarget) -> Finding:
    """Random points of the ball break no image that PGD does not."""
    rows = _left(subject)
    broken = np.zeros_like(subject.white)
    if len(rows):
        images, labels = subject.images[rows], subject.labels[rows]
        count = min(max(1, DRAWN_TOGETHER // len(rows)), subject.random_draws)
        for index in range(-(-subject.random_draws // count)):
            key = jax.random.fold_in(subject.key, index)
            call = subject.net, images, labels, key, subject.threat
            broken[rows] |= np.asarray(compiled(_draw, "count")(*call, count=count))
    detail = (
        f"fraction of images that {subject.random_draws:,} random points break and PGD "
        "does not"
    )
    return _more(subject, broken, detail)


def _more(subject: AuditTarget, broken: np.ndarray, detail: str) -> Finding:
    more = subject.fraction(broken & ~subject.white)
    return at_most(subject.allowed, more, detail)


def _left(subject: AuditTarget) -> np.ndarray:
    """Indices of images that PGD did not break, repeated to a power of two in number.

    The power of two keeps the number of compiled programs small.
    """
    rows = np.flatnonzero(subject.correct & ~subject.white)
    return np.resize(rows, 1 << (len(rows) - 1).bit_length()) if len(rows) else rows


def _draw(
    net: Partial,
    images: Array,
    labels: Array,
    key: Array,
    threat: ThreatModel,
    count: int,
) -> Array:
    """Whether at least one of `count` random points in the ball is an error, `[B]`."""
    keys = jax.random.split(key, count)
    points = jax.vmap(threat.start, (0, None))(keys, images)
    logits = net(points.reshape(-1, *images.shape[1:]))
    correct = is_correct(logits, jnp.tile(labels, count))
    return ~jnp.all(correct.reshape(count, -1), axis=0)
