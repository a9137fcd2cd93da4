"""Does the net turn with the image? (Paper, Lemmas 1 to 4, Theorem 1)

    norms = jacobian_norms(logits_fn, images)          # [G, B], Lemma 1
    deviation(norms)                                   # [B], 0 if the lemma holds

Each function measures one statement at every point of the images' orbits, and returns
what it found, not a verdict. A net with `f(g x) = f(x)` must give the same at every g,
up to rounding, wherever it is differentiable. It is not where positive values tie
under a maximum, as they do on a constant background: there the gradient goes to the
first of them, which is another when the image is turned. A little noise parts them.
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
    Of,
    aligned_orbit_gradients,
    cotangents,
    lengths,
    other_classes,
    spectral_norm,
)
from symjax.metrics.orbit import orbit, relative_spread
from symjax.metrics.program import evaluate, measure
from symjax.nn import exactness

__all__ = [
    "GradientEquivariance",
    "relative_spread",
    "element_errors",
    "equivariance_errors",
    "gradient_equivariance",
    "jacobian_norms",
    "margin_gradient_norms",
    "orbit_logits",
    "orbit_margins",
]

LayersFn = Callable[..., Mapping[str, Array]]


class GradientEquivariance(NamedTuple):
    """How a gradient turns with the image, at each point of the orbit.

    Attributes:
      difference: `[G, B]`, `||grad f(g x) - g grad f(x)|| / ||grad f(x)||`.
      cosine: `[G, B]`, of the angle between the two.
      length: `[G, B]`, `||grad f(g x)||`. Where it is 0 the gradient is masked, and the
        others are NaN or infinite.
    """

    difference: Array
    cosine: Array
    length: Array


@measure("group")
def element_errors(
    layers_fn: LayersFn, images: Array, group: Group = C4
) -> dict[str, Array]:
    """How far each layer is from turning with the image (Definition 1, Equation 1).

    `max |F(g x) - rho(g) F(x)| / max |F(x)|`, the image itself being turned, so that
    all that comes before the layer counts as well.

    Args:
      layers_fn: `[B, H, W, C]` to a dict of outputs, pure. A field `[B, H, W, G, C]`
        turns its pixels and its group axis, feature maps `[B, H, W, C]` their pixels,
        and `[B, K]`, such as logits, should not change.
      images: `[B, H, W, C]`, in [0, 1], square if the group has quarter turns.
      group: that the fields are on.

    Returns:
      By name, `[E, B]`, a row for each element on the grid, `group.grid.elements`: a
      few roundings if the layer is exact. Infinite where the shape changes under a
      turn; NaN where an output is NaN, or 0 throughout.

    Raises:
      ValueError: for images that cannot be, or outputs of another rank.
    """
    layers = Partial(evaluate, layers_fn)
    acts = {5: group.act_on_field, 4: group.act, 2: lambda g, vectors: vectors}
    elements = group.grid.elements

    def errors(name: str, rank: int, image: Array) -> Array:
        def layer(batch):
            return layers(batch)[name]

        return exactness.equivariance_errors(
            layer, image[None], group.act, acts[rank], elements
        )

    found = {}
    for name, output in jax.eval_shape(layers, images).items():
        if output.ndim not in acts:
            raise ValueError(
                f"layer {name!r} gives {output.shape}: expected [B, H, W, G, C], "
                "[B, H, W, C] or [B, K]."
            )
        of_image = functools.partial(errors, name, output.ndim)
        found[name] = jax.vmap(of_image, out_axes=1)(images)
    return found


def equivariance_errors(
    layers_fn: LayersFn, images: Array, group: Group = C4
) -> dict[str, Array]:
    """The largest of `element_errors` over the elements: by name, `[B]`."""
    found = element_errors(layers_fn, images, group)
    return {name: jnp.max(errors, axis=0) for name, errors in found.items()}


@measure("group")
def orbit_logits(logits_fn: LogitsFn, images: Array, group: Group = C4) -> Array:
    """Logits at every point of the orbits; an invariant net gives G times the same.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own.
      images: `[B, H, W, C]`, in [0, 1], square if the group has quarter turns.
      group: the group.

    Returns:
      `[G, B, K]`; `deviation` of it is the error of invariance.

    Raises:
      ValueError: for images that cannot be.
    """
    return _over_orbit(logits_fn, images, group)


@measure("group")
def orbit_margins(
    logits_fn: LogitsFn, images: Array, labels: Array, group: Group = C4
) -> Array:
    """Lemma 2: `g_cj(g x) = rho_cc(g) f_c(x) - rho_jj(g) f_j(x)`.

    With a representation on K classes that leaves every class in its place and a
    prediction that does not turn over, rho is 1: the margins must not change.

    Args:
      logits_fn, images, group: as in `orbit_logits`.
      labels: `[B]`, c, integers in [0, K).

    Returns:
      `[G, B, K - 1]`, `f_c - f_j` at g x, j as `jacobian.rivals` has them.

    Raises:
      ValueError: for images or labels that cannot be.
    """
    logits = _over_orbit(logits_fn, images, group)
    order = jnp.broadcast_to(labels[None, :, None], (*logits.shape[:2], 1))
    own = jnp.take_along_axis(logits, order, axis=-1)
    others = other_classes(labels, logits.shape[-1])[None]
    others = jnp.broadcast_to(others, (group.order, *others.shape[1:]))
    return own - jnp.take_along_axis(logits, others, axis=-1)


@measure("group")
def jacobian_norms(logits_fn: LogitsFn, images: Array, group: Group = C4) -> Array:
    """Lemma 1: `||J_f(g x)||_2 = ||J_f(x)||_2`, the spectral norm of all K logits.

    Args:
      logits_fn, images, group: as in `orbit_logits`.

    Returns:
      `[G, B]`, logits a pixel unit in l2: the local Lipschitz constants of Definition
      8. Equal over G if `f(g x) = rho(g) f(x)` with an orthogonal rho.

    Raises:
      ValueError: for images that cannot be.
    """
    v = cotangents(logits_fn(images), jnp.zeros(len(images), int), "jacobian")
    return jax.vmap(spectral_norm)(aligned_orbit_gradients(logits_fn, images, v, group))


@measure("group", "of")
def gradient_equivariance(
    logits_fn: LogitsFn,
    images: Array,
    labels: Array,
    of: Of = "margin",
    group: Group = C4,
) -> GradientEquivariance:
    """Lemmas 3 and 4: `grad f(g x) = rho(g) grad f(x) Dg^-1`, as vectors.

    Of an invariant net, `grad f(g x) = g grad f(x)`: equal, and not only as long.

    Args:
      logits_fn, images, group: as in `orbit_logits`.
      labels: `[B]`, c, integers in [0, K).
      of: "margin" for Lemma 3: `f_c - f_j`, j the largest other logit at x, the same
        over the orbit. "jacobian" for Lemma 4: all logits as one vector. "logit" for
        `f_c` alone.

    Returns:
      A `Turning`: differences of 0 and cosines of 1, if the lemma holds.

    Raises:
      ValueError: for images or labels that cannot be, or another `of`.
    """
    v = cotangents(logits_fn(images), labels, of)
    back = aligned_orbit_gradients(logits_fn, images, v, group)
    flat = jnp.moveaxis(back, 2, 1).reshape(group.order, len(images), -1)
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
    """Theorem 1: `||grad g_cj(g x)||_q = ||grad g_cj(x)||_q`.

    Args:
      logits_fn, images, group: as in `orbit_logits`.
      labels: `[B]`, c, integers in [0, K).
      norm: p of the ball, "linf", "l2" or "l1"; q is its dual, `1/p + 1/q = 1`.

    Returns:
      `[G, B, K - 1]`, logits a pixel unit in lp, j as `jacobian.rivals` has them. Equal
      over G for an invariant net in all three norms, since turns permute pixels.

    Raises:
      ValueError: for images or labels that cannot be.
    """
    v = cotangents(logits_fn(images), labels, "margins")
    back = aligned_orbit_gradients(logits_fn, images, v, group)
    return jnp.moveaxis(lengths(back, DUAL[norm]), 1, 2)


def _over_orbit(logits_fn: LogitsFn, images: Array, group: Group) -> Array:
    flat = orbit(images, group).reshape(-1, *images.shape[1:])
    return logits_fn(flat).reshape(group.order, len(images), -1)
