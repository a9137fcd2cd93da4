"""CLEVER scores of ART and their gradients and batches, stored for a test.

    python -m benchmarks.clever_reference --out tests/data/clever_art.npz

The command needs PyTorch and the Adversarial Robustness Toolbox. For each call of its
`clever_t` on a small net, it stores the points at which gradients were computed, the
points in each batch, and the scores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import report
from symjax.arguments import Parser
from symjax.attacks.threat import Norm
from symjax.io import write_arrays

SEED, BATCHES, SAMPLES, POOL_FACTOR = 9, 50, 16, 8
TARGETS = (1, 3)
STARTS = (1.0, 5.0)  # shapes that the fit starts at; the first is ART's default
ORDERS: dict[Norm, tuple[float, float]] = {  # and radius
    "l1": (1, 8.0),
    "l2": (2, 3.0),
    "linf": (np.inf, 0.5),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    out = parser.parse_args(argv).out
    if not art_version() or report.missing("torch"):
        return
    arrays = problem()
    for norm in ORDERS:
        for target in TARGETS:
            for name, array in scored(norm, target, arrays).items():
                arrays[f"{name}_{norm}_{target}"] = array
    write_arrays(out, arrays)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


def art_version() -> str:
    """The version of ART; empty, with a message, if it is not installed or usable."""
    try:
        import art.estimators.classification  # pyright: ignore # noqa: F401
        import art.metrics  # pyright: ignore # noqa: F401
    except ImportError as error:
        print(
            f"ART is not there ({error}): pip install adversarial-robustness-toolbox, "
            "or name its wheel in PYTHONPATH."
        )
        return ""
    return art.__version__


def problem() -> dict[str, np.ndarray]:
    """A net of two convolutions with softplus and a dense layer; an image."""
    rng = np.random.default_rng(SEED)
    arrays = {
        "conv_0": 0.5 * rng.normal(size=(3, 3, 1, 6)),
        "conv_1": 0.3 * rng.normal(size=(3, 3, 6, 8)),
        "dense": 0.3 * rng.normal(size=(72, 5)),
        "image": rng.uniform(0.1, 0.9, (6, 6, 1)),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def scored(
    norm: Norm, target: int, arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The points `[N, H, W, C]`, the points in each batch, one score per start."""
    from art.metrics import metrics  # pyright: ignore

    classifier, points, draws, scores = _classifier(arrays), [], [], []
    ask, choose = classifier.class_gradient, np.random.choice

    def watched(x, label):
        if label == target:
            points.append(x.transpose(0, 2, 3, 1).copy())
        return ask(x, label)

    def chosen(among, size):
        draws.append(choose(among, size))
        return draws[-1]

    image, (order, radius) = arrays["image"].transpose(2, 0, 1), ORDERS[norm]
    settings = BATCHES, SAMPLES, radius, order
    classifier.class_gradient = watched
    for start in STARTS:  # with the same points and draws
        points.clear()
        np.random.seed(SEED)  # noqa: NPY002 - what ART draws from
        with mock.patch.object(metrics.np.random, "choice", chosen):
            score = metrics.clever_t(
                classifier, image, target, *settings, start, POOL_FACTOR
            )
        scores.append(score)
    return {
        "points": np.concatenate(points),
        "batches": np.array(draws[-BATCHES:], np.uint8),  # in l1, signs come before
        "scores": np.array(scores),
    }


def _classifier(arrays: dict[str, np.ndarray]) -> Any:
    import torch  # pyright: ignore
    from art.estimators.classification import PyTorchClassifier  # pyright: ignore

    from benchmarks.torch_nets import small_net

    net = small_net(arrays, torch.nn.functional.softplus)

    class Net(torch.nn.Module):
        def forward(self, images):
            return net(images)

    shape = arrays["image"].shape
    return PyTorchClassifier(
        Net(),
        torch.nn.CrossEntropyLoss(),
        (shape[2], *shape[:2]),
        arrays["dense"].shape[1],
        clip_values=(0.0, 1.0),
    )


if __name__ == "__main__":
    main()
