"""Two pictures in the docs: all corruptions, and kernels under the elements of C8.

python -m benchmarks.pictures corruptions --out docs/figures/corruptions.png
python -m benchmarks.pictures kernels --out docs/figures/kernels.png
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from benchmarks.corruption_draws import synthetic_images
from symjax.arguments import Parser
from symjax.data import corruptions as library
from symjax.groups import C8
from symjax.nn import kernels as kernel_bases

SEVERITIES = (1, 3, 5)
BASES = ("steerable", "interpolated")
KERNEL_SIZE = 5


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("picture", choices=("corruptions", "kernels"))
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    asked = parser.parse_args(argv)
    matplotlib.use("agg")
    figure = corruptions() if asked.picture == "corruptions" else kernels()
    figure.savefig(asked.out, dpi=100)


def corruptions() -> Figure:
    """One synthetic image under every corruption, with the severities 1, 3 and 5."""
    images, names = synthetic_images(8)[2:3], library.available()
    size = len(names), len(SEVERITIES) + 0.9
    figure, axes = plt.subplots(len(SEVERITIES), len(names), figsize=size)
    for column, name in enumerate(names):
        axes[0, column].set_title(name, fontsize=8, rotation=40, ha="left")
        for axis, severity in zip(axes[:, column], SEVERITIES, strict=True):
            corrupted = library.corrupt(images, name, severity, jax.random.key(0))
            axis.imshow(corrupted[0], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, severity in zip(axes[:, 0], SEVERITIES, strict=True):
        axis.set_ylabel(f"severity {severity}", fontsize=8)
    figure.tight_layout(pad=0.3)
    return figure


def kernels() -> Figure:
    """One kernel of each basis under every element of C8."""
    size = 1.1 * C8.order, 2.6
    figure, axes = plt.subplots(len(BASES), C8.order, figsize=size)
    for row, basis in zip(axes, BASES, strict=True):
        functions = kernel_bases.sampled(basis, C8, (KERNEL_SIZE, KERNEL_SIZE))
        rng = np.random.default_rng(3)
        rotated = functions @ rng.normal(size=functions.shape[2])
        limit = np.abs(rotated).max()
        for axis, kernel in zip(row, rotated, strict=True):
            shown = kernel.reshape(KERNEL_SIZE, KERNEL_SIZE)
            axis.imshow(shown, cmap="PuOr", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(basis, fontsize=9)
    for g, axis in enumerate(axes[0]):
        axis.set_title(C8.name(g), fontsize=9)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
