"""When a layer commutes with rotations of the pixel grid, and when it does not.

A convolution or pooling with window k, stride s and padding p on S pixels visits
positions that a half or quarter turn maps onto each other if and only if the padding is
the same on both sides and `(S + 2 p - k) mod s = 0`: otherwise the last window leaves
pixels over at one edge only. (Unequal padding is exact where no window reaches the
surplus.) A quarter turn also needs the same rule on both axes; a mirror needs it on
the one that it reverses. Of a group that turns pixels between pixels, such as C8, this
concerns the elements that do not (C4); the others are never exact.

    exactness.check("GroupConv", group, (32, 32), (3, 3), (2, 2), ((0, 1), (0, 1)))
"""

import itertools
import operator
from collections.abc import Sequence

from symjax.groups import Group

Pair = tuple[int, int]
Padding = str | int | Sequence[Pair]

RULE = "symmetric padding p and (size + 2 p - kernel) mod stride = 0 on both axes"


class ExactnessError(ValueError):
    """A layer would break the symmetry of its group on this image size."""


def pair(value: int | Sequence[int]) -> Pair:
    """`3` or `(3, 3)` as `(3, 3)`."""
    if isinstance(value, Sequence):
        return value[0], value[1]
    return operator.index(value), operator.index(value)


def resolve_padding(
    padding: Padding, sizes: Pair, kernel: Pair, strides: Pair
) -> tuple[Pair, Pair]:
    """Padding as ((top, bottom), (left, right)) pixels.

    Args:
      padding: "SAME" (as XLA: ceil(S / s) positions, the odd pixel at the end),
        "VALID", one integer for all four sides, or two pairs.
      sizes, kernel, strides: `(height, width)` each.

    Raises:
      ValueError: for another string.
    """
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    if not isinstance(padding, str):
        top_bottom, left_right = padding
        return pair(top_bottom), pair(left_right)
    if padding == "VALID":
        return (0, 0), (0, 0)
    if padding == "SAME":
        return _same(sizes[0], kernel[0], strides[0]), _same(
            sizes[1], kernel[1], strides[1]
        )
    raise ValueError(
        f"padding={padding!r}: expected 'SAME', 'VALID', an integer or two pairs."
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
            group.reverses, sizes, kernel, strides, padding, strict=True
        )
        if reverses
    )
    if not group.swaps_axes:
        return fits
    square = kernel[0] == kernel[1] and strides[0] == strides[1]
    return fits and square and sizes[0] == sizes[1] and padding[0][0] == padding[1][0]


def check(
    layer: str,
    group: Group,
    sizes: Pair,
    kernel: Pair,
    strides: Pair,
    padding: tuple[Pair, Pair],
) -> None:
    """Raises ExactnessError, with a way out, where the layer would not be exact.

    Args:
      layer: its name, for the message.
      group: the group it should commute with.
      sizes, kernel, strides: `(height, width)` each, in pixels.
      padding: ((top, bottom), (left, right)) pixels.
    """
    if is_exact(group, sizes, kernel, strides, padding):
        return
    raise ExactnessError(
        f"{layer} on {sizes[0]}x{sizes[1]} pixels with kernel {kernel}, strides "
        f"{strides} and padding {padding} does not commute with {group}: it needs "
        f"{RULE}, and for quarter turns square images, kernels and strides. "
        f"{_way_out(group, sizes, kernel, strides)} Or pass exact=False to accept the "
        "error."
    )


def _way_out(group: Group, sizes: Pair, kernel: Pair, strides: Pair) -> str:
    """The nearest setting that works: padding first, then kernel, then image size."""
    if group.swaps_axes and sizes[0] != sizes[1]:
        side = max(sizes)
        rest = _way_out(group, (side, side), kernel, strides)
        return f"Pad or resize the images to {side}x{side} first. {rest}"
    stride = strides[0]
    near = (0, 1, -1, 2, -2)
    for change, grow in itertools.product(near, near):
        k, size = kernel[0] + grow, (sizes[0] + change, sizes[1] + change)
        if k < 1 or min(size) < k:
            continue
        for p in sorted(range(k), key=lambda p, k=k: abs(p - (k - 1) // 2)):
            window, steps, pads = (k, k), (stride, stride), ((p, p), (p, p))
            if is_exact(group, size, window, steps, pads):
                where = f" on {size[0]}x{size[1]} pixels" if change else ""
                return (
                    f"For example kernel {window}, strides {steps} and padding={p}"
                    f"{where} is exact."
                )
    return "Stride 1 with a square odd kernel and 'SAME' padding is always exact."
