"""Checks of the attack: stronger settings must not find more, weaker ones not either.

finding = moving(subject)
"""

import jax
import jax.numpy as jnp
import numpy as np

from symjax.attacks.entry import unchecked
from symjax.attacks.gradient import fgsm
from symjax.attacks.losses import is_correct
from symjax.attacks.sanity.subject import (
    AuditTarget,
    DoesNotApply,
    Finding,
    at_least,
    at_most,
    compiled,
    evaluate,
)

RADII = (0.25, 0.5, 1.0, 2.0)  # in eps, between which success must not fall
GREY, UNBOUNDED = 0.5, 1.0  # of the range of valid pixels (Carlini et al. 2019)
UNBOUNDED_SUCCESS = 1.0  # Athalye et al. 2018: less means that the attack is at fault
LAST_STEPS = 0.1  # the part of the steps at whose end the loss should not move: ours
STILL_MOVING = 0.05
"""Of all that the loss gained. Pintor et al. 2022 ask that it hardly changes over the
last iterations; steps of constant length end in a circle around the maximum, whose best
point improves by a percent or two, while a loss that rises steadily gains a tenth."""


def returned(subject: AuditTarget) -> Finding:
    """Images lie in the ball and the bounds, and are what the attack says they are."""
    result = subject.result
    outside = ~subject.threat.contains(result.images, subject.images)
    said = subject.correct & ~np.asarray(result.robust)
    differ = said != subject.white
    if outside.any():
        detail = f"{outside.sum()} returned images leave the ball or the bounds"
        return at_most(0.0, float(outside.mean()), detail)
    detail = "share whose outcome is another when it is evaluated again"
    return at_most(subject.allowed, subject.share(differ), detail)


def fgsm_weaker(subject: AuditTarget) -> Finding:
    """Many steps break as many images as one does."""
    many = subject.share(subject.white)
    call = subject.net, subject.images, subject.labels, None, subject.threat
    result = compiled(unchecked(fgsm), "loss")(*call, loss=subject.loss)
    one = subject.share(subject.broken(result.images))
    detail = f"success of FGSM, {one:.1%}, less that of PGD, {many:.1%}"
    return at_most(0.0, one - many, detail)


def growing(subject: AuditTarget) -> Finding:
    """A larger ball contains the smaller one."""
    eps = np.asarray(subject.threat.eps)
    success = []
    for radius in RADII:
        threat = subject.threat.replace(eps=(radius * eps).astype(eps.dtype))
        found = subject.attack(threat=threat).images
        success.append(subject.share(subject.broken(found)))
    listed = ", ".join(f"{value:.1%}" for value in success)
    detail = f"largest fall of success, of {listed} at {RADII} eps"
    return at_most(subject.allowed, max(0.0, -np.diff(success).min()), detail)


def grey(subject: AuditTarget) -> Finding:
    """At eps 0.5 every image can become the same grey one, which has one class.

    In l2 and l1 the ball is the one that reaches grey from every valid image. The
    figure is the larger accuracy of the grey image and of the attack.
    """
    low, high = (jnp.asarray(bound).reshape(-1) for bound in subject.threat.bounds)
    middle = ((low + high) / 2).reshape(1, 1, 1, -1)
    image = jnp.broadcast_to(middle, subject.images.shape).astype(subject.images.dtype)
    logits = compiled(evaluate)(subject.net, image)
    of_grey = float(np.mean(is_correct(logits, subject.labels)))
    broken = subject.broken(subject.attack(threat=subject.ball(GREY)).images)
    attacked = float((subject.correct & ~broken).mean())
    labels = np.asarray(subject.labels)
    chance = np.bincount(labels).max() / len(labels)
    detail = f"accuracy: grey image {of_grey:.1%}, attacked {attacked:.1%}"
    return at_most(chance, max(of_grey, attacked), f"{detail}; largest class at most")


def unbounded(subject: AuditTarget) -> Finding:
    """Where every valid image may be returned, every image is broken."""
    found = subject.attack(threat=subject.ball(UNBOUNDED)).images
    success = subject.share(subject.broken(found))
    return at_least(UNBOUNDED_SUCCESS, success, "success in a ball of all valid images")


def steps(subject: AuditTarget) -> Finding:
    """Twice as many steps find the same."""
    found = subject.attack(steps=2 * subject.steps).images
    more, now = (subject.share(x) for x in (subject.broken(found), subject.white))
    detail = f"change of success from {now:.1%} by {2 * subject.steps} steps"
    return at_most(subject.allowed, abs(more - now), detail)


def restarts(subject: AuditTarget) -> Finding:
    """Twice as many restarts find the same: a second run from other starts."""
    found = subject.attack(key=jax.random.fold_in(subject.key, 1)).images
    more = subject.broken(found) & ~subject.white
    detail = f"share that {2 * subject.n_restarts} restarts break on top"
    return at_most(subject.allowed, subject.share(more), detail)


def moving(subject: AuditTarget) -> Finding:
    """The margin has stopped rising when the attack ends.

    For each image and restart the best margin so far counts, up to 0, where the image
    is broken. The figure is what it gained in the last tenth of the steps, of what it
    gained in all, over the images together.
    """
    queries = subject.queries
    walk = subject.steps + 1
    if len(queries) < subject.n_restarts * walk:
        raise DoesNotApply(f"the attack looked at {len(queries)} points alone")
    walks = queries[-subject.n_restarts * walk :].reshape(subject.n_restarts, walk, -1)
    clean = subject.clean_margin
    best = np.maximum.accumulate(np.maximum(walks, clean), axis=1)
    best = np.minimum(best, 0)[..., subject.correct]
    last = max(1, round(LAST_STEPS * subject.steps))
    total = np.sum(best[:, -1] - clean[subject.correct])
    if total == 0:
        return at_most(STILL_MOVING, np.nan, "the margin never rose at all")
    gained = np.sum(best[:, -1] - best[:, -1 - last])
    detail = f"gain of the margin in the last {last} of {subject.steps} steps, of all"
    return at_most(STILL_MOVING, gained / total, detail)


def path(subject: AuditTarget) -> Finding:
    """An image that was broken on the way is returned broken (silent success)."""
    found = (subject.queries >= 0).any(axis=0)
    lost = subject.correct & found & ~subject.white
    detail = "share with an adversarial image that the attack saw and did not return"
    return at_most(subject.allowed, subject.share(lost), detail)
