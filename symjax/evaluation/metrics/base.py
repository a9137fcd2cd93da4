"""Metrics of a trained run: a row for each seed and figure, like those of an attack.

    measure(run, store, clever.figures(("l2",)), n=100)

A figure is one number a seed, the mean over its images, and what each image came to.
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
    """One seed's net, and what it is measured on.

    Attributes:
      logits_fn: `[B, H, W, C] -> [B, K]`.
      layers_fn: `[B, H, W, C]` to a dict of its layers' outputs.
      images: float32 `[n, H, W, C]` in [0, 1].
      labels: `[n]`.
      key: for all that is random.
      folder: where a long measurement keeps what it has done so far, if anywhere.
      report: called with what is done, and what there is to do.
      run: the trained run that the net is of.
      index: of the seed, along the leading axis of the run's state.
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
        """The group over whose orbits the net is measured, see `metrics.orbit`."""
        net = self.run.experiment
        return orbit.of(net.config.model.name, net.model.group)[0]


@dataclasses.dataclass(frozen=True)
class MetricResult:
    """What one seed came to.

    Attributes:
      value: the figure.
      outcomes: arrays `[n, ...]`, of every image.
      facts: what the row says besides.
    """

    value: float
    outcomes: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Metric:
    """Something to measure.

    Attributes:
      identity: its part of the row's identity: "metric", and every setting.
      compute: measures it.
      over_orbit: whether it is measured over the orbits of a group, which its rows then
        name, see `evaluation.metrics.orbit`.
    """

    identity: Mapping[str, Any]
    compute: Callable[[SeedContext], MetricResult]
    over_orbit: bool = False


def interval(values: np.ndarray) -> dict[str, float | None]:
    """The ends of the bootstrap's interval of a mean; None of fewer than two values.

    Args:
      values: `[n]`, of images that have one.
    """
    found = estimate(values) if len(values) > 1 else None
    return {"low": found and found.low, "high": found and found.high}


def measure(
    run: Run,
    store: Results,
    figures: Sequence[Metric],
    n: int,
    console: Console | None = None,
    seeds: int = 0,
) -> list[Row]:
    """Measures figures of every seed, and writes the rows; those there are stay.

    Args:
      run: the trained run.
      store: where the rows go.
      figures: what to measure.
      n: the first n test images.
      console: where progress goes.
      seeds: the first so many of the run's; 0: all.

    Returns:
      One row a figure and seed that did not diverge.

    Raises:
      ValueError: if the test split has fewer than n images, or the run fewer seeds.
    """
    images, labels = first_images(run, n)
    pixels = np.asarray(to_unit(images))
    if not 0 <= seeds <= len(run.seeds):
        raise ValueError(
            f"seeds={seeds}: expected 0 (all) to {len(run.seeds)}, those of the run."
        )
    asked = range(seeds or len(run.seeds))
    alive = [index for index in asked if not run.diverged[index]]
    asked_cells = [
        (figure, index, identity_of(run.identity(), figure, len(images), seed))
        for figure in figures
        for index, seed in enumerate(run.seeds)
        if index in alive
    ]
    missing = [x for x in asked_cells if cell_id(x[2]) not in store.rows]
    with Progress(console, len(missing)) as progress:
        for figure, index, identity in missing:
            subject = SeedContext(
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
            progress.begin(f"{metric_name(figure.identity)}, seed {run.seeds[index]}")
            _write(run, store, identity, figure, subject)
    return [store.rows[cell_id(identity)] for *_, identity in asked_cells]


def identity_of(
    run: Mapping[str, Any], figure: Metric, n: int, seed: int
) -> dict[str, Any]:
    """What is the identity of a row of a metric; its hash is the cell id.

    Args:
      run: what it says of the run, see `evaluation.run.identity`.
      figure, n, seed: as in `measure`.
    """
    return {
        **run,
        **UNCORRUPTED,
        "split": "test",
        "n": n,
        "seed": seed,
        "kind": METRIC,
        "protocol": "sound",
        **(orbit.identity(run) if figure.over_orbit else {}),
        **figure.identity,
    }


def _write(
    run: Run, store: Results, identity, figure: Metric, subject: SeedContext
) -> None:
    began = time.perf_counter()
    found = figure.compute(subject)
    seconds = round(time.perf_counter() - began, 3)
    facts = {**found.facts, "diverged": False}
    if figure.over_orbit:
        facts |= orbit.facts(run.identity())
    where = {"seconds": seconds, **run_provenance(run)}
    store.add(identity, found.value, found.outcomes, facts, where)
    store.finish([identity])
