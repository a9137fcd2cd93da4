"""The speed of the nineteen corruptions with five severities.

    python -m benchmarks.corruptions                     # 10,000 images of 32 x 32
    python -m benchmarks.corruptions --published make_cifar_c.py --frost FOLDER

The unit is corrupted images per second; a whole CIFAR-10-C has 950,000 images. The
published generator corrupts one image at a time and is measured on fewer images. It
needs OpenCV, scikit-image, and Wand with ImageMagick, see
`benchmarks/corruption_figures.py`. The images are synthetic, with a natural spectrum.
"""

import argparse
import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import report, setting
from benchmarks.corruption_draws import SEVERITIES, synthetic_images
from benchmarks.corruption_figures import published, published_functions
from symjax.arguments import Parser
from symjax.data import corruptions

SMOKE = {"images": 4, "points": 2, "repeats": 1}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    asked = _read(argv)
    names = corruptions.available()
    kinds = list(itertools.product(names, SEVERITIES))
    images = synthetic_images(asked.images)
    contestants = {"symjax": lambda: ours(images, kinds)}
    counts = {"symjax": len(images) * len(kinds)}
    if asked.published:
        module = published_functions(asked.published)
        few = images[: asked.points]

        def theirs():
            with contextlib.chdir(asked.frost or "."):  # where it has its photographs
                for name, severity in kinds:
                    published(module, name, severity, few, None)

        contestants["make_cifar_c.py"] = theirs
        counts["make_cifar_c.py"] = len(few) * len(kinds)
    times = report.alternate(contestants, asked.repeats, asked.warmups)
    work = {"images": counts, "corruptions": len(names), "severities": len(SEVERITIES)}
    rates = counts, "images/s", times
    return report.publish_rates("corruptions", work, *rates, asked.out)


def ours(images: np.ndarray, kinds: Sequence[tuple[str, int]]) -> None:
    """Corrupts the images in every way, and discards the results."""
    key = jax.random.key(0)
    for name, severity in kinds:
        corruptions.corrupt(images, name, severity, key)


def _read(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--images", type=setting.positive, default=10_000, help="of ours, a turn")
    add("--points", type=setting.positive, default=50, help="of theirs, a turn")
    add("--published", type=Path, help="make_cifar_c.py")
    add("--frost", type=Path, help="folder of its photographs")
    add("--warmups", type=int, default=0, help="turns before those that are timed")
    setting.add_shared(parser, repeats=1)
    asked = parser.parse_args(argv)
    if asked.smoke:
        vars(asked).update(SMOKE)
    return asked


if __name__ == "__main__":
    main()
