"""Does the net rescale with the image? (Paper, Section 4.5, Equation 12)

    errors = scale_errors(layers_fn, images, factors=(0.5, 2.0), method="area")
    errors["first"]                                            # [factors, B]

`F(b x) = rho(b) F(x)` for a factor b of the side lengths. Resizing loses detail, the
scales of a layer are a few of infinitely many, and neither is a group: no net satisfies
the equation, and this says by how much.
"""

import dataclasses
from collections.abc import Callable, Sequence

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


@measure("factors", "method", "antialias")
def scale_errors(
    layers_fn: LayersFn,
    images: Array,
    factors: tuple[float, ...] = (0.5, 2.0),
    method: Method = "bicubic",
    antialias: bool = True,
) -> dict[str, Array]:
    """How far each layer is from being rescaled with the image (Equation 12).

    `||F(b x) - b F(x)||_2^2 / ||b F(x)||_2^2`, for each factor b.

    Args:
      layers_fn: `[B, H, W, C]` to a dict of outputs, pure, for images of any size.
        Feature maps `[B, H, W, C]` and fields `[B, H, W, G, C]` are resized; `[B, K]`,
        such as logits, should not change.
      images: `[B, H, W, C]`, in [0, 1].
      factors: of the side lengths.
      method, antialias: of the images and of the outputs, see `nn.resizing.resize`.

    Returns:
      By name, `[factors, B]`; NaN where an output is 0 throughout. Outputs of a
      convolution at a single scale have one too: it is what the scale layers are to
      improve on.

    Raises:
      ValueError: for images, factors or a method that cannot be.
    """
    reference = evaluate(layers_fn, images)
    errors: dict[str, list[Array]] = {name: [] for name in reference}
    for sizes in rescaled_sizes(pair(images.shape[1:3]), factors):
        outputs = evaluate(layers_fn, resize(images, sizes, method, antialias))
        for name, output in outputs.items():
            expected = _resized(reference[name], output.shape, method, antialias)
            errors[name].append(_relative_square(output, expected))
    return {name: jnp.stack(of_factor) for name, of_factor in errors.items()}


@measure("scales", "factor", "method", "antialias")
def scale_field_errors(
    layer_fn: Callable[[Array], Array],
    images: Array,
    scales: tuple[float, ...],
    factor: float,
    method: Method = "bicubic",
    antialias: bool = True,
) -> Array:
    """The same for a layer that keeps its scales apart, whose rho moves them as well.

    What scale a sees in b x, scale a b sees in x: `F_a(b x) = b F_ab(x)`. Scales whose
    partner a b is not among the layer's are left out.

    Args:
      layer_fn: `[B, H, W, C] -> [B, H', W', S, C']`, one entry a scale.
      images: `[B, H, W, C]`, in [0, 1].
      scales: of the layer, S of them.
      factor: b.
      method, antialias: as in `scale_errors`.

    Returns:
      `[P, B]`, a relative squared l2 error for each pair (a, a b), in the order of a.

    Raises:
      ValueError: for images or a method that cannot be, or if no scale has a partner.
    """
    pairs = [
        (first, second)
        for first, a in enumerate(scales)
        for second, other in enumerate(scales)
        if abs(a * factor / other - 1) < 1e-6
    ]
    if not pairs:
        raise ValueError(f"factor={factor}: it leads from none of {scales} to another.")
    (sizes,) = rescaled_sizes(pair(images.shape[1:3]), (factor,))
    rescaled = layer_fn(resize(images, sizes, method, antialias))
    reference = layer_fn(images)
    errors = []
    for first, second in pairs:
        output = rescaled[..., first, :]
        expected = _resized(reference[..., second, :], output.shape, method, antialias)
        errors.append(_relative_square(output, expected))
    return jnp.stack(errors)


def averaged_over_scales(
    logits_fn: LogitsFn,
    factors: tuple[float, ...] = (0.5, 1.0, 2.0),
    method: Method = "bicubic",
    antialias: bool = True,
) -> Partial:
    """The net averaged over scales of its input, `x -> mean_s f(s x)`.

    Section 4.5 averages the gradients of f at rescaled images, and says that this
    lowers their variance. Those have other sizes; the gradient of this net is their
    mean, each brought back by the transpose of the resizing. It is to be measured
    (`gradient_variance`, `high_frequency_share`) and compared with f's own.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, f, for images of any size; its leaves stay
        leaves.
      factors: s, of the side lengths.
      method, antialias: of the resizing, see `nn.resizing.resize`.

    Returns:
      A callable like `logits_fn`.
    """
    return Partial(_Averaged(factors, method, antialias), as_partial(logits_fn))


@dataclasses.dataclass(frozen=True)
class _Averaged:
    """Compared by value, so that an equal average compiles nothing again."""

    factors: tuple[float, ...]
    method: Method
    antialias: bool

    def __call__(self, net: Partial, images: Array) -> Array:
        sizes = rescaled_sizes(pair(images.shape[1:3]), self.factors)
        rescaled = [resize(images, x, self.method, self.antialias) for x in sizes]
        return jnp.mean(jnp.stack([net(x) for x in rescaled]), axis=0)


def _resized(output: Array, shape: Sequence[int], method: Method, antialias: bool):
    if output.ndim == 2:
        return output
    maps = output.reshape(*output.shape[:3], -1)
    return resize(maps, pair(shape[1:3]), method, antialias).reshape(shape)


def _relative_square(output: Array, expected: Array) -> Array:
    axes = tuple(range(1, output.ndim))
    difference = jnp.sum((output - expected) ** 2, axis=axes)
    return difference / jnp.sum(expected**2, axis=axes)
