"""How gradients change along orbits, and as far off them (paper, Theorem 2).

    near = tangent_changes(logits_fn, images, labels, key, length=0.1)
    near.ratio                                                 # [B]; the theorem: >> 1
    far = orbit_changes(logits_fn, images, labels, key)

Changes are finite, not derivatives: a net of ReLUs and maxima is linear piece by piece,
its second derivative is 0 almost everywhere, and its gradient changes from piece to
piece. Where no piece ends within the length, the change is 0 and says nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from symjax.attacks.result import LogitsFn
from symjax.groups import C4, Group
from symjax.metrics.directions import Noise, orthogonal, unit
from symjax.metrics.jacobian import (
    Of,
    aligned_orbit_gradients,
    apply_group,
    cotangents,
    input_gradients,
    lengths,
    spectral_norm,
)
from symjax.metrics.orbit import orbit, tangent
from symjax.metrics.program import measure
from symjax.metrics.samples import keys_of_images
from symjax.seeds import fold_in

SAMPLES = 8


class TangentChanges(NamedTuple):
    """Changes of the gradient over one length, `||grad f(x + delta) - grad f(x)||_2`.

    Attributes:
      gradient: `[B]`, `||grad f(x)||_2`.
      along: `[B]`, delta along the tangent of the orbit; NaN where it has none.
      across: `[B, N]`, delta orthogonal to it, drawn at random.
    """

    gradient: Array
    along: Array
    across: Array

    @property
    def ratio(self) -> Array:
        """`[B]`, across (root mean square) over along; NaN or infinite if that is 0."""
        return _root_mean_square(self.across) / self.along


class OrbitChanges(NamedTuple):
    """Changes of the gradient between points of the orbit, and as far away from it.

    Attributes:
      gradient: `[B]`, `||grad f(x)||_2`.
      distance: `[G - 1, B]`, `||g x - x||_2`, pixel units, g not the identity.
      along: `[G - 1, B]`, `||grad f(g x) - grad f(x)||_2`.
      turned_back: `[G - 1, B]`, `||g^-1 grad f(g x) - grad f(x)||_2`.
      across: `[G - 1, B, N]`, `||grad f(x + delta) - grad f(x)||_2`, delta as long as
        g x - x and orthogonal to all of them.
    """

    gradient: Array
    distance: Array
    along: Array
    turned_back: Array
    across: Array

    @property
    def ratio(self) -> Array:
        """`[G - 1, B]`, across (root mean square) over along; as `TangentChanges`'s."""
        return _root_mean_square(self.across) / self.along


@measure("samples", "of", "noise")
def tangent_changes(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    length: ArrayLike,
    samples: int = SAMPLES,
    of: Of = "jacobian",
    noise: Noise = "white",
) -> TangentChanges:
    """Theorem 2: the gradient changes much more off the orbit than along it.

    `||grad f(x + d_o) - grad f(x)||_2 >> ||grad f(x + d_G) - grad f(x)||_2`, d_G in the
    tangent space of the orbit, d_o orthogonal to it. That of a finite group is {0}, and
    says nothing; here the group is all rotations, to which the nets of the paper are
    close at best, and the space is the line of `orbit.tangent`. The theorem does not
    say how long each is: here, both are `length`.

    With `of="logit"`, this is the right side of Lemma 5 as well.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, in [0, 1]. What is added may leave it: nothing is clipped.
      labels: `[B]`, integers in [0, K); not used if `of` is "jacobian".
      key: one key, or `[B]`, see `samples.keys_of_images`.
      length: l2 length of every displacement, pixel units; traced.
      samples: N, orthogonal directions.
      of: "jacobian" for the whole net, as the theorem; others as in
        `jacobian.cotangents`.
      noise: of the orthogonal directions. "white": normal. "alike": with the power
        spectrum of the tangent and random phases; the tangent is smooth, white noise is
        not, and a net answers to that too.

    Returns:
      `TangentChanges`, logits a pixel unit in l2 (the spectral norm).

    Raises:
      ValueError: for images, labels, counts, `of` or `noise` that cannot be.
    """
    v = cotangents(logits_fn(images), labels, of)
    base = input_gradients(logits_fn, images, v)
    change = _change_fn(logits_fn, images, v, base)
    along, length = tangent(images), jnp.asarray(length)
    draw = orthogonal(along[None])
    keys = keys_of_images(key, len(images))

    def of_number(number):  # the tangent itself is number -1: one net in the program
        across = draw(fold_in(keys, number), along, noise)
        return change(length * jnp.where(number < 0, unit(along), across))

    changes = jax.lax.map(of_number, jnp.arange(-1, samples))
    has_one = jnp.any(along != 0, axis=(1, 2, 3))
    return TangentChanges(
        gradient=spectral_norm(base),
        along=jnp.where(has_one, changes[0], jnp.nan),
        across=changes[1:].T,
    )


