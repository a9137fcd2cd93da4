"""Equivariance errors off the pixel grid and building times of layers, beside e2cnn.

    python -m benchmarks.turning --out results/benchmarks/turning.jsonl

Errors are those of `symjax.nn.equivariance_error.kernel_equivariance_errors`: all
kernels are applied to the same smooth feature maps, which are rotated without
interpolation. The printed table, which docs/groups.md shows, has their root mean square
over the elements that are not on the pixel grid. Kernels have the initialization of
each library, from 3 fields to 128; those of "e2cnn's, steerable" are e2cnn's kernels in
our basis (by `fit`). The rows also have the seconds to build a layer, and for ours to
trace it, with empty caches. (e2cnn 0.2.3 makes D_n only with NumPy 1.)
"""

import itertools
import time
from pathlib import Path

import jax
import numpy as np
from flax import linen

from benchmarks import report
from symjax import formatting, groups, io, nn
from symjax.arguments import Parser
from symjax.groups import Group
from symjax.nn import equivariance_error, kernels

GROUPS, SIZES, KINDS = ("C8", "C16"), (3, 5, 7), ("lifting", "group")
WAVES = (8.0, 16.0)
INPUTS, OUTPUTS = 3, 128
PEER, TAKEN_OVER = "e2cnn", "e2cnn's, steerable"


def main(argv: list[str] | None = None) -> list[dict]:
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSONL for the rows")
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    asked = parser.parse_args(argv)
    sizes = [int(size) for size in asked.sizes.split(",")]
    alone, origin = report.missing(PEER), report.origin()
    rows = []
    for name, size, kind in itertools.product(asked.groups.split(","), sizes, KINDS):
        group = groups.named(name)
        made, seconds = layers(group, size, kind == "lifting", not alone)
        for wave in WAVES:
            setting = {"group": name, "size": size, "kind": kind, "pixels_a_wave": wave}
            errors = {
                what: between_pixels(kernel, group, wave)
                for what, kernel in made.items()
            }
            rows.append(
                {"benchmark": "turning", **setting, "errors": errors}
                | {"seconds": seconds, **origin}
            )
    print(markdown(rows), end="")
    if asked.out:
        io.write_rows(asked.out, rows)
    return rows


def layers(
    group: Group, size: int, lifts: bool, peer: bool
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Expanded kernels by origin; seconds to build a layer, by library."""
    made, seconds, inputs = {}, {}, _inputs(group, lifts)
    axes = (size, size), inputs, group.regular
    if peer:
        import torch  # pyright: ignore

        from benchmarks.steerable_kernels import Layer

        torch.manual_seed(0)
        began = time.perf_counter()
        Layer(PEER, str(group), size, lifts, INPUTS, OUTPUTS)
        seconds[PEER] = time.perf_counter() - began
        layer = Layer(PEER, str(group), size, lifts, INPUTS, OUTPUTS, initialize=True)
        taken = kernels.fit(layer.kernel, "steerable", *axes)
        taken = kernels.expand(jax.numpy.asarray(taken), "steerable", *axes)
        made |= {PEER: layer.kernel, TAKEN_OVER: np.asarray(taken)}
    for basis in ("steerable", "interpolated"):
        kernels.sampled.cache_clear()
        began = time.perf_counter()
        shape = 1, size, size, *(() if lifts else (group.order,)), INPUTS
        images = jax.ShapeDtypeStruct(shape, np.float32)
        layer = _layer(group, size, lifts, basis)
        jax.eval_shape(layer.init_with_output, jax.random.key(0), images)
        seconds[f"symjax, {basis}"] = time.perf_counter() - began
        made[f"symjax, {basis}"] = ours(group, size, lifts, basis)
    return made, seconds


def _layer(group: Group, size: int, lifts: bool, basis: kernels.Basis):
    make = nn.LiftingConv if lifts else nn.GroupConv
    return make(OUTPUTS, size, use_bias=False, group=group, basis=basis)


def ours(group: Group, size: int, lifts: bool, basis: kernels.Basis) -> np.ndarray:
    """The initial kernel of a layer, expanded to all elements of the group."""
    layer = _layer(group, size, lifts, basis)
    axes = kernels.shape(basis, (size, size), _inputs(group, lifts), group.regular)
    draw = linen.initializers.lecun_normal()
    kernel = draw(jax.random.key(0), (*axes, INPUTS, OUTPUTS))
    plain = np.asarray(layer.expand({"kernel": kernel})["kernel"])
    return plain.reshape(size, size, -1, INPUTS, group.order, OUTPUTS)


def between_pixels(kernel: np.ndarray, group: Group, wave: float) -> float:
    """The equivariance error of a kernel under the elements off the pixel grid."""
    inputs = group.trivial if kernel.shape[2] == 1 else group.regular
    smooth = equivariance_error.random_plane_waves(0, (len(inputs), INPUTS), wave)
    found = equivariance_error.kernel_equivariance_errors(
        kernel, smooth, inputs, group.regular
    )
    others = np.setdiff1d(np.arange(group.order), group.grid.elements)
    return float(np.sqrt(np.mean(found[others] ** 2)))


def _inputs(group: Group, lifts: bool):
    return group.trivial if lifts else group.regular


def markdown(rows: list[dict]) -> str:
    """A table of the errors at each length of waves."""
    what = [PEER, "symjax, steerable", "symjax, interpolated"]
    what = [name for name in what if name in rows[0]["errors"]]
    heads = [f"{name}, {wave:g} pixels" for wave in WAVES for name in what]
    lines = []
    for first, *rest in zip(*[iter(rows)] * len(WAVES), strict=True):
        errors = [row["errors"][name] for row in (first, *rest) for name in what]
        size, layer = first["size"], f"{first['group']}, {first['kind']}"
        lines.append([layer, f"{size}x{size}", *(f"{100 * e:.2g} %" for e in errors)])
    return formatting.markdown(["layer", "kernel", *heads], lines)


if __name__ == "__main__":
    main()
