"""Metrics of a trained run, measured seed by seed.

    measure(run, store, clever.build(("l2",)), n=100)

Each metric gives one results row per seed: its mean over the test images. The values of
single images are saved beside the row.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array
from jax.tree_util import Partial
from rich.console import Console

from symjax.data.augment import to_unit
from symjax.evaluation.measurement import UNCORRUPTED, first_images, run_provenance
from symjax.evaluation.metrics import orbit
from symjax.evaluation.progress import Progress
from symjax.evaluation.results import Results
from symjax.evaluation.rows import METRIC, Row, cell_id
from symjax.evaluation.run import Run
from symjax.evaluation.titles import metric_name
from symjax.groups import Group
from symjax.seeds import KeyPurpose, of_seed, purpose_key
from symjax.statistics import estimate

Report = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class SeedContext:
    """The net of one seed, and the images that it is measured on.

    Attributes:
      logits_fn: the net, `[B, H, W, C] -> [B, K]`.
      layers_fn: maps `[B, H, W, C]` to a dict of the outputs of the net's layers.
      images: float32 `[n, H, W, C]` in [0, 1].
      labels: `[n]`.
      key: the source of all random numbers.
      folder: where a long measurement saves finished batches; None: nowhere.
      report: called with the number of finished images and the number of all images.
      run: the trained run that the net belongs to.
      index: index of the seed along the leading axis of the run's state.
    """

    logits_fn: Partial
    layers_fn: Partial
    images: np.ndarray
    labels: np.ndarray
    key: Array
    folder: Path | None
    report: Report
    run: Run
    index: int

    @property
    def orbit(self) -> Group:
        """The group whose orbits the net is measured on, see `metrics.orbit`."""
        net = self.run.experiment
        return orbit.of(net.config.model.name, net.model.group)[0]


@dataclasses.dataclass(frozen=True)
class MetricResult:
    """The result of one metric for one seed.

    Attributes:
      value: the value of the row.
      outcomes: arrays `[n, ...]` by name, with one entry per image.
      facts: further entries of the row, by name.
    """

    value: float
    outcomes: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric with its settings.

    Attributes:
      identity: the entries that the metric adds to a row's identity: "metric" (its
        name) and every setting.
      compute: computes the metric for one seed.
      over_orbit: whether the metric is defined on the orbits of a group; its rows then
        name the group, see `evaluation.metrics.orbit`.
    """

    identity: Mapping[str, Any]
    compute: Callable[[SeedContext], MetricResult]
    over_orbit: bool = False


def interval(values: np.ndarray) -> dict[str, float | None]:
    """The 95 % bootstrap interval of the mean of finite values, `[n]`, for a row.

    Both entries, "low" and "high", are None if there are fewer than two values.
    """
    mean = estimate(values) if len(values) > 1 else None
    return {"low": mean and mean.low, "high": mean and mean.high}


def mean_of_known(values: np.ndarray) -> tuple[float, dict[str, Any], int]:
    """The mean of the finite values, their interval and median, and the others' number.

    The mean is NaN and the median None if no value is finite.
    """
    known = values[np.isfinite(values)]
    median = float(np.median(known)) if len(known) else None
    mean = float(known.mean()) if len(known) else float("nan")
    return mean, {**interval(known), "median": median}, len(values) - len(known)


def measure(
    run: Run,
    store: Results,
    metrics: Sequence[Metric],
    n: int,
    console: Console | None = None,
    seeds: int = 0,
) -> list[Row]:
    """Measures metrics for every seed and writes the rows.

    Cells that the store holds already are not measured again.

    Args:
      run, store, console: the trained run, and where rows and progress are written.
      metrics: the metrics.
      n: the number of test images, the first ones of the test split.
      seeds: the number of seeds, the first ones of the run; 0: all.

    Returns:
      One row per metric and seed, without seeds that diverged.

    Raises:
      ValueError: if the test split has fewer than n images, or the run fewer seeds.
    """
    images, labels = first_images(run, n)
    pixels = np.asarray(to_unit(images))
    if not 0 <= seeds <= len(run.seeds):
        raise ValueError(
            f"seeds={seeds}: expected 0 (all) to {len(run.seeds)}, the seeds of the "
            "run."
        )
    store.drop_stale(run)
    asked_cells = [
        (metric, index, identity_of(run.identity(), metric, len(images), seed))
        for metric in metrics
        for index, seed in enumerate(run.seeds[: seeds or None])
        if not run.diverged[index]
    ]
    missing = [x for x in asked_cells if not store.holds([x[2]])]
    with Progress(console, len(missing)) as progress:
        for metric, index, identity in missing:
            context = SeedContext(
                of_seed(run.logits_fns, index),
                of_seed(run.layers_fns, index),
                pixels,
                labels,
                purpose_key(of_seed(run.experiment.keys, index), KeyPurpose.METRIC),
                store.unfinished([identity]),
                progress.part,
                run,
                index,
            )
            progress.begin(f"{metric_name(metric.identity)}, seed {run.seeds[index]}")
            _write(store, identity, metric, context)
    return [store.rows[cell_id(identity)] for *_, identity in asked_cells]


def identity_of(
    run: Mapping[str, Any], metric: Metric, n: int, seed: int
) -> dict[str, Any]:
    """The identity of a metric's row; its hash is the cell id.

    `run` has the entries of the run, see `evaluation.run.identity`.
    """
    return {
        **run,
        **UNCORRUPTED,
        "split": "test",
        "n": n,
        "seed": seed,
        "kind": METRIC,
        "protocol": "sound",
        **(orbit.identity(run) if metric.over_orbit else {}),
        **metric.identity,
    }


def _write(store: Results, identity, metric: Metric, context: SeedContext) -> None:
    began = time.perf_counter()
    result = metric.compute(context)
    seconds = round(time.perf_counter() - began, 3)
    facts = {**result.facts, "diverged": False}
    if metric.over_orbit:
        facts |= orbit.facts(context.run.identity())
    provenance = {"seconds": seconds, **run_provenance(context.run, context.index)}
    store.add(identity, result.value, result.outcomes, facts, provenance)
    store.finish([identity])