@measure("samples", "of", "noise", "group")
def orbit_changes(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    samples: int = SAMPLES,
    of: Of = "jacobian",
    noise: Noise = "white",
    group: Group = C4,
) -> OrbitChanges:
    """Theorem 2 between the points of a finite orbit, `g x` in place of `x + d_G`.

    The proof (Appendix A.2) has `grad f(g x) ~ grad f(x)` from the equality of their
    norms. Of an invariant net `grad f(g x) = g grad f(x)`, as long as `grad f(x)` and
    turned: `along` is 0 only if the gradient is symmetric; `turned_back` is always.

    Args:
      logits_fn, labels, key, samples, of: as in `tangent_changes`.
      images: `[B, H, W, C]`, in [0, 1], square if the group has quarter turns.
      noise: as in `tangent_changes`, the spectrum being that of `g x - x`.
      group: the group, of more than one element.

    Returns:
      `OrbitChanges`, logits a pixel unit in l2 (the spectral norm).

    Raises:
      ValueError: for images, labels, counts, `of` or `noise` that cannot be, or a group
        that turns nothing.
    """
    if group.order == 1:
        raise ValueError("orbit_changes: a group of one element has no orbit.")
    v = cotangents(logits_fn(images), labels, of)
    back = aligned_orbit_gradients(logits_fn, images, v, group)
    change = _change_fn(logits_fn, images, v, back[0])
    steps = orbit(images, group)[1:] - images[None]
    distance, draw = lengths(steps, "l2"), orthogonal(steps)
    keys = keys_of_images(key, len(images))

    def across(index):
        number, g = jnp.divmod(index, len(steps))
        drawn = draw(fold_in(keys, number, g), steps[g], noise)
        return change(distance[g][:, None, None, None] * drawn)

    off_orbit = jax.lax.map(across, jnp.arange(samples * len(steps)))
    off_orbit = off_orbit.reshape(samples, len(steps), len(images))
    norms = jax.vmap(spectral_norm)
    return OrbitChanges(
        gradient=spectral_norm(back[0]),
        distance=distance,
        along=norms(apply_group(back, group)[1:] - back[:1]),
        turned_back=norms(back[1:] - back[:1]),
        across=jnp.moveaxis(off_orbit, 0, -1),
    )


@measure()
def tangent_slopes(logits_fn: LogitsFn, images: Array) -> tuple[Array, Array]:
    """How much the net answers to a rotation: `||J_f t|| / (||J_f||_2 ||t||)`.

    Section 4.3 says that equivariant nets "suppress gradient sensitivity in directions
    aligned with the symmetry structure". An exact invariance under all rotations makes
    this 0; one under quarter turns does not touch it.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, in [0, 1].

    Returns:
      Two arrays `[B]`, in [0, 1]: along the tangent t of the orbit of all rotations;
      and of a random direction, `||J_f||_F / (||J_f||_2 sqrt(H W C))`, the root of the
      expected square. NaN where the Jacobian or the tangent is 0.

    Raises:
      ValueError: for images that cannot be.
    """
    along = tangent(images)
    has_one = jnp.any(along != 0, axis=(1, 2, 3))
    slope = jax.jvp(logits_fn, (images,), (unit(along),))[1]
    v = cotangents(slope, jnp.zeros(len(images), int), "jacobian")
    jacobian = input_gradients(logits_fn, images, v)
    largest = spectral_norm(jacobian)
    anywhere = jnp.sqrt(jnp.sum(jacobian**2, axis=(0, 2, 3, 4)) / images[0].size)
    on_orbit = jnp.linalg.norm(slope, axis=1) / largest
    return jnp.where(has_one, on_orbit, jnp.nan), anywhere / largest


def _change_fn(logits_fn: LogitsFn, images: Array, v: Array, base: Array):
    """The gradient's change from `base`, `[B]`, of displacements `[B, H, W, C]`."""

    def change(displacement: Array) -> Array:
        return spectral_norm(
            input_gradients(logits_fn, images + displacement, v) - base
        )

    return change


def _root_mean_square(changes: Array) -> Array:
    return jnp.sqrt(jnp.mean(changes**2, axis=-1))
