"""Generalization gap and local Lipschitz constant.

    measure(run, store, generalization.build(), n=100)

The paper states that symmetry contracts the hypothesis space (Sections 1 and 4.2,
Definition 8). Two consequences are measured here: a smaller generalization gap and
smaller local Lipschitz constants. The number of free parameters is in the row of the
metric "cost".
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
CHUNK = 20  # images at a time, of a gradient ascent
RESTARTS = 2


def build(
    train_images: int = 1000, radius: float = NEARBY * RADII["l2"], steps: int = 20
) -> list[Metric]:
    """Two metrics, "generalization_gap" and "lipschitz".

    Args:
      train_images: the number of training images, the first ones; all of them if there
        are fewer.
      radius: l2 radius, in pixel units, of the balls in which the gradient norm of the
        margin is maximized.
      steps: steps of that gradient ascent.
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


def _gap(train_images: int, context: SeedContext) -> MetricResult:
    """Accuracy on training images minus accuracy on test images.

    If all images are classified correctly, all resamples are equal and the interval has
    the width 0.
    """
    train = context.run.experiment.dataset.train
    images = np.asarray(to_unit(train.images[:train_images]))
    seen = _correct(context.logits_fn, images, train.labels[:train_images])
    unseen = _correct(context.logits_fn, context.images, context.labels)
    gap = difference(seen, unseen)
    return MetricResult(
        gap.value,
        {"correct": unseen, "train_correct": seen},
        {
            "low": gap.low,
            "high": gap.high,
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


def _steepness(radius: float, steps: int, context: SeedContext) -> MetricResult:
    """The largest gradient norm of the margin in a ball, and the norm at its center."""
    count, parts = len(context.images), []
    keys, threat = keys_of_images(context.key, count), L2(np.float32(radius))
    for some in in_batches(count, CHUNK, pad=False):
        steepest = lipschitz.steepest(
            context.logits_fn,
            jnp.asarray(context.images[some]),
            jnp.asarray(context.labels[some]),
            keys[some],
            threat,
            steps,
            RESTARTS,
        )
        parts.append((steepest.constant, steepest.center, steepest.flat))
        context.report(int(some[-1]) + 1, count)
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
