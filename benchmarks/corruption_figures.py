"""Outputs of the published generator of CIFAR-10-C, stored for tests.

    python -m benchmarks.corruption_figures --published make_cifar_c.py \\
        --frost FOLDER --out tests/data/corruptions.npz

`make_cifar_c.py` is in github.com/hendrycks/robustness, ImageNet-C/create_c, with the
photographs of frost. It needs OpenCV, scikit-image, and Wand with ImageMagick, which
symjax does not need. Its functions run unchanged, except for names that NumPy, SciPy
and scikit-image have changed since.

`--images FILE.npy` prints the differences between symjax and the published generator on
given images; `--digests` stores digests of their deterministic corruptions.

Two kinds of values are stored: images and statistics. For images, the random numbers
come from a seeded generator in place of NumPy's, so that outputs can be compared pixel
by pixel. For statistics, the published code draws its own random numbers, and the mean,
variance and power by frequency are stored with their standard errors.
"""

import contextlib
import types
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from scipy import stats

from benchmarks.corruption_draws import (
    DETERMINISTIC,
    RANDOM,
    SEVERITIES,
    SIZE,
    digests,
    drawn,
    mean_and_error,
    statistics,
    synthetic_images,
)
from symjax.arguments import Parser
from symjax.data import corruptions
from symjax.data.corruptions.corruption import to_gray_levels
from symjax.formatting import markdown
from symjax.io import write_arrays

START, END = "# /////////////// Distortion Helpers", "# /////////////// End Distortions"
RENAMED = {
    "multichannel=True": "channel_axis=-1",
    "scipy.ndimage.interpolation": "scipy.ndimage",
    "np.float_)": "np.float64)",
    "np.fromstring": "np.frombuffer",
}


class Scripted:
    """Replaces `numpy.random`: each call returns the next of the given draws."""

    def __init__(self, name, draws):
        self.values = iter(SCRIPTS[name](draws)) if draws is not None else iter(())

    def normal(self, loc=0.0, scale=1.0, size=None):
        return loc + scale * next(self.values).reshape(size)

    def uniform(self, low=0.0, high=1.0, size=None):
        middle, half = (low + high) / 2, (high - low) / 2
        return middle + half * np.reshape(next(self.values), size or ())

    def poisson(self, lam):
        return stats.poisson.ppf((next(self.values) + 0.5) / 2.0**32, lam)

    def random(self, size):
        return next(self.values)

    def randint(self, low, high=None, size=None):
        value = next(self.values)
        if size is None and isinstance(value, float):  # a fraction of `high`
            return int(value * high)
        return value

    def default_rng(self, seed=None):
        return self


def _of_fog(wibbles):
    step = SIZE
    while step >= 2:
        half = step // 2
        for row, column in ((half, half), (0, half), (half, 0)):
            yield wibbles[row::step, column::step]
        step //= 2


def _of_glass(displacements):
    for of_pass in displacements:
        for row in range(SIZE - 1, 1, -1):
            yield from of_pass[row, SIZE - 1 : 1 : -1]


SCRIPTS = {
    "gaussian_noise": lambda draws: [draws],
    "speckle_noise": lambda draws: [draws],
    "spatter": lambda draws: [draws],
    "shot_noise": lambda draws: [draws],
    "impulse_noise": lambda draws: draws,
    "glass_blur": _of_glass,
    "motion_blur": lambda draws: [draws / 45],
    "snow": lambda draws: [draws[0], (draws[1] + 90) / 45],
    "frost": lambda draws: [int(draws[0]), float(draws[1][0]), float(draws[1][1])],
    "fog": _of_fog,
    "elastic_transform": lambda draws: [draws[0], *draws[1]],
}


def published_functions(path: Path) -> types.ModuleType:
    """The functions of `make_cifar_c.py`, without its loop over CIFAR-10."""
    source = path.read_text()
    source = source[source.index("from PIL import Image\n\n") :].split(END)[0]
    assert START in source
    for old, new in RENAMED.items():
        source = source.replace(old, new)
    module = types.ModuleType("published")
    exec("import numpy as np\n" + source, module.__dict__)
    return module


