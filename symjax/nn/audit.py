"""Measures the equivariance error of each layer, over a grid of settings.

    python -m symjax.nn.audit
    python -m symjax.nn.audit --sizes 15,16     # sides of the square images

`python -m symjax.evaluation.equivariance` measures the layers of a whole net.

The error of a layer f is `max |f(g x) - g f(x)| / max |f(x)|` over all group elements.
It is at the level of rounding where the layer is exact, and of order 1 elsewhere.
"""

import argparse
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console
from rich.progress import track
from rich.table import Table

from symjax import nn
from symjax.arguments import Parser, command
from symjax.groups import C4, Group
from symjax.nn import exactness, settings
from symjax.nn.exactness import (
    equivariance_errors,
    is_exact,
    pair,
    resolve_padding,
)

LAYERS = ("LiftingConv", "GroupConv", "max_pool", "avg_pool")
SIZES = (7, 8)
KERNELS = (1, 2, 3, 4)
STRIDES = (1, 2)
PADDINGS = ("SAME", "VALID", 1)
DTYPES = ("float32", "bfloat16")
TOLERANCES = {"float32": 2e-6, "bfloat16": 2e-2}
"""The largest error of an exact layer. Rotating an image changes the order in which a
sum of up to `25 * 4 * C` products is rounded, which makes a difference of some units in
the last place (6e-8 and 4e-3) of the largest value."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer on one image size.

    Attributes:
      layer: one of `LAYERS`.
      group: the group.
      size: side of the image in pixels.
      kernel, stride: the layer's kernel size and stride, the same on both axes.
      padding: the layer's `padding` argument.
    """

    layer: str
    group: Group
    size: int
    kernel: int
    stride: int
    padding: str | int

    @property
    def geometry(self):
        """Sizes, kernel, strides and padding, the arguments of `exactness.is_exact`."""
        sizes, kernel, strides = pair(self.size), pair(self.kernel), pair(self.stride)
        padding = resolve_padding(self.padding, sizes, kernel, strides)
        return sizes, kernel, strides, padding

    @property
    def fits(self) -> bool:
        """Whether the windows fit into the image and none contains only padding."""
        sizes, kernel, _, padding = self.geometry
        axes = zip(sizes, kernel, padding, strict=True)
        fit = all(size + sum(pads) >= k for size, k, pads in axes)
        return fit and ("pool" not in self.layer or max(padding[0]) < self.kernel)

    @property
    def exact(self) -> bool:
        """Whether the layer is exact by the rule of `symjax.nn.exactness`."""
        return is_exact(self.group, *self.geometry)


def grid(group: Group = C4, sizes: Sequence[int] = SIZES) -> Iterator[Case]:
    """All cases of layers, sizes, kernels, strides and paddings that fit."""
    geometries = itertools.product(sizes, KERNELS, STRIDES, PADDINGS)
    for layer, (size, kernel, stride, padding) in itertools.product(LAYERS, geometries):
        case = Case(layer, group, size, kernel, stride, padding)
        if case.fits:
            yield case


def measure(case: Case, dtype: str = "float32") -> float:
    """The equivariance error of a case, with random weights and inputs."""
    group, order = case.group, case.group.order
    rng = np.random.default_rng(0)
    lifts = case.layer == "LiftingConv"
    shape = (1, case.size, case.size, *(() if lifts else (order,)), 3)
    inputs = jnp.asarray(rng.normal(size=shape), dtype)
    kernel = (case.kernel, case.kernel, *(() if lifts else (order,)), 3, 4)
    params = {"params": {"kernel": jnp.asarray(rng.normal(size=kernel), jnp.float32)}}
    act_before = group.act if lifts else group.act_on_field

    @jax.jit
    def error(params, inputs):
        function = functools.partial(_apply, case, params, dtype)
        acts = act_before, group.act_on_field
        return jnp.max(equivariance_errors(function, inputs, *acts, range(order)))

    with jax.default_matmul_precision("highest"):  # no tf32 on a GPU
        return float(error(params, inputs))


def _apply(case: Case, params, dtype: str, inputs: Array) -> Array:
    layer, geometry = getattr(nn, case.layer), (case.kernel, case.stride, case.padding)
    options: dict[str, Any] = {"group": case.group, "exact": False}
    if "pool" in case.layer:
        return layer(inputs, *geometry, **options)
    options |= {"use_bias": False, "dtype": dtype}
    return layer(4, *geometry, **options).apply(params, inputs)


def _sizes(text: str) -> list[int]:
    try:
        return [settings.whole("", "", int(part)) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected comma-separated numbers of pixels of 1 or more, such "
            "as 15,16"
        ) from None


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        "python -m symjax.nn.audit",
        __doc__,
        hint="The audit of layers only takes --sizes; measure the layers of a whole "
        "net by `python -m symjax.evaluation.equivariance --config configs/NAME.py`.",
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        default=SIZES,
        help="sides of the square images in pixels, such as 15,16; the default is "
        f"{SIZES[0]},{SIZES[1]}",
    )
    return parser.parse_args(arguments)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the largest error of exact cases and the smallest of refused ones.

    There is one row per dtype and layer. The smallest error of the refused cases shows
    that none of them is exact.

    Args:
      arguments: the arguments of the command line.
    """
    sizes = _parsed(arguments).sizes
    table = Table(title="Equivariance error over C4, relative to the largest output")
    for column in ("dtype", "layer", "settings", "largest", "refused", "smallest"):
        table.add_column(column, justify="right")
    for dtype in DTYPES:
        errors = {(layer, exact): [] for layer in LAYERS for exact in (True, False)}
        cases = list(grid(sizes=sizes))
        for case in track(cases, f"measuring {dtype}", transient=True):
            errors[case.layer, case.exact].append(measure(case, dtype))
        for layer in LAYERS:
            exact, refused = errors[layer, True], errors[layer, False]
            largest = f"{max(exact):.1e}" if exact else "-"
            smallest = f"{min(refused):.1e}" if refused else "-"
            counts = str(len(exact)), str(len(refused))
            table.add_row(dtype, layer, counts[0], largest, counts[1], smallest)
    console = Console()
    console.print(table)
    limits = ", ".join(f"{TOLERANCES[dtype]:.0e} in {dtype}" for dtype in DTYPES)
    console.print(
        f"settings: the number of exact settings, {exactness.RULE}; largest: their "
        f"largest error, expected to be below {limits}. refused: the number of other "
        "settings; smallest: their smallest error.",
        highlight=False,
    )


if __name__ == "__main__":
    main()
