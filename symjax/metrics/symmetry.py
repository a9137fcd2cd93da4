"""Invariance and equivariance of a net over orbits (paper, Lemmas 1 to 4, Theorem 1).

    norms = jacobian_norms(logits_fn, images)          # [G, B], Lemma 1
    relative_spread(norms)                             # [B], 0 if the lemma holds

Each function measures the two sides of one statement at every point of the images'
orbits. A net with `f(g x) = f(x)` has the same values for every g, up to rounding,
where it is differentiable. It is not differentiable where positive values in a maximum
are equal, as on a constant background: the gradient goes to the first of them, which is
another one after a rotation. A little noise on the image makes them differ.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import DUAL, Norm
from symjax.groups import C4, Group
from symjax.metrics.jacobian import (
    Output,
    aligned_orbit_gradients,
    cotangents,
    lengths,
    other_classes,
    spectral_norm,
)
from symjax.metrics.orbit import orbit
from symjax.metrics.orbit import relative_spread as relative_spread
from symjax.metrics.program import evaluate, measure
from symjax.nn import exactness

LayersFn = Callable[..., Mapping[str, Array]]


class GradientEquivariance(NamedTuple):
    """The equivariance of a gradient, at each point of the orbit.

    Attributes:
      difference: `[G, B]`, `||grad f(g x) - g grad f(x)|| / ||grad f(x)||`.
      cosine: `[G, B]`, the cosine of the angle between `grad f(g x)` and `g grad f(x)`.
      length: `[G, B]`, `||grad f(g x)||`. If it is 0, the gradient is masked, and
        `difference` and `cosine` are NaN or infinite.
    """

    difference: Array
    cosine: Array
    length: Array


@measure("group")
def equivariance_errors(
    layers_fn: LayersFn, images: Array, group: Group = C4
) -> dict[str, Array]:
    """The equivariance error of each layer (Definition 1, Equation 1).

    The error is `max |F(g x) - rho(g) F(x)| / max |F(x)|`, where x is the image and F
    all layers up to the given one. The maximum is also over the elements g on the grid,
    `group.grid.elements`.

    Args:
      layers_fn: a pure function from `[B, H, W, C]` to a dict of outputs. `rho` rotates
        the pixels of feature maps `[B, H, W, C]`, and the pixels and the group axis of
        feature maps on a group `[B, H, W, G, C]`. Outputs `[B, K]`, such as logits,
        should not change.
      images: as in `symjax.metrics`.
      group: the group of the group axes.

    Returns:
      By name of the layer, `[B]`. The error of an exact layer is at the level of
      rounding. It is infinite if the shape changes with a rotation, and NaN if an
      output has a NaN or is 0 everywhere.
    """
    layers = Partial(evaluate, layers_fn)
    acts = {5: group.act_on_field, 4: group.act, 2: lambda g, vectors: vectors}
    elements = group.grid.elements

    def errors(name: str, rank: int, image: Array) -> Array:
        def layer(batch):
            return layers(batch)[name]

        of_elements = exactness.equivariance_errors(
            layer, image[None], group.act, acts[rank], elements
        )
        return jnp.max(of_elements)

    errors_of_layers = {}
    for name, output in jax.eval_shape(layers, images).items():
        if output.ndim not in acts:
            raise ValueError(
                f"layer {name!r} returns an array {output.shape}: expected [B, H, W, "
                "G, C], [B, H, W, C] or [B, K]."
            )
        of_layer = functools.partial(errors, name, output.ndim)
        errors_of_layers[name] = jax.vmap(of_layer)(images)
    return errors_of_layers


@measure("group")
def orbit_logits(logits_fn: LogitsFn, images: Array, group: Group = C4) -> Array:
    """The logits at every point of the orbits; equal for all g if the net is invariant.

    Args:
      logits_fn, images, group: as in `symjax.metrics`.

    Returns:
      `[G, B, K]`; its `relative_spread` is the error of invariance.
    """
    return _over_orbit(logits_fn, images, group)


@measure("group")
def orbit_margins(
    logits_fn: LogitsFn, images: Array, labels: Array, group: Group = C4
) -> Array:
    """Lemma 2: the margins at g x, `g_cj(g x) = rho_cc(g) f_c(x) - rho_jj(g) f_j(x)`.

    If the representation rho permutes no classes and the prediction does not change,
    rho is 1, and the margins must be the same for all g.

    Args:
      logits_fn, images, labels, group: as in `symjax.metrics`.

    Returns:
      `[G, B, K - 1]`, the margins at g x.
    """
    logits = _over_orbit(logits_fn, images, group)
    order = jnp.broadcast_to(labels[None, :, None], (*logits.shape[:2], 1))
    own = jnp.take_along_axis(logits, order, axis=-1)
    others = other_classes(labels, logits.shape[-1])[None]
    others = jnp.broadcast_to(others, (group.order, *others.shape[1:]))
    return own - jnp.take_along_axis(logits, others, axis=-1)


@measure("group")
def jacobian_norms(logits_fn: LogitsFn, images: Array, group: Group = C4) -> Array:
    """Lemma 1: the spectral norms of the Jacobian, `||J_f(g x)||_2 = ||J_f(x)||_2`.

    Args:
      logits_fn, images, group: as in `symjax.metrics`.

    Returns:
      `[G, B]`, in logits per pixel unit in l2, the local Lipschitz constants of
      Definition 8. They are equal for all g if `f(g x) = rho(g) f(x)` with an
      orthogonal rho.
    """
    v = cotangents(logits_fn(images), jnp.zeros(len(images), int), "jacobian")
    return jax.vmap(spectral_norm)(aligned_orbit_gradients(logits_fn, images, v, group))


@measure("group", "output")
def gradient_equivariance(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    output: Output = "margin",
    group: Group = C4,
) -> GradientEquivariance:
    """Lemmas 3 and 4: gradients at g x and x, `grad f(g x) = rho(g) grad f(x) Dg^-1`.

    For an invariant net `grad f(g x) = g grad f(x)`: the vectors are equal, not only
    their norms.

    Args:
      logits_fn, images, labels, group: as in `symjax.metrics`.
      output: "margin" for Lemma 3: `f_c - f_j`, where j is the other class with the
        largest logit at x, the same for the whole orbit. "jacobian" for Lemma 4: all
        logits as one vector. "logit": `f_c` only.

    Returns:
      A `GradientEquivariance`; differences are 0 and cosines are 1 if the lemma holds.
    """
    v = cotangents(logits_fn(images), labels, output)
    aligned = aligned_orbit_gradients(logits_fn, images, v, group)
    flat = jnp.moveaxis(aligned, 2, 1).reshape(group.order, len(images), -1)
    length = jnp.linalg.norm(flat, axis=-1)
    difference = jnp.linalg.norm(flat - flat[:1], axis=-1) / length[:1]
    product = jnp.sum(flat * flat[:1], axis=-1)
    return GradientEquivariance(difference, product / (length * length[:1]), length)


@measure("group", "norm")
def margin_gradient_norms(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    norm: Norm = "l2",
    group: Group = C4,
) -> Array:
    """Theorem 1: the norms of margin gradients at every point of the orbits.

    The theorem states `||grad g_cj(g x)||_q = ||grad g_cj(x)||_q`.

    Args:
      logits_fn, images, labels, group: as in `symjax.metrics`.
      norm: the norm p of the ball, "linf", "l2" or "l1"; q is its dual,
        `1/p + 1/q = 1`.

    Returns:
      `[G, B, K - 1]`, in logits per pixel unit in lp. For an invariant net the norms
      are equal for all g, in all three norms, because rotations permute pixels.
    """
    v = cotangents(logits_fn(images), labels, "margins")
    aligned = aligned_orbit_gradients(logits_fn, images, v, group)
    return jnp.moveaxis(lengths(aligned, DUAL[norm]), 1, 2)


def _over_orbit(logits_fn: LogitsFn, images: Array, group: Group) -> Array:
    flat = orbit(images, group).reshape(-1, *images.shape[1:])
    return logits_fn(flat).reshape(group.order, len(images), -1)