def published(
    module, name: str, severity: int, images: np.ndarray, draws
) -> np.ndarray:
    """Published outputs, `[B, H, W, 3]`, uint8, with given draws or (None) its own."""
    given, function = [], getattr(module, name)
    for index, image in enumerate(images):
        with contextlib.ExitStack() as stack:
            if draws is not None:
                own = (
                    [draw[index] for draw in draws]
                    if isinstance(draws, tuple)
                    else (draws[index])
                )
                scripted = Scripted(name, own)
                stack.enter_context(mock.patch("numpy.random", scripted))
            output = function(Image.fromarray(image), severity)
            given.append(np.uint8(output))
    return np.stack(given)


def stored(module, draws: int) -> dict[str, np.ndarray]:
    """Arrays by name: `images`, and `outputs/` and `statistics/` of each corruption."""
    images = synthetic_images(8)
    arrays = {"images": images}
    for names, count in ((DETERMINISTIC, 4), (RANDOM, 2)):
        for name in names:
            arrays[f"outputs/{name}"] = with_draws(module, name, images[:count])
    np.random.seed(0)  # noqa: NPY002  What the published code draws from.
    for name in RANDOM:
        rows = []
        for severity in SEVERITIES:
            many = np.concatenate([images] * draws)
            outputs = published(module, name, severity, many, None)
            outputs = outputs.reshape(draws, *images.shape)
            rows.append(mean_and_error(statistics(outputs, images)))
        arrays[f"statistics/{name}"] = np.array(rows)  # [5, mean or error, F]
        print(name, flush=True)
    return arrays


def of_images(module, images: np.ndarray) -> dict[str, np.ndarray]:
    """Digests of images, and digests `[5, B, 2]` of each deterministic corruption."""
    made = {name: with_draws(module, name, images) for name in DETERMINISTIC}
    found = {name: np.stack([digests(x) for x in of]) for name, of in made.items()}
    return {"images": digests(images), **found}


def with_draws(module, name: str, images: np.ndarray) -> np.ndarray:
    """Published outputs for all severities with our draws, `[5, B, H, W, 3]`, uint8."""
    outputs = [
        published(module, name, severity, images, drawn(name, images))
        for severity in SEVERITIES
    ]
    return np.stack(outputs)


def table(module, images: np.ndarray) -> str:
    """A Markdown table of the differences from the published outputs, by corruption."""
    lines = []
    for name in corruptions.NAMES:
        corruption, apart = corruptions.CORRUPTIONS[name], []
        for severity, expected in enumerate(with_draws(module, name, images), 1):
            draws = drawn(name, images)
            constants = corruption.constants[severity - 1]
            found = to_gray_levels(corruption.effect(images, draws, *constants))
            apart.append(np.abs(found.astype(int) - expected))
        unequal = np.mean([(one > 0).mean() for one in apart])
        lines.append([name, str(np.max(apart)), f"{unequal:.2%}"])
    return markdown(["corruption", "largest difference", "unequal values"], lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--published", type=Path, required=True)
    parser.add_argument("--frost", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--draws", type=int, default=256, help="of an image")
    parser.add_argument("--images", type=Path, help="[B, 32, 32, 3], uint8, to compare")
    parser.add_argument("--digests", type=Path, help="file for those of the images")
    options = parser.parse_args(argv)
    module = published_functions(options.published)
    images = np.load(options.images) if options.images else None
    with contextlib.chdir(options.frost):  # where the published code looks for them
        arrays = stored(module, options.draws) if options.out else {}
        found = {}
        if images is not None:
            print(table(module, images), end="")
            found = of_images(module, images)
    for path, values in ((options.out, arrays), (options.digests, found)):
        if path and values:
            write_arrays(path, values)


if __name__ == "__main__":
    main()
