"""A figure of all corruptions: one synthetic image, the severities 1, 3 and 5.

python -m benchmarks.corruption_grid --out docs/figures/corruptions.png
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import matplotlib.pyplot as plt

from benchmarks.corruption_draws import synthetic_images
from symjax.arguments import Parser
from symjax.data import corruptions

SHOWN = (1, 3, 5)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    out, names = parser.parse_args(argv).out, corruptions.available()
    images = synthetic_images(8)[2:3]
    figure, axes = plt.subplots(
        len(SHOWN), len(names), figsize=(len(names), len(SHOWN) + 0.9)
    )
    for column, name in enumerate(names):
        axes[0, column].set_title(name, fontsize=8, rotation=40, ha="left")
        for axis, severity in zip(axes[:, column], SHOWN, strict=True):
            corrupted = corruptions.corrupt(images, name, severity, jax.random.key(0))
            axis.imshow(corrupted[0], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, severity in zip(axes[:, 0], SHOWN, strict=True):
        axis.set_ylabel(f"severity {severity}", fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    main()
