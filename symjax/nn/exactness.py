"""When a layer commutes with rotations of the pixel grid, and when it does not.

A convolution or pooling with window k, stride s and padding p on S pixels visits
positions that a half or quarter turn maps onto each other if and only if the padding is
the same on both sides and `(S + 2 p - k) mod s = 0`: otherwise the last window leaves
pixels over at one edge only. (Unequal padding is exact where no window reaches the
surplus.) A quarter turn also needs the same rule on both axes; a mirror needs it on
the one that it flips. Of a group that turns pixels between pixels, such as C8, this
concerns the elements that do not (C4); the others are never exact.

    exactness.check("GroupConv", group, (32, 32), (3, 3), (2, 2), ((0, 1), (0, 1)))
    exactness.equivariance_errors(layer, images, act_before, act_after, elements)

The first applies this rule; the second measures the error of any function.
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
    """A layer would break the symmetry of its group on this image size."""


def pair(value: int | Sequence[int]) -> Pair:
    """`3` or `(3, 3)` as `(3, 3)`.

    Raises:
      ValueError: for anything but an integer or two of them.
    """
    return settings.two("pair", "value", value, least=0)


def resolve_padding(
    padding: Padding, sizes: Pair, kernel: Pair, strides: Pair
) -> tuple[Pair, Pair]:
    """Padding as ((top, bottom), (left, right)) pixels.

    Args:
      padding: "SAME" (as XLA: ceil(S / s) positions, the odd pixel at the end),
        "VALID", one integer for all four sides, or two pairs.
      sizes, kernel, strides: `(height, width)` each.

    Raises:
      ValueError: for another string, or numbers that are no padding.
    """
    padding = settings.padding("resolve_padding", padding)
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    if not isinstance(padding, str):
        return padding[0], padding[1]
    if padding == "VALID":
        return (0, 0), (0, 0)
    return _same(sizes[0], kernel[0], strides[0]), _same(
        sizes[1], kernel[1], strides[1]
    )


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
    """Whether such a layer commutes with `group`, as far as that is on the grid."""
    fits = all(
        low == high - (size + low + high - k) % s  # what the windows reach of `high`
        for reverses, size, k, s, (low, high) in zip(
            group.flips_axes, sizes, kernel, strides, padding, strict=True
        )
        if reverses
    )
    if not group.transposes_axes:
        return fits
    square = kernel[0] == kernel[1] and strides[0] == strides[1]
    return fits and square and sizes[0] == sizes[1] and padding[0][0] == padding[1][0]


def any_kernel(kernel: Pair) -> bool:
    """Of layers that have kernels of every size."""
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
    """Raises ExactnessError, with a way out, where the layer would not be exact.

    Args:
      layer: its name, for the message.
      group: the group it should commute with.
      sizes, kernel, strides: `(height, width)` each, in pixels.
      padding: ((top, bottom), (left, right)) pixels.
      takes: whether the layer has kernels of a size at all.
    """
    if is_exact(group, sizes, kernel, strides, padding):
        return
    resize = ""
    if group.transposes_axes and sizes[0] != sizes[1]:
        resize = f"Pad or resize the images to {max(sizes)}x{max(sizes)} first. "
    found = setting(group, sizes, kernel, strides, takes)
    raise ExactnessError(
        f"{layer} on {sizes[0]}x{sizes[1]} pixels with kernel {kernel}, strides "
        f"{strides} and padding {padding} does not commute with {group}: it needs "
        f"{RULE}, and for quarter turns square images, kernels and strides. {resize}"
        f"{f'For example kernel {found} is exact.' if found else ALWAYS} Or pass "
        "exact=False to accept the error."
    )


def setting(
    group: Group, sizes: Pair, kernel: Pair, strides: Pair, takes: Takes = any_kernel
) -> str:
    """The nearest setting that `check` accepts, as "(3, 3), strides (1, 1) and ...".

    Args: as of `check`.

    Returns:
      Kernel, strides, padding and, if none is exact on images of these sizes, other
      sizes. Empty if there is none with these strides.
    """
    square = (max(sizes), max(sizes)) if group.transposes_axes else sizes

    def paddings(k: int) -> Iterable[int]:
        return sorted(range(k), key=lambda p: abs(p - (k - 1) // 2))

    found = nearest(group, square, kernel[0], strides[0], takes, paddings)
    if found is None:
        return ""
    size, k, p = found
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
    """The sizes, square kernel and padding next to these that are exact, if any.

    Args:
      group, sizes: as of `check`.
      kernel, stride: of both axes.
      takes: as of `check`.
      paddings: those that go with a kernel, the best first.
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
    """The measured error of equivariance under each element g; traceable.

    Args:
      function: the layer or net; it treats each image of the batch on its own.
      inputs: `[B, ...]`, the input of `function`.
      act_before, act_after: the group's action on inputs and on outputs.
      elements: the E elements that are measured; the first is the identity.

    Returns:
      `[E]`, `max |f(g x) - g f(x)| / max |f(x)|` over the batch and all axes. All are
      infinite where the shapes of the two sides differ.
    """
    batch = jnp.concatenate([act_before(g, inputs) for g in elements])
    moved = jnp.split(function(batch).astype(jnp.float32), len(elements))
    expected = [act_after(g, moved[0]) for g in elements]
    if {x.shape for x in expected} != {moved[0].shape}:
        return jnp.full(len(elements), jnp.inf)
    difference = jnp.abs(jnp.stack(moved) - jnp.stack(expected))
    largest = jnp.max(difference, axis=tuple(range(1, difference.ndim)))
    return largest / jnp.max(jnp.abs(moved[0]))
