"""Checks of the attack's strength: other settings must not break clearly more images.

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

RADII = (0.25, 0.5, 1.0, 2.0)  # in eps; success must not decrease from one to the next
GRAY, UNBOUNDED = 0.5, 1.0  # fractions of the range of pixels (Carlini et al. 2019)
UNBOUNDED_SUCCESS = 1.0  # Athalye et al. 2018: less means that the attack is at fault
LAST_STEPS = 0.1  # the fraction of the steps in which the loss must not rise: ours
STILL_MOVING = 0.05
"""The largest rise of the loss in the last steps, as a fraction of its whole rise.
Pintor et al. 2022 ask that the loss hardly changes over the last iterations. Steps of
constant length end in a circle around the maximum, whose best point improves by a
percent or two, while a loss that rises steadily gains a tenth."""


def returned(subject: AuditTarget) -> Finding:
    """Images are in the ball and the bounds, and `robust` is right about them."""
    result = subject.result
    outside = ~subject.threat.contains(result.images, subject.images)
    reported = subject.correct & ~np.asarray(result.robust)
    differ = reported != subject.white
    if outside.any():
        detail = f"{outside.sum()} returned images leave the ball or the bounds"
        return at_most(0.0, float(outside.mean()), detail)
    detail = "fraction of images whose outcome differs when evaluated again"
    return at_most(subject.allowed, subject.fraction(differ), detail)


def fgsm_weaker(subject: AuditTarget) -> Finding:
    """Many steps break at least as many images as one step."""
    many = subject.fraction(subject.white)
    call = subject.net, subject.images, subject.labels, None, subject.threat
    result = compiled(unchecked(fgsm), "loss")(*call, loss=subject.loss)
    one = subject.fraction(subject.broken(result.images))
    detail = f"success of FGSM, {one:.1%}, minus that of PGD, {many:.1%}"
    return at_most(0.0, one - many, detail)


def growing(subject: AuditTarget) -> Finding:
    """The success does not decrease with eps, since a larger ball has more points."""
    eps = np.asarray(subject.threat.eps)
    success = []
    for radius in RADII:
        threat = subject.threat.replace(eps=(radius * eps).astype(eps.dtype))
        images = subject.attack(threat=threat).images
        success.append(subject.fraction(subject.broken(images)))
    listed = ", ".join(f"{value:.1%}" for value in success)
    detail = f"largest decrease of success, of {listed} at {RADII} eps"
    return at_most(subject.allowed, max(0.0, -np.diff(success).min()), detail)


def gray(subject: AuditTarget) -> Finding:
    """At eps 0.5 every image can become the same gray image, which has one class.

    In l2 and l1 the radius is large enough to reach gray from every valid image. The
    value of the check is the larger of two accuracies, on the gray image and under the
    attack.
    """
    low, high = (jnp.asarray(bound).reshape(-1) for bound in subject.threat.bounds)
    middle = ((low + high) / 2).reshape(1, 1, 1, -1)
    image = jnp.broadcast_to(middle, subject.images.shape).astype(subject.images.dtype)
    logits = compiled(evaluate)(subject.net, image)
    of_gray = float(np.mean(is_correct(logits, subject.labels)))
    broken = subject.broken(subject.attack(threat=subject.ball(GRAY)).images)
    attacked = float((subject.correct & ~broken).mean())
    labels = np.asarray(subject.labels)
    chance = np.bincount(labels).max() / len(labels)
    detail = (
        f"accuracy: gray image {of_gray:.1%}, attacked {attacked:.1%}; the threshold "
        "is the fraction of the largest class"
    )
    return at_most(chance, max(of_gray, attacked), detail)


def unbounded(subject: AuditTarget) -> Finding:
    """Every image is broken if the ball contains every valid image."""
    images = subject.attack(threat=subject.ball(UNBOUNDED)).images
    success = subject.fraction(subject.broken(images))
    return at_least(UNBOUNDED_SUCCESS, success, "success in a ball of all valid images")


def steps(subject: AuditTarget) -> Finding:
    """Twice as many steps break the same fraction of images."""
    images = subject.attack(steps=2 * subject.steps).images
    more, now = (subject.fraction(x) for x in (subject.broken(images), subject.white))
    detail = f"change of success from {now:.1%} by {2 * subject.steps} steps"
    return at_most(subject.allowed, abs(more - now), detail)


def restarts(subject: AuditTarget) -> Finding:
    """Twice as many restarts break no more images; the second half has another key."""
    images = subject.attack(key=jax.random.fold_in(subject.key, 1)).images
    more = subject.broken(images) & ~subject.white
    detail = f"fraction of images that only {2 * subject.n_restarts} restarts break"
    return at_most(subject.allowed, subject.fraction(more), detail)


def moving(subject: AuditTarget) -> Finding:
    """The margin has stopped rising when the attack ends.

    The largest margin so far counts for each image and restart, but not above 0, where
    the image is broken. The value of the check is its rise in the last tenth of the
    steps as a fraction of its rise in all steps, both summed over the images.
    """
    queries = subject.queries
    points = subject.steps + 1  # evaluated in a restart
    restarts = subject.n_restarts
    if len(queries) < restarts * points:
        raise DoesNotApply(f"the attack evaluated only {len(queries)} points")
    margins = queries[-restarts * points :].reshape(restarts, points, -1)
    clean = subject.clean_margin
    best = np.maximum.accumulate(np.maximum(margins, clean), axis=1)
    best = np.minimum(best, 0)[..., subject.correct]
    last = max(1, round(LAST_STEPS * subject.steps))
    total = np.sum(best[:, -1] - clean[subject.correct])
    if total == 0:
        return at_most(STILL_MOVING, np.nan, "the margin never rose")
    gained = np.sum(best[:, -1] - best[:, -1 - last])
    detail = (
        f"rise of the margin in the last {last} of {subject.steps} steps, as a "
        "fraction of its whole rise"
    )
    return at_most(STILL_MOVING, gained / total, detail)


def path(subject: AuditTarget) -> Finding:
    """An adversarial example on the attack's path is returned (silent success)."""
    on_path = (subject.queries >= 0).any(axis=0)
    lost = subject.correct & on_path & ~subject.white
    detail = (
        "fraction of images with an adversarial example that the attack evaluated and "
        "did not return"
    )
    return at_most(subject.allowed, subject.fraction(lost), detail)
