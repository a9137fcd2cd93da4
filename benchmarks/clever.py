"""CLEVER of a net with ten classes, against ART's `clever_u` on the same net.

    python -m benchmarks.clever                          # a net for digits
    python -m benchmarks.clever --size 32 --width 1 --norm linf

The unit is samples per second: points of the ball for which the gradient norms of all
nine margins are computed. The time includes drawing the points and fitting ten maxima.
ART, in PyTorch, handles the classes one after another, each with two forward and
backward passes over mini-batches of `pool_factor` points. It is measured with its
defaults (mini-batches of ten, gradients of the weights included), and with frozen
weights and larger mini-batches. ART draws all batches from one pool of points, ours
draws new points for each batch and so uses more points for the same number of batches.
The nets are untrained and have the same weights on both sides.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import report, setting
from benchmarks.clever_reference import ORDERS, art_version
from symjax import metrics, models
from symjax.arguments import Parser

BATCHES = 10
AS_IT_COMES = 10  # ART's default `pool_factor`
SMOKE = {"size": 8, "width": 0.1, "samples": 20, "points": 20, "repeats": 1}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    asked = _read(argv)
    rng = np.random.default_rng(0)
    image = rng.random((asked.size, asked.size, 3), np.float32)
    model = models.build("baseline", asked.depth, setting.CLASSES, width=asked.width)
    init = jax.jit(functools.partial(model.init, train=False))
    variables = init(jax.random.key(0), image[None])
    samples = max(1, asked.samples // BATCHES)
    contestants = {"symjax": ours(model, variables, image, samples, asked)}
    counts = {"symjax": BATCHES * samples}
    if asked.peer == "art" and (version := art_version()):
        for frozen, pool_factor in ((False, AS_IT_COMES), (True, asked.pool_factor)):
            how = "frozen" if frozen else "as it comes"
            name = f"ART {version}, {how}, mini-batches of {pool_factor}"
            size = max(1, asked.points // pool_factor)
            pool = size, pool_factor, frozen
            contestants[name] = theirs(model, variables, image, *pool, asked)
            counts[name] = size * pool_factor
    times = report.alternate(contestants, asked.repeats)
    names = "norm", "depth", "width", "size", "chunk"
    work = {name: getattr(asked, name) for name in names} | {"samples": counts}
    rates = counts, "samples/s", times
    return report.publish_rates("clever", work, *rates, asked.out)


def ours(
    model: models.Net, variables: Any, image: np.ndarray, samples: int, asked: Any
) -> Callable[[], Any]:
    """A function that scores the image."""
    return functools.partial(
        metrics.clever,
        models.logits_fn(model, variables),
        image,
        jax.random.key(0),
        norm=asked.norm,
        radius=ORDERS[asked.norm][1],
        batches=BATCHES,
        samples=samples,
        chunk=asked.chunk,
    )


def theirs(
    model: models.Net,
    variables: Any,
    image: np.ndarray,
    size: int,
    pool_factor: int,
    frozen: bool,
    asked: Any,
) -> Callable[[], Any]:
    """A function that scores the image with ART, from `size * pool_factor` points."""
    import torch  # pyright: ignore
    from art.estimators.classification import PyTorchClassifier  # pyright: ignore
    from art.metrics import metrics as art  # pyright: ignore

    from benchmarks import torch_nets

    net = torch_nets.Baseline(model.trunk, model.classes, model.width)
    torch_nets.copy_weights(variables, net)
    shape = image.shape[2], *image.shape[:2]
    loss, bounds = torch.nn.CrossEntropyLoss(), (0.0, 1.0)
    classifier = PyTorchClassifier(
        net.requires_grad_(not frozen), loss, shape, model.classes, clip_values=bounds
    )
    order, radius = ORDERS[asked.norm]
    call = classifier, image.transpose(2, 0, 1), BATCHES, size, radius, order
    return functools.partial(
        art.clever_u, *call, pool_factor=pool_factor, verbose=False
    )


def _read(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--norm", choices=tuple(ORDERS), default="l2")
    add("--depth", type=int, choices=models.DEPTHS, default=4)
    add("--width", type=float, default=0.5)
    add("--size", type=setting.positive, default=16, help="of the image, in pixels")
    add("--samples", type=setting.positive, default=2000, help="of ours, a turn")
    add("--points", type=setting.positive, default=512, help="of ART, a turn")
    add("--pool_factor", type=setting.positive, default=128, help="when frozen")
    add("--chunk", type=setting.positive, help="of ours, samples at a time")
    add("--peer", choices=("art", "none"), default="art")
    setting.add_shared(parser, repeats=5)
    asked = parser.parse_args(argv)
    if asked.smoke:
        vars(asked).update(SMOKE)
    setting.share_gpu()
    return asked


if __name__ == "__main__":
    main()
