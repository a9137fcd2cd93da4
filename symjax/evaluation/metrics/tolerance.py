"""What a trained run's predictions tolerate (paper, Figure 5 and Appendix F.1).

    measure(run, store, tolerance.figures(), n=100)

Each figure is the mean, over the images, of the largest level at which the prediction
holds, with the bootstrap's interval over the images. A misclassified image counts as
the level that changes nothing. "Removal as published" is the paper's measurement, for
which its code takes n=117; "invariant box" is the one that the paper cites.
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

FIRST = 8  # images that are kept as pictures
STEPS, HALVINGS = 20, 7  # of the attack inside the box, and of its bisection

LADDERS: dict[str, tuple[Perturbation, np.ndarray]] = {
    "removal": (Removal(), np.append(np.arange(1, 10) / 100, np.arange(2, 21) / 20)),
    "noise": (Noise(), np.arange(1, 21) / 50),
    "rotation": (Rotation(), np.arange(5.0, 181.0, 5.0)),
    "scale": (Zoom(), np.arange(11, 31) / 10),
    "translation": (Translation(), np.arange(1.0, 13.0)),
}
"""Perturbations and their levels: shares of the values, standard deviations in pixel
units, degrees, factors, pixels."""


def figures(samples: int = library.DRAWS) -> list[Metric]:
    """One figure a perturbation.

    Args:
      samples: draws of what is random; what has directions is asked in all of them.
    """
    return [
        _published(),
        *(_ladder(name, *ladder, samples) for name, ladder in LADDERS.items()),
        _box(),
    ]


def _published() -> Metric:
    def find(subject: SeedContext) -> MetricResult:
        model = subject.run.experiment.model
        found = library.published_removal(
            subject.logits_fn,
            subject.images,
            subject.labels,
            subject.key,
            model.mean,
            model.std,
            report=subject.report,
        )
        draws = found.correct_so_far[:FIRST, 0].sum(axis=-1)  # one a level, from 1 on
        return _found(found, subject, Removal(), draws)

    levels = library.PUBLISHED_LEVELS.tolist()
    return Metric({"metric": "tolerance_removal_published", "levels": levels}, find)


def _ladder(
    name: str, perturbation: Perturbation, levels: np.ndarray, samples: int
) -> Metric:
    draws = perturbation.directions or samples

    def find(subject: SeedContext) -> MetricResult:
        found = library.tolerance(
            subject.logits_fn,
            subject.images,
            subject.labels,
            subject.key,
            perturbation,
            levels,
            draws,
            report=subject.report,
        )
        return _found(found, subject, perturbation, 0)

    settings = {"levels": levels.tolist(), "draws": draws}
    return Metric({"metric": f"tolerance_{name}", **settings}, find)


def _found(
    found: library.Tolerance,
    subject: SeedContext,
    perturbation: Perturbation,
    draws: Any,
) -> MetricResult:
    """What was found, and the last images that held in the draws."""
    first = subject.images[:FIRST]
    still = found.correct_so_far[:FIRST, 0].any(axis=-1)
    levels = np.where(still, found.largest[:FIRST, 0], perturbation.identity_level)
    last = library.perturbed(first, subject.key, perturbation, draws, levels)
    outcomes = {
        "largest": found.largest,
        "held": found.correct.mean(axis=1),
        "clean": found.clean,
        "original": _pixels(first),
        "last_held": _pixels(last),
    }
    every_draw = float(found.largest.min(axis=1).mean())
    facts = {"clean": float(found.clean.mean()), "every_draw": every_draw}
    return _with_interval(found.largest.mean(axis=1), outcomes, facts)


def _box() -> Metric:
    def find(subject: SeedContext) -> MetricResult:
        call = subject.logits_fn, subject.images, subject.labels
        of_two: list[Callable | None] = [
            partial_report(subject.report, i, 2) for i in range(2)
        ]
        box = _invariant_box.invariant_box(*call, report=of_two[0])
        factor = _invariant_box.verified_fraction(
            *call, subject.key, box, STEPS, HALVINGS, report=of_two[1]
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
    return Metric({"metric": "tolerance_invariant_box", **settings}, find)


def _with_interval(values: np.ndarray, outcomes, facts) -> MetricResult:
    return MetricResult(float(values.mean()), outcomes, interval(values) | facts)


def _pixels(images: np.ndarray) -> np.ndarray:
    return np.rint(255 * images).astype(np.uint8)
