"""A picture of one kernel of each basis under every element of a group.

python -m benchmarks.kernel_grid --out docs/figures/kernels.png
"""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from symjax import groups
from symjax.arguments import Parser
from symjax.nn import kernels

BASES = ("steerable", "interpolated")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--group", default="C8")
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    asked = parser.parse_args()
    group = groups.named(asked.group)
    matplotlib.use("agg")
    figure, axes = plt.subplots(
        len(BASES), group.order, figsize=(1.1 * group.order, 2.6), squeeze=False
    )
    for row, basis in zip(axes, BASES, strict=True):
        functions = kernels.sampled(basis, group, (asked.size, asked.size))
        rng = np.random.default_rng(3)
        turned = functions @ rng.normal(size=functions.shape[2])
        limit = np.abs(turned).max()
        for g, (place, kernel) in enumerate(zip(row, turned, strict=True)):
            shown = kernel.reshape(asked.size, asked.size)
            place.imshow(shown, cmap="PuOr", vmin=-limit, vmax=limit)
            place.set(xticks=[], yticks=[])
            if place in axes[0]:
                place.set_title(group.name(g), fontsize=9)
        row[0].set_ylabel(basis, fontsize=9)
    figure.tight_layout()
    figure.savefig(asked.out, dpi=100)


if __name__ == "__main__":
    main()
