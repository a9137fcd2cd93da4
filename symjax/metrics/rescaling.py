"""Scale equivariance errors of the layers of a net (paper, Section 4.5, Equation 12).

    errors = scale_errors(layers_fn, images, factors=(0.5, 2.0), method="area")
    errors["first"]                                            # [factors, B]

The equation is `F(b x) = rho(b) F(x)` for a factor b of the side lengths. No net
satisfies it exactly: resizing loses detail, a layer has a few of infinitely many
scales, and neither of them is a group. These functions measure the error.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from symjax.attacks.result import LogitsFn
from symjax.metrics.program import evaluate, measure
from symjax.metrics.symmetry import LayersFn
from symjax.nets import as_partial
from symjax.nn.exactness import pair
from symjax.nn.resizing import Method, resize
from symjax.nn.scale import rescaled_sizes


@measure("factors", "method")
def scale_errors(
    layers_fn: LayersFn,
    images: Array,
    factors: tuple[float, ...] = (0.5, 2.0),
    method: Method = "bicubic",
) -> dict[str, Array]:
    """The scale equivariance error of each layer (Equation 12).

    The error is `||F(b x) - b F(x)||_2^2 / ||b F(x)||_2^2`, for each factor b. The
    errors of ordinary convolutions are the baseline for those of scale layers.

    Args:
      layers_fn: a pure function from `[B, H, W, C]`, of any size, to a dict of outputs.
        Feature maps `[B, H, W, C]` and `[B, H, W, G, C]` are resized; outputs `[B, K]`,
        such as logits, should not change.
      images: as in `symjax.metrics`.
      factors: factors of the side lengths.
      method: how images and outputs are resized, see `nn.resizing.resize`.

    Returns:
      By name of the layer, `[factors, B]`; NaN if all values of an output are 0.
    """
    reference = evaluate(layers_fn, images)
    errors: dict[str, list[Array]] = {name: [] for name in reference}
    for sizes in rescaled_sizes(pair(images.shape[1:3]), factors):
        outputs = evaluate(layers_fn, resize(images, sizes, method))
        for name, output in outputs.items():
            expected = _resized(reference[name], output.shape, method)
            errors[name].append(_relative_square(output, expected))
    return {name: jnp.stack(parts) for name, parts in errors.items()}


def averaged_over_scales(
    logits_fn: LogitsFn,
    factors: tuple[float, ...] = (0.5, 1.0, 2.0),
    method: Method = "bicubic",
) -> Partial:
    """The net averaged over scales of its input, `x -> mean_s f(s x)`.

    Section 4.5 averages the gradients of f at rescaled images, and states that this
    lowers their variance. Those gradients have different sizes. The gradient of this
    net is their mean, with each mapped to the original size by the transpose of the
    resizing. Compare its `gradient_variance` and `high_frequency_fraction` with those
    of f.

    Args:
      logits_fn: the net f, for images of any size; its leaves remain leaves.
      factors: factors s of the side lengths.
      method: how images are resized, see `nn.resizing.resize`.

    Returns:
      A callable like `logits_fn`.
    """
    return Partial(_Averaged(factors, method), as_partial(logits_fn))


@dataclasses.dataclass(frozen=True)
class _Averaged:
    """Compared by value, so that equal objects share compiled programs."""

    factors: tuple[float, ...]
    method: Method

    def __call__(self, net: Partial, images: Array) -> Array:
        sizes = rescaled_sizes(pair(images.shape[1:3]), self.factors)
        rescaled = [resize(images, x, self.method) for x in sizes]
        return jnp.mean(jnp.stack([net(x) for x in rescaled]), axis=0)


def _resized(output: Array, shape: Sequence[int], method: Method) -> Array:
    if output.ndim == 2:
        return output
    maps = output.reshape(*output.shape[:3], -1)
    return resize(maps, pair(shape[1:3]), method).reshape(shape)


def _relative_square(output: Array, expected: Array) -> Array:
    axes = tuple(range(1, output.ndim))
    difference = jnp.sum((output - expected) ** 2, axis=axes)
    return difference / jnp.sum(expected**2, axis=axes)
