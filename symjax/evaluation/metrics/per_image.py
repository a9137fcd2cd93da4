"""A statement of the paper as a metric: one value per image, their mean, its interval.

metric("theorem_1", theorem_1, over_orbit=True, norm="l2")
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax import compilation
from symjax.evaluation.metrics.base import (
    Metric,
    MetricResult,
    SeedContext,
    mean_of_known,
)
from symjax.io import in_batches
from symjax.metrics.samples import keys_of_images

CHUNK = 20  # images at a time
EXACT = 1e-5  # a relative error below this is rounding: a few hundred ulps of float32
ERRORS = ("error", "worst")  # names of values that are 0 where a statement is exact
Values = Mapping[str, Any]


class Batch(NamedTuple):
    """Some images `[B, H, W, C]`, their labels `[B]` and a random key for each."""

    images: Any
    labels: Any
    keys: Any


def metric(
    name: str,
    statement: Callable[..., Values],
    noisy: bool = True,
    over_orbit: bool = False,
    **settings: Any,
) -> Metric:
    """A metric that is computed image by image, `CHUNK` images at a time.

    The value of a row is the mean of the first array of the statement, over the images
    where the array is finite. Further entries of the row are the bootstrap interval
    (`low`, `high`), the `median`, the number of images where the array is `undefined`
    and, if the array is an error, the fraction of images where the error is mere
    rounding (`exact`).

    Args:
      name: the name of the metric in a row.
      statement: `(context, batch, **settings)`, for a `SeedContext` and a `Batch`;
        returns arrays `[B, ...]` by name.
      noisy: add noise of one gray level to the images, `(255 x + u) / 256` with u
        uniform in [0, 1) (Theis et al. 2016). Without noise, equal pixels such as those
        of a saturated sky make ties in max pooling. At a tie the net has no gradient,
        and the subgradient that is computed depends on the rotation of the image.
      over_orbit: whether the statement is about orbits of the net's group.
      **settings: arguments of the statement, which are entries of the row as well.
    """

    def compute(context: SeedContext) -> MetricResult:
        count = len(context.images)
        keys, parts = keys_of_images(context.key, count), []
        images = _dequantized(context.images, keys) if noisy else context.images
        for part in in_batches(count, CHUNK, pad=False):
            batch = Batch(images[part], context.labels[part], keys[part])
            values = statement(context, batch, **settings)
            parts.append({name: np.asarray(value) for name, value in values.items()})
            context.report(int(part[-1]) + 1, count)
        whole = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        first, values = next(iter(whole.items()))
        mean, facts, undefined = mean_of_known(values.astype(np.float64))
        facts["undefined"] = undefined
        if first in ERRORS:
            facts["exact"] = float(np.mean(values < EXACT))
        return MetricResult(mean, whole, facts)

    identity = {"metric": name, **settings, "dequantized": noisy}
    return Metric(identity, compute, over_orbit)


@compilation.jit_fast_compile
def _dequantized(images: Array, keys: Array) -> Array:
    draw = jax.vmap(lambda key: jax.random.uniform(key, images.shape[1:]))
    return (255 * jnp.asarray(images) + draw(keys)) / 256
