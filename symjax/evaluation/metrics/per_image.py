"""One statement of the paper as a figure: a value an image, with an interval.

figure({"metric": "lemma_1"}, lemma_1, noisy=True)
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax import compilation
from symjax.evaluation.metrics.base import Metric, MetricResult, SeedContext, interval
from symjax.io import in_batches
from symjax.metrics.samples import keys_of_images

CHUNK = 20  # images at a time
EXACT = 1e-5  # relative; a few hundred roundings of float32
ERRORS = ("error", "worst")  # of what a statement calls equal
Values = Mapping[str, Any]
Statement = Callable[[SeedContext, Any, Any, Any], Values]  # images, labels, keys


def figure(
    says: Mapping[str, Any],
    statement: Statement,
    noisy: bool,
    over_orbit: bool = False,
) -> Metric:
    """A figure of a statement, measured on `CHUNK` images at a time.

    The value is the mean of the first of the statement's values, over the images where
    it is finite. The facts are its bootstrap interval, its median, for how many images
    it is undefined, and, of an error, the share of images where it is mere rounding.

    Args:
      says: "metric" and settings.
      statement: of a subject, images, labels and keys: arrays `[B, ...]` by name.
      noisy: measure images with noise of one grey level, `(255 x + u) / 256`, u uniform
        in [0, 1) (Theis et al. 2016). Equal pixels, as of a saturated sky, make ties in
        pools. There a net has no gradient, and which one comes out depends on where the
        image is turned to.
      over_orbit: whether the statement is on the orbits of the net's group.
    """

    def find(subject: SeedContext) -> MetricResult:
        count = len(subject.images)
        keys, parts = keys_of_images(subject.key, count), []
        images = _dequantised(subject.images, keys) if noisy else subject.images
        for part in in_batches(count, CHUNK, pad=False):
            found = statement(subject, images[part], subject.labels[part], keys[part])
            parts.append({name: np.asarray(value) for name, value in found.items()})
            subject.report(int(part[-1]) + 1, count)
        whole = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        name, values = next(iter(whole.items()))
        facts = _facts(values.astype(np.float64))
        if name in ERRORS:
            facts["exact"] = float(np.mean(values < EXACT))
        return MetricResult(facts.pop("mean"), whole, facts)

    return Metric({**says, "dequantized": noisy}, find, over_orbit)


@compilation.jit_fast_compile
def _dequantised(images: Array, keys: Array) -> Array:
    draw = jax.vmap(lambda key: jax.random.uniform(key, images.shape[1:]))
    return (255 * jnp.asarray(images) + draw(keys)) / 256


def _facts(values: np.ndarray) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    return {
        "mean": float(known.mean()) if len(known) else float("nan"),
        **interval(known),
        "median": float(np.median(known)) if len(known) else None,
        "undefined": int(len(values) - len(known)),
    }
