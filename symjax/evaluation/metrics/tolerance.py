"""How strong a perturbation the predictions tolerate (paper, Figure 5, Appendix F.1).

    measure(run, store, tolerance.build(), n=100)

Each metric is the largest level of a perturbation up to which the prediction stays
correct, averaged over the images, with a bootstrap interval. A misclassified image has
the level that leaves an image unchanged. "Removal as published" is the measurement of
the paper, whose code takes n=117; "invariant box" is the measurement that the paper
cites.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from symjax.evaluation.metrics.base import Metric, MetricResult, SeedContext, interval
from symjax.metrics import _invariant_box
from symjax.metrics import tolerance as library
from symjax.metrics._gradient_maxima import partial_report
from symjax.metrics.perturbations import (
    Noise,
    Perturbation,
    Removal,
    Rotation,
    Translation,
    Zoom,
)

FIRST = 8  # images that are saved as pictures
STEPS, HALVINGS = 20, 7  # of the attack in the box, and of the bisection

LADDERS: dict[str, tuple[Perturbation, np.ndarray]] = {
    "removal": (Removal(), np.append(np.arange(1, 10) / 100, np.arange(2, 21) / 20)),
    "noise": (Noise(), np.arange(1, 21) / 50),
    "rotation": (Rotation(), np.arange(5.0, 181.0, 5.0)),
    "scale": (Zoom(), np.arange(11, 31) / 10),
    "translation": (Translation(), np.arange(1.0, 13.0)),
}
"""Perturbations and their levels. Units: fractions of the values (removal), standard
deviation in pixel units (noise), degrees (rotation), factors (scale), pixels
(translation)."""


def build(samples: int = library.DRAWS) -> list[Metric]:
    """One metric per perturbation.

    Args:
      samples: number of draws of a random perturbation. A perturbation that has
        directions, such as left and right, is applied in all of them.
    """
    return [
        _published(),
        *(_ladder(name, *ladder, samples) for name, ladder in LADDERS.items()),
        _box(),
    ]


def _published() -> Metric:
    def compute(context: SeedContext) -> MetricResult:
        model = context.run.experiment.model
        result = library.published_removal(
            context.logits_fn,
            context.images,
            context.labels,
            context.key,
            model.mean,
            model.std,
            report=context.report,
        )
        # One draw per level, from 1 on.
        draws = result.correct_so_far[:FIRST, 0].sum(axis=-1)
        return _result(result, context, Removal(), draws)

    levels = library.PUBLISHED_LEVELS.tolist()
    return Metric({"metric": "tolerance_removal_published", "levels": levels}, compute)


def _ladder(
    name: str, perturbation: Perturbation, levels: np.ndarray, samples: int
) -> Metric:
    draws = perturbation.directions or samples

    def compute(context: SeedContext) -> MetricResult:
        result = library.tolerance(
            context.logits_fn,
            context.images,
            context.labels,
            context.key,
            perturbation,
            levels,
            draws,
            report=context.report,
        )
        return _result(result, context, perturbation, 0)

    settings = {"levels": levels.tolist(), "draws": draws}
    return Metric({"metric": f"tolerance_{name}", **settings}, compute)


def _result(
    result: library.Tolerance,
    context: SeedContext,
    perturbation: Perturbation,
    draws: Any,
) -> MetricResult:
    """The metric, with pictures of the last levels at which predictions are correct."""
    first = context.images[:FIRST]
    correct = result.correct_so_far[:FIRST, 0].any(axis=-1)
    levels = np.where(correct, result.largest[:FIRST, 0], perturbation.identity_level)
    last = library.perturbed(first, context.key, perturbation, draws, levels)
    outcomes = {
        "largest": result.largest,
        "held": result.correct.mean(axis=1),
        "clean": result.clean,
        "original": _pixels(first),
        "last_held": _pixels(last),
    }
    every_draw = float(result.largest.min(axis=1).mean())
    facts = {"clean": float(result.clean.mean()), "every_draw": every_draw}
    return _with_interval(result.largest.mean(axis=1), outcomes, facts)


def _box() -> Metric:
    def compute(context: SeedContext) -> MetricResult:
        call = context.logits_fn, context.images, context.labels
        of_two: list[Callable | None] = [
            partial_report(context.report, i, 2) for i in range(2)
        ]
        box = _invariant_box.invariant_box(*call, report=of_two[0])
        factor = _invariant_box.verified_fraction(
            *call, context.key, box, STEPS, HALVINGS, report=of_two[1]
        )
        clean = box.size > 0
        outcomes = {
            "largest": box.size * factor,
            "linear": box.size,
            "factor": factor,
            "clean": clean,
        }
        facts = {
            "clean": float(clean.mean()),
            "linear": float(box.size.mean()),
            "whole": float((factor == 1).mean()),
        }
        return _with_interval(outcomes["largest"], outcomes, facts)

    settings = {
        "radius": _invariant_box.MAX_RADIUS,
        "steps": STEPS,
        "halvings": HALVINGS,
    }
    return Metric({"metric": "tolerance_invariant_box", **settings}, compute)


def _with_interval(values: np.ndarray, outcomes, facts) -> MetricResult:
    return MetricResult(float(values.mean()), outcomes, interval(values) | facts)


def _pixels(images: np.ndarray) -> np.ndarray:
    return np.rint(255 * images).astype(np.uint8)
