"""The rule by which a layer commutes exactly with rotations of the pixel grid.

Consider a convolution or pooling with window k, stride s and padding p on S pixels. A
rotation by 90 or 180 degrees maps the positions of its windows onto each other if and
only if the padding is the same on both sides and `(S + 2 p - k) mod s = 0`; otherwise,
pixels at one edge are not covered by a window. (Unequal padding is exact where no
window reaches the additional pixels.) A rotation by 90 degrees needs the rule on both
axes, a reflection only on the axis that it flips. In a group with elements that are not
on the grid, such as C8, the rule applies to those on the grid (C4); the other elements
are never exact.

    exactness.check("GroupConv", group, (32, 32), (3, 3), (2, 2), ((0, 1), (0, 1)))
    exactness.equivariance_errors(layer, images, act_before, act_after, elements)

`check` applies this rule; `equivariance_errors` measures the error of any function.
"""

from collections.abc import Callable, Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax.groups import Group
from symjax.nn import settings
from symjax.nn.settings import Padding as Padding
from symjax.nn.settings import Pair as Pair

RULE = "symmetric padding p and (size + 2 p - kernel) mod stride = 0 on both axes"
ALWAYS = "Stride 1 with a square odd kernel and 'SAME' padding is always exact."
Takes = Callable[[Pair], bool]


class ExactnessError(ValueError):
    """A layer is not exactly equivariant on images of this size."""


def pair(value: int | Sequence[int]) -> Pair:
    """The pair `(3, 3)` for `3` or `(3, 3)`.

    Raises:
      ValueError: for anything else than one or two integers.
    """
    return settings.two("pair", "value", value, least=0)


def resolve_padding(
    padding: Padding, sizes: Pair, kernel: Pair, strides: Pair
) -> tuple[Pair, Pair]:
    """The padding as ((top, bottom), (left, right)), in pixels.

    Args:
      padding: "SAME" (as in XLA: ceil(S / s) positions, with an odd pixel at the end),
        "VALID", one integer for all four sides, or two pairs.
      sizes, kernel, strides: `(height, width)` each.

    Raises:
      ValueError: for another string, or invalid numbers.
    """
    padding = settings.padding("resolve_padding", padding)
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    if not isinstance(padding, str):
        return padding[0], padding[1]
    if padding == "VALID":
        return (0, 0), (0, 0)
    height, width = map(_same, sizes, kernel, strides)
    return height, width


def _same(size: int, kernel: int, stride: int) -> Pair:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def is_exact(
    group: Group,
    sizes: Pair,
    kernel: Pair,
    strides: Pair,
    padding: tuple[Pair, Pair],
) -> bool:
    """Whether such a layer commutes with the elements of `group` on the grid."""
    fits = all(
        low == high - (size + low + high - k) % s  # the part of `high` that is reached
        for flips, size, k, s, (low, high) in zip(
            group.flips_axes, sizes, kernel, strides, padding, strict=True
        )
        if flips
    )
    if not group.transposes_axes:
        return fits
    square = kernel[0] == kernel[1] and strides[0] == strides[1]
    return fits and square and sizes[0] == sizes[1] and padding[0][0] == padding[1][0]


def any_kernel(kernel: Pair) -> bool:
    """True, for layers that have kernels of every size."""
    del kernel
    return True


def check(
    layer: str,
    group: Group,
    sizes: Pair,
    kernel: Pair,
    strides: Pair,
    padding: tuple[Pair, Pair],
    takes: Takes = any_kernel,
) -> None:
    """Raises ExactnessError with a remedy if the layer would not be exact.

    Args:
      layer: name of the layer, for the message.
      group: the group that the layer should commute with.
      sizes, kernel, strides: `(height, width)` each, in pixels.
      padding: ((top, bottom), (left, right)) in pixels.
      takes: a function that returns whether the layer has kernels of a size.
    """
    if is_exact(group, sizes, kernel, strides, padding):
        return
    resize = ""
    if group.transposes_axes and sizes[0] != sizes[1]:
        resize = f"Pad or resize the images to {max(sizes)}x{max(sizes)} first. "
    other = setting(group, sizes, kernel, strides, takes)
    raise ExactnessError(
        f"{layer} on {sizes[0]}x{sizes[1]} pixels with kernel {kernel}, strides "
        f"{strides} and padding {padding} does not commute with {group}: expected "
        f"{RULE}, and for rotations by 90 degrees square images, kernels and strides. "
        f"{resize}{f'For example kernel {other} is exact.' if other else ALWAYS} Or "
        "pass exact=False to accept the error."
    )


def setting(
    group: Group, sizes: Pair, kernel: Pair, strides: Pair, takes: Takes = any_kernel
) -> str:
    """The nearest exact setting as text, such as "(3, 3), strides (1, 1) and ...".

    Args: as in `check`.

    Returns:
      Kernel, strides and padding; and other sizes of the images, if no setting is exact
      on these. Empty if no setting with these strides is exact.
    """
    square = (max(sizes), max(sizes)) if group.transposes_axes else sizes

    def paddings(k: int) -> Iterable[int]:
        return sorted(range(k), key=lambda p: abs(p - (k - 1) // 2))

    exact = nearest(group, square, kernel[0], strides[0], takes, paddings)
    if exact is None:
        return ""
    size, k, p = exact
    where = f" on {size[0]}x{size[1]} pixels" if size != sizes else ""
    return f"{(k, k)}, strides {(strides[0],) * 2} and padding={p}{where}"


def nearest(
    group: Group,
    sizes: Pair,
    kernel: int,
    stride: int,
    takes: Takes,
    paddings: Callable[[int], Iterable[int]],
) -> tuple[Pair, int, int] | None:
    """The nearest sizes, square kernel and padding that are exact, or None.

    Args:
      group, sizes, takes: as in `check`.
      kernel, stride: in pixels, the same on both axes.
      paddings: a function from a kernel to possible paddings, the best first.
    """
    for change in (0, 1, -1, 2, -2):
        size = sizes[0] + change, sizes[1] + change
        for k in sorted(range(1, min(size) + 1), key=lambda k: abs(k - kernel)):
            for p in paddings(k) if takes((k, k)) else ():
                if is_exact(group, size, (k, k), (stride, stride), ((p, p), (p, p))):
                    return size, k, p
    return None


def equivariance_errors(
    function: Callable[[Array], Array],
    inputs: Array,
    act_before: Callable[[int, Array], Array],
    act_after: Callable[[int, Array], Array],
    elements: Sequence[int] | np.ndarray,
) -> Array:
    """The measured equivariance error under each element g; can be traced.

    Args:
      function: the layer or net; the output of an image must not depend on the other
        images of the batch.
      inputs: `[B, ...]`, the input of `function`.
      act_before, act_after: the group's actions on inputs and on outputs.
      elements: the E elements that are measured; the first is the identity.

    Returns:
      `[E]`, `max |f(g x) - g f(x)| / max |f(x)|` over the batch and all axes. All
      values are infinite if the shapes of the two sides differ.
    """
    batch = jnp.concatenate([act_before(g, inputs) for g in elements])
    outputs = jnp.split(function(batch).astype(jnp.float32), len(elements))
    expected = [act_after(g, outputs[0]) for g in elements]
    if {x.shape for x in expected} != {outputs[0].shape}:
        return jnp.full(len(elements), jnp.inf)
    difference = jnp.abs(jnp.stack(outputs) - jnp.stack(expected))
    largest = jnp.max(difference, axis=tuple(range(1, difference.ndim)))
    return largest / jnp.max(jnp.abs(outputs[0]))
