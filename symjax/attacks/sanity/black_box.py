"""Checks that nothing which knows less finds more: attacks without gradients.

    finding = square_attack(subject)

Images are compared one by one, not success rates: an image that a black box breaks and
the white box does not was there to be found.
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

DRAWN_TOGETHER = 1024  # images in a batch of random draws


def square_attack(subject: AuditTarget) -> Finding:
    """Random search with the logits alone breaks no image that PGD leaves."""
    if np.ndim(subject.threat.eps):
        raise DoesNotApply("Square needs one eps, not one a channel")
    rows = _left(subject)
    found = subject.images
    if len(rows):
        images, labels = subject.images[rows], subject.labels[rows]
        call = subject.net, images, labels, subject.key, subject.threat
        result = compiled(unchecked(square), "n_queries")(
            *call, n_queries=subject.square_queries
        )
        found = found.at[rows].set(result.images)
    detail = f"share that Square breaks with {subject.square_queries} queries, PGD not"
    return _more(subject, subject.broken(found), detail)


def transfer(subject: AuditTarget) -> Finding:
    """The adversarial images of other seeds' nets break no image that PGD leaves."""
    if not subject.peers:
        raise DoesNotApply("no other seed's net was given")
    broken = np.zeros_like(subject.white)
    for peer in subject.peers:
        broken |= subject.broken(subject.attack(net=peer).images)
    detail = f"share that images from {len(subject.peers)} other nets break, PGD not"
    return _more(subject, broken, detail)


def draws(subject: AuditTarget) -> Finding:
    """Random points of the ball break no image that PGD leaves."""
    rows = _left(subject)
    broken = np.zeros_like(subject.white)
    if len(rows):
        images, labels = subject.images[rows], subject.labels[rows]
        count = min(max(1, DRAWN_TOGETHER // len(rows)), subject.random_draws)
        for index in range(-(-subject.random_draws // count)):
            key = jax.random.fold_in(subject.key, index)
            call = subject.net, images, labels, key, subject.threat
            broken[rows] |= np.asarray(compiled(_draw, "count")(*call, count=count))
    detail = f"share that {subject.random_draws:,} random points break, PGD not"
    return _more(subject, broken, detail)


def _more(subject: AuditTarget, broken: np.ndarray, detail: str) -> Finding:
    share = subject.share(broken & ~subject.white)
    return at_most(subject.allowed, share, detail)


def _left(subject: AuditTarget) -> np.ndarray:
    """Images that PGD did not break, repeated up to a power of two: few programs."""
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
    """Whether one of `count` points drawn in the ball is an error, `[B]`."""
    keys = jax.random.split(key, count)
    points = jax.vmap(threat.start, (0, None))(keys, images)
    logits = net(points.reshape(-1, *images.shape[1:]))
    correct = is_correct(logits, jnp.tile(labels, count))
    return ~jnp.all(correct.reshape(count, -1), axis=0)
