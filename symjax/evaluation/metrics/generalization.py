"""How much a net fits, and how steep it is (paper, Sections 1 and 4.2, Definition 8).

    measure(run, store, hypothesis.figures(), n=100)

The paper says that symmetry contracts the hypothesis space. The parameters that are
left are in the row of the metric "cost"; here is what a smaller space should bring: a
smaller generalisation gap, and smaller local Lipschitz constants.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from symjax.attacks import L2, is_correct
from symjax.data.augment import to_unit
from symjax.evaluation.metrics.base import Metric, MetricResult, SeedContext, interval
from symjax.evaluation.metrics.clever import RADII
from symjax.evaluation.metrics.local_gradients import NEARBY
from symjax.io import in_batches
from symjax.metrics import lipschitz
from symjax.metrics.program import evaluate
from symjax.metrics.samples import keys_of_images
from symjax.statistics import difference

BATCH = 250  # images at a time, of a forward pass
CHUNK = 20  # of an ascent
RESTARTS = 2


def figures(
    train_images: int = 1000, radius: float = NEARBY * RADII["l2"], steps: int = 20
) -> list[Metric]:
    """Two figures, "generalization_gap" and "lipschitz".

    Args:
      train_images: the first so many training images, or all if there are fewer.
      radius: l2, pixel units, of the balls in which margins are made steep.
      steps: of the ascent.
    """
    ball = {"norm": "l2", "radius": radius, "steps": steps, "n_restarts": RESTARTS}
    return [
        Metric(
            {"metric": "generalization_gap", "train_images": train_images},
            functools.partial(_gap, train_images),
        ),
        Metric(
            {"metric": "lipschitz", **ball},
            functools.partial(_steepness, radius, steps),
        ),
    ]


def _gap(train_images: int, subject: SeedContext) -> MetricResult:
    """Accuracy on training images less that on the test images.

    Where no image is wrong, all draws are alike, and the interval has no width.
    """
    train = subject.run.experiment.dataset.train
    images = np.asarray(to_unit(train.images[:train_images]))
    seen = _correct(subject.logits_fn, images, train.labels[:train_images])
    unseen = _correct(subject.logits_fn, subject.images, subject.labels)
    found = difference(seen, unseen)
    return MetricResult(
        found.value,
        {"correct": unseen, "train_correct": seen},
        {
            "low": found.low,
            "high": found.high,
            "train_accuracy": float(seen.mean()),
            "test_accuracy": float(unseen.mean()),
            "train_n": len(seen),
        },
    )


def _correct(net: Partial, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each image is classified correctly, `[N]`; a tie is an error."""
    parts = []
    with jax.default_matmul_precision("highest"):
        for part in in_batches(len(images), BATCH):
            parts.append(np.asarray(evaluate(net, images[part])))
    logits = jnp.asarray(np.concatenate(parts)[: len(images)])
    return np.asarray(is_correct(logits, jnp.asarray(labels)))


def _steepness(radius: float, steps: int, subject: SeedContext) -> MetricResult:
    """The largest gradient of the margin in a ball, and what it is at the centre."""
    count, parts = len(subject.images), []
    keys, threat = keys_of_images(subject.key, count), L2(np.float32(radius))
    for some in in_batches(count, CHUNK, pad=False):
        found = lipschitz.steepest(
            subject.logits_fn,
            jnp.asarray(subject.images[some]),
            jnp.asarray(subject.labels[some]),
            keys[some],
            threat,
            steps,
            RESTARTS,
        )
        parts.append((found.constant, found.center, found.flat))
        subject.report(int(some[-1]) + 1, count)
    constant, centre, flat = np.concatenate(parts, axis=1).astype(np.float64)
    known = np.isfinite(constant)
    steep = known & (centre > 0)
    return MetricResult(
        float(constant[known].mean()),
        {"constant": constant, "centre": centre, "flat": flat},
        {
            **interval(constant[known]),
            "centre": float(centre[known].mean()),
            "ratio": float((constant[steep] / centre[steep]).mean()),
            "undefined": int((~known).sum()),
        },
    )
