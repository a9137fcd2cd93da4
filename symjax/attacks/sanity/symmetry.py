"""The check that only symmetry gives: a turned image has the turned adversarial.

    finding = turned(subject)

If the net answers alike for an image and the turned image, then so must the attack: PGD
is made of gradients, signs, lengths and clips, none of which knows up from down.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike

from symjax import nets
from symjax.attacks.result import LogitsFn
from symjax.attacks.sanity.subject import (
    AuditTarget,
    DoesNotApply,
    Finding,
    at_most,
    attack_program,
    compiled,
    evaluate,
)
from symjax.attacks.threat import ThreatModel
from symjax.groups import C4, Group

INVARIANT_FLOAT32, INVARIANT_FLOAT64 = 1e-3, 1e-9
"""Of the largest logit, below which a net is invariant: ours. Roundings of a deep net
add up to 1e-5 and 1e-14; a net only trained to be invariant is at 1e-2 or more."""
TURNED = 1e-6
"""Of the span of the pixels: ours. Roundings add up to 1e-12, and one different sign
in one step moves a pixel by 2.5 eps / steps."""
FEW = 8  # images
NOISE, UNBOUNDED = 0.05, (-1e6, 1e6)  # of the span; in pixel units
ELEMENT = 1  # of the group; a quarter turn


@struct.dataclass
class _TurnedStart(ThreatModel):
    """The start in the ball of a turned image is the turned start of the image."""

    group: Group = struct.field(pytree_node=False, default=C4)
    element: ArrayLike = 0  # traced, so that one program serves both attacks

    def start(self, key: Array, center: Array) -> Array:
        turns = [functools.partial(self.group.act, g) for g in range(self.group.order)]
        back = jnp.asarray(self.group.inverses)[self.element]
        drawn = super().start(key, jax.lax.switch(back, turns, center))
        return jax.lax.switch(self.element, turns, drawn)


def turned(subject: AuditTarget) -> Finding:
    """Attacking the turned image from the turned start gives the turned adversarial.

    In float64: the sign of a gradient's rounding noise is enough to send two runs in
    float32 apart. So is a tie in max pooling, where the gradient goes to the first of
    equal pixels, and another is first when they are turned. Equal pixels are those of a
    black background, and those that the bounds clip: the images get a little noise, and
    the ball is not cut by bounds.
    """
    group = subject.group
    images, labels = subject.images[:FEW], subject.labels[:FEW]
    if group.order == 1:
        raise DoesNotApply("a group of one element turns nothing")
    if group.transposes_axes and images.shape[1] != images.shape[2]:
        raise DoesNotApply("a quarter turn needs square images")
    subject.needs_gradient(subject.loss)
    _needs_invariance(subject.net, images, group, INVARIANT_FLOAT32)
    with jax.enable_x64(True):
        logits_fn = subject.logits_fn_float64 or subject.logits_fn
        noise = jax.random.uniform(subject.key, images.shape, jnp.float64)
        span = subject.threat.span(images)
        images = jnp.asarray(np.asarray(images), jnp.float64) + NOISE * span * noise
        net = nets.hoist(_in_float64(logits_fn), images)
        if (dtype := jax.eval_shape(net, images).dtype) != jnp.float64:
            raise DoesNotApply(f"the net computes in {dtype}, and float64 is needed")
        _needs_invariance(net, images, group, INVARIANT_FLOAT64)
        first = _attack(subject, net, images, labels, 0)
        second = _attack(subject, net, group.act(ELEMENT, images), labels, ELEMENT)
        apart = jnp.abs(group.act(ELEMENT, first) - second) / span
        figure = float(jnp.max(apart))
    return at_most(TURNED, figure, "largest difference of a pixel, in float64")


def _attack(subject: AuditTarget, net, images, labels, element: int) -> Array:
    norm, eps = subject.threat.norm, subject.threat.eps
    threat = _TurnedStart(norm, eps, UNBOUNDED, subject.group, element)
    result, _ = attack_program(subject.attack_fn)(
        net,
        images,
        labels,
        subject.key,
        threat,
        steps=subject.steps,
        step_size=subject.step_size,
        n_restarts=subject.n_restarts,
        loss=subject.loss,
        keep=subject.keep,
    )
    return result.images


def _in_float64(logits_fn: LogitsFn) -> Partial:
    """With its leaves in float64; what it computes in is another matter."""

    def cast(leaf):
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(np.asarray(leaf), jnp.float64) if floating else leaf

    return jax.tree.map(cast, nets.as_partial(logits_fn))


def _needs_invariance(net: Partial, images: Array, group: Group, limit: float) -> None:
    logits, after = (
        np.asarray(compiled(evaluate)(net, x), np.float64)
        for x in (images, group.act(ELEMENT, images))
    )
    error = np.abs(after - logits).max() / np.abs(logits).max()
    if not error <= limit:
        raise DoesNotApply(
            f"the net is not invariant: its logits change by {error:.1e}"
        )
