"""Changes of the gradient along orbits and orthogonal to them (paper, Theorem 2).

    near = tangent_changes(logits_fn, images, labels, key, length=0.1)
    near.ratio                                                 # [B]; the theorem: >> 1
    far = orbit_changes(logits_fn, images, labels, key)

The changes are finite differences, not derivatives: a net of ReLUs and maxima is
piecewise linear, so that its second derivative is 0 almost everywhere, and its gradient
changes only between pieces. If no piece ends within the given length, the change is 0
and is no evidence for or against the theorem.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from symjax.attacks.result import LogitsFn
from symjax.groups import C4, Group
from symjax.metrics.jacobian import (
    Output,
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
from symjax.seeds import as_key, fold_in

SAMPLES = 8
Noise = Literal["white", "spectrum_matched"]
NOISES = ("white", "spectrum_matched")


class TangentChanges(NamedTuple):
    """Changes of the gradient over one length, `||grad f(x + delta) - grad f(x)||_2`.

    Attributes:
      gradient: `[B]`, `||grad f(x)||_2`.
      along: `[B]`, for delta along the tangent of the orbit; NaN if the tangent is 0.
      across: `[B, N]`, for random delta orthogonal to the tangent.
    """

    gradient: Array
    along: Array
    across: Array

    @property
    def ratio(self) -> Array:
        """Root mean square of `across` over `along`, `[B]`; not finite if that is 0."""
        return _root_mean_square(self.across) / self.along


class OrbitChanges(NamedTuple):
    """Changes of the gradient between points of the orbit, and orthogonal to it.

    Attributes:
      gradient: `[B]`, `||grad f(x)||_2`.
      distance: `[G - 1, B]`, `||g x - x||_2` in pixel units, for all g but the
        identity.
      along: `[G - 1, B]`, `||grad f(g x) - grad f(x)||_2`.
      aligned: `[G - 1, B]`, `||g^-1 grad f(g x) - grad f(x)||_2`.
      across: `[G - 1, B, N]`, `||grad f(x + delta) - grad f(x)||_2`, for random delta
        with the norm of g x - x, orthogonal to g x - x for all g.
    """

    gradient: Array
    distance: Array
    along: Array
    aligned: Array
    across: Array

    @property
    def ratio(self) -> Array:
        """The root mean square of `across` over `along`, `[G - 1, B]`."""
        return _root_mean_square(self.across) / self.along


@measure("samples", "output", "noise")
def tangent_changes(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    length: ArrayLike,
    samples: int = SAMPLES,
    output: Output = "jacobian",
    noise: Noise = "white",
) -> TangentChanges:
    """Measures Theorem 2: the gradient changes less along the orbit than across it.

    The theorem states
    `||grad f(x + d_o) - grad f(x)||_2 >> ||grad f(x + d_G) - grad f(x)||_2`, with d_G
    in the tangent space of the orbit and d_o orthogonal to it. Here the group is all
    rotations, because the tangent space of a finite group's orbit is {0}
    (`docs/theory.md`, remark 10). The theorem does not define the lengths of the
    displacements; here, both are `length`. With `output="logit"`, this is also the
    right side of Lemma 5.

    Args:
      logits_fn, images, key: as in `symjax.metrics`; displaced images are not clipped.
      labels: `[B]`, integers in [0, K); not used if `output` is "jacobian".
      length: l2 norm of every displacement, in pixel units; can be traced.
      samples: N, the number of random orthogonal directions.
      output: as in `symjax.metrics`; "jacobian" is the whole net, as in the theorem.
      noise: the distribution of the orthogonal directions, "white" or
        "spectrum_matched": with the power spectrum of the tangent and random phases.
        The tangent is smooth and white noise is not, which also affects the change.

    Returns:
      `TangentChanges`, in logits per pixel unit in l2 (the spectral norm).
    """
    v = cotangents(logits_fn(images), labels, output)
    base = input_gradients(logits_fn, images, v)
    change = _change_fn(logits_fn, images, v, base)
    along, length = tangent(images), jnp.asarray(length)
    draw = orthogonal(along[None])
    keys = keys_of_images(key, len(images))

    def numbered(number):  # -1 is the tangent, so that the program has one net only
        across = draw(fold_in(keys, number), along, noise)
        return change(length * jnp.where(number < 0, unit(along), across))

    changes = jax.lax.map(numbered, jnp.arange(-1, samples))
    has_tangent = jnp.any(along != 0, axis=(1, 2, 3))
    return TangentChanges(
        gradient=spectral_norm(base),
        along=jnp.where(has_tangent, changes[0], jnp.nan),
        across=changes[1:].T,
    )


@measure("samples", "output", "noise", "group")
def orbit_changes(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    key: Array,
    samples: int = SAMPLES,
    output: Output = "jacobian",
    noise: Noise = "white",
    group: Group = C4,
) -> OrbitChanges:
    """Measures Theorem 2 at the points of a finite orbit: `g x` instead of `x + d_G`.

    For an invariant net `grad f(g x) = g grad f(x)`: the norm is the same and the
    gradient is rotated. Therefore `along` is 0 only if the gradient is symmetric, and
    `aligned` is always 0.

    Args:
      logits_fn, images, key: as in `symjax.metrics`.
      labels, samples, output: as in `tangent_changes`.
      noise: as in `tangent_changes`, with the power spectrum of `g x - x`.
      group: a group of more than one element.

    Returns:
      `OrbitChanges`, in logits per pixel unit in l2 (the spectral norm).

    Raises:
      ValueError: for a group of one element.
    """
    if group.order == 1:
        raise ValueError(
            f"orbit_changes: group={group} has one element: expected more, such as C4."
        )
    v = cotangents(logits_fn(images), labels, output)
    aligned = aligned_orbit_gradients(logits_fn, images, v, group)
    change = _change_fn(logits_fn, images, v, aligned[0])
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
        gradient=spectral_norm(aligned[0]),
        distance=distance,
        along=norms(apply_group(aligned, group)[1:] - aligned[:1]),
        aligned=norms(aligned[1:] - aligned[:1]),
        across=jnp.moveaxis(off_orbit, 0, -1),
    )


@measure()
def tangent_slopes(logits_fn: LogitsFn, images: Array) -> tuple[Array, Array]:
    """Relative slope of the logits along a rotation, `||J_f t|| / (||J_f||_2 ||t||)`.

    Section 4.3 states that equivariant nets "suppress gradient sensitivity in
    directions aligned with the symmetry structure". For a net that is invariant under
    all rotations the slope is 0; invariance under rotations by 90 degrees does not
    affect it.

    Args:
      logits_fn, images: as in `symjax.metrics`.

    Returns:
      Two arrays `[B]`, in [0, 1]: the slope along the tangent t of the orbit of all
      rotations; and the root mean square of the slope in a random direction,
      `||J_f||_F / (||J_f||_2 sqrt(H W C))`. NaN where the Jacobian or the tangent is 0.
    """
    along = tangent(images)
    has_tangent = jnp.any(along != 0, axis=(1, 2, 3))
    slope = jax.jvp(logits_fn, (images,), (unit(along),))[1]
    v = cotangents(slope, jnp.zeros(len(images), int), "jacobian")
    jacobian = input_gradients(logits_fn, images, v)
    largest = spectral_norm(jacobian)
    random = jnp.sqrt(jnp.sum(jacobian**2, axis=(0, 2, 3, 4)) / images[0].size)
    on_orbit = jnp.linalg.norm(slope, axis=1) / largest
    return jnp.where(has_tangent, on_orbit, jnp.nan), random / largest


def orthogonal(directions: Array) -> Callable[[Array, Array, Noise], Array]:
    """A function that draws random directions orthogonal to the given ones.

    Args:
      directions: `[T, B, H, W, C]`, T directions for each image. They may be zero or
        linearly dependent; the draws are then also orthogonal to some other directions.

    Returns:
      A function of keys `[B]`, images `[B, H, W, C]` and a noise, which returns
      directions `[B, H, W, C]` of norm 1. The noise "white" is uniform on the sphere;
      "spectrum_matched" has the power spectrum of the images and random phases.
    """
    flat = jnp.moveaxis(directions.reshape(*directions.shape[:2], -1), 0, -1)
    basis = jnp.linalg.qr(flat)[0]  # [B, H W C, T]

    def draw(keys: Array, like: Array, noise: Noise) -> Array:
        one = functools.partial(jax.random.normal, shape=like.shape[1:])
        values = jax.vmap(one)(as_key(keys, "keys"))
        if noise == "spectrum_matched":
            values = _with_spectrum(like, values)
        elif noise != "white":
            raise ValueError(f"noise={noise!r}: expected one of {NOISES}.")
        rows = values.reshape(len(values), -1)
        for _ in range(2):  # the second time removes the rounding error of the first
            parts = jnp.einsum("bdt,bd->bt", basis, rows, precision="highest")
            rows = rows - jnp.einsum("bdt,bt->bd", basis, parts, precision="highest")
        return unit(rows.reshape(like.shape))

    return draw


def unit(images: Array) -> Array:
    """The images `[B, H, W, C]`, each divided by its Euclidean norm; 0 stays 0."""
    length = lengths(images, "l2")[:, None, None, None]
    return images / jnp.where(length == 0, 1.0, length)


def _with_spectrum(images: Array, noise: Array) -> Array:
    """Arrays with the Fourier amplitudes of the images and the phases of the noise."""
    phases = jnp.exp(1j * jnp.angle(jnp.fft.rfft2(noise, axes=(1, 2))))
    waves = jnp.abs(jnp.fft.rfft2(images, axes=(1, 2))) * phases
    return jnp.fft.irfft2(waves, images.shape[1:3], axes=(1, 2))


def _change_fn(logits_fn: LogitsFn, images: Array, v: Array, base: Array):
    """A function from displacements `[B, H, W, C]` to gradient changes, `[B]`."""

    def change(displacement: Array) -> Array:
        return spectral_norm(
            input_gradients(logits_fn, images + displacement, v) - base
        )

    return change


def _root_mean_square(changes: Array) -> Array:
    return jnp.sqrt(jnp.mean(changes**2, axis=-1))
