"""For an invariant net, attacking a rotated image must give the rotated result.

    finding = rotated(subject)

If the logits of a net do not change when the image is rotated, PGD commutes with the
rotation: gradients, signs, norms and clips treat all positions in the same way.
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
"""The largest change of the logits of an invariant net, relative to the largest logit:
ours. The rounding of a deep net adds up to 1e-5 in float32 and 1e-14 in float64; a net
that is only trained to be invariant has 1e-2 or more."""
LIMIT = 1e-6
"""The largest difference of a pixel, relative to the span of the pixels: ours. Rounding
adds up to 1e-12; one different sign in one step changes a pixel by 2.5 eps / steps."""
FEW = 8  # the number of images
NOISE = 0.05  # of the span
UNBOUNDED = (-1e6, 1e6)  # in pixel units
ELEMENT = 1  # of the group: for C4, the rotation by 90 degrees


@struct.dataclass
class _RotatedStart(ThreatModel):
    """A threat model whose random start commutes with an element of a group."""

    group: Group = struct.field(pytree_node=False, default=C4)
    element: ArrayLike = 0  # traced, so that one program serves both attacks

    def start(self, key: Array, center: Array) -> Array:
        actions = [
            functools.partial(self.group.act, g) for g in range(self.group.order)
        ]
        inverse = jnp.asarray(self.group.inverses)[self.element]
        start = super().start(key, jax.lax.switch(inverse, actions, center))
        return jax.lax.switch(self.element, actions, start)


def rotated(subject: AuditTarget) -> Finding:
    """Attacking the rotated image from the rotated start gives the rotated result.

    Both attacks run in float64, because in float32 the sign of a gradient's rounding
    error is enough to make them diverge. So is a tie in max pooling: the gradient goes
    to the first of equal pixels, and after a rotation another pixel is the first. Equal
    pixels occur in a black background and where pixels are clipped to the bounds.
    Therefore a little noise is added to the images, and the bounds are widened.
    """
    group = subject.group
    images, labels = subject.images[:FEW], subject.labels[:FEW]
    if group.order == 1:
        raise DoesNotApply("a group of one element has no rotation")
    if group.transposes_axes and images.shape[1] != images.shape[2]:
        raise DoesNotApply("a rotation by 90 degrees needs square images")
    subject.needs_gradient(subject.loss)
    _needs_invariance(subject.net, images, group, INVARIANT_FLOAT32)
    with jax.enable_x64(True):
        logits_fn = subject.logits_fn_float64 or subject.logits_fn
        noise = jax.random.uniform(subject.key, images.shape, jnp.float64)
        span = subject.threat.span(images)
        images = jnp.asarray(np.asarray(images), jnp.float64) + NOISE * span * noise
        net = nets.hoist(_in_float64(logits_fn), images)
        if (dtype := jax.eval_shape(net, images).dtype) != jnp.float64:
            raise DoesNotApply(f"the net computes in {dtype}, but float64 is needed")
        _needs_invariance(net, images, group, INVARIANT_FLOAT64)
        first = _attack(subject, net, images, labels, 0)
        second = _attack(subject, net, group.act(ELEMENT, images), labels, ELEMENT)
        difference = jnp.abs(group.act(ELEMENT, first) - second) / span
        largest = float(jnp.max(difference))
    return at_most(LIMIT, largest, "largest difference of a pixel, in float64")


def _attack(subject: AuditTarget, net, images, labels, element: int) -> Array:
    norm, eps = subject.threat.norm, subject.threat.eps
    threat = _RotatedStart(norm, eps, UNBOUNDED, subject.group, element)
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
    """The net with its leaves in float64; it may still compute in another dtype."""

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
