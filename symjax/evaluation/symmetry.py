"""The paper's lemmas and theorems on a trained run (Sections 3 and 4).

    measure(run, store, symmetry.figures(), n=100)

Each figure is one statement: the mean over the images of how far the net is from it, or
of the ratio that it speaks of, with the bootstrap's interval over the images.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.tree_util import Partial

from symjax.attacks import NORMS, ThreatModel
from symjax.evaluation.clever import RADII
from symjax.evaluation.figure import Figure, Found, Subject
from symjax.metrics import curvature, lipschitz, rescaling, smoothness, symmetry
from symjax.metrics.bootstrap import estimate
from symjax.metrics.samples import keys_of_images

CHUNK = 20  # images at a time
LENGTH = 0.5  # l2, pixel units, of displacements along the orbit and across it
NEARBY = 0.1  # of the radius that CLEVER samples: of neighbourhoods
SAMPLES = 32
Values = Mapping[str, Any]
Statement = Callable[[Subject, Any, Any, Any], Values]  # images, labels, keys


def figures(samples: int = SAMPLES) -> list[Figure]:
    """One figure a statement; the first of a statement's values is the row's.

    Args:
      samples: drawn around an image, where a statement speaks of its neighbourhood.
    """
    exact = {
        "invariance": (_invariance, {}),
        "equivariance": (_equivariance, {}),
        "lemma 1": (_lemma_1, {}),
        "lemma 2": (_lemma_2, {}),
        "lemma 3": (_turning("margin"), {}),
        "lemma 4": (_turning("jacobian"), {}),
    }
    of_norm = {
        f"{name}, {norm}": (statement(norm), {"norm": norm} | settings)
        for norm in NORMS
        for name, statement, settings in (
            ("theorem 1", _theorem_1, {}),
            (
                "appendix A.1",
                lambda norm: _appendix(norm, samples),
                {"radius": NEARBY * RADII[norm], "samples": samples},
            ),
        )
    }
    nearby = {
        "lemma 5": (_lemma_5(samples), {"length": LENGTH, "samples": samples}),
        "theorem 2, tangent": (
            _tangent(samples),
            {"length": LENGTH, "samples": samples},
        ),
        "theorem 2, orbit": (_orbit(samples), {"samples": samples}),
        "section 4.4": (
            _variance(samples),
            {"norm": "l2", "radius": NEARBY * RADII["l2"], "samples": samples},
        ),
        "section 4.5, frequency": (_frequency, {}),
        "section 4.5, scale": (_scale, {"factors": [0.5, 2.0]}),
    }
    statements = {**exact, **of_norm, **nearby}
    return [
        Figure({"metric": name, **settings}, _finder(statement))
        for name, (statement, settings) in statements.items()
    ]


def _finder(statement: Statement) -> Callable[[Subject], Found]:
    def find(subject: Subject) -> Found:
        count = len(subject.images)
        keys, parts = keys_of_images(subject.key, count), []
        for first in range(0, count, CHUNK):
            part = slice(first, first + CHUNK)
            values = statement(
                subject, subject.images[part], subject.labels[part], keys[part]
            )
            parts.append({name: np.asarray(value) for name, value in values.items()})
            subject.report(min(first + CHUNK, count), count)
        whole = {
            name: np.concatenate([part[name] for part in parts]) for name in values
        }
        main = next(iter(whole.values())).astype(np.float64)
        known = main[np.isfinite(main)]
        found = estimate(known) if len(known) > 1 else None
        return Found(
            float(known.mean()) if len(known) else float("nan"),
            whole,
            {
                "low": found and found.low,
                "high": found and found.high,
                "median": float(np.median(known)) if len(known) else None,
                "undefined": int(len(main) - len(known)),
            },
        )

    return find


def _invariance(subject, images, labels, keys) -> Values:
    del labels, keys
    logits = symmetry.orbit_logits(subject.logits_fn, images)
    classes = np.asarray(logits).argmax(axis=-1)
    same = (classes == classes[0]).all(axis=0)
    return {"error": symmetry.deviation(logits), "same_class": same}


def _equivariance(subject, images, labels, keys) -> Values:
    del labels, keys
    errors = symmetry.equivariance_errors(subject.layers_fn, images)
    worst = np.max([np.asarray(error) for error in errors.values()], axis=0)
    return {"worst": worst, **errors}


def _lemma_1(subject, images, labels, keys) -> Values:
    del labels, keys
    norms = symmetry.jacobian_norms(subject.logits_fn, images)
    return {"error": symmetry.deviation(norms), "norm": norms[0]}


def _lemma_2(subject, images, labels, keys) -> Values:
    del keys
    margins = symmetry.orbit_margins(subject.logits_fn, images, labels)
    return {"error": symmetry.deviation(margins), "margin": margins[0].min(axis=-1)}


def _turning(of) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        del keys
        found = symmetry.gradient_turning(subject.logits_fn, images, labels, of)
        turned = slice(1, None)  # without the identity
        return {
            "error": found.difference[turned].mean(axis=0),
            "cosine": found.cosine[turned].mean(axis=0),
            "length_ratio": (found.length[turned] / found.length[0]).mean(axis=0),
        }

    return statement


def _theorem_1(norm) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        del keys
        call = subject.logits_fn, images, labels
        norms = symmetry.margin_gradient_norms(*call, norm)
        return {"error": symmetry.deviation(norms), "norm": norms[0].max(axis=-1)}

    return statement


def _appendix(norm, samples: int) -> Statement:
    threat = ThreatModel(norm, np.float32(NEARBY * RADII[norm]))

    def statement(subject, images, labels, keys) -> Values:
        found = lipschitz.ball_suprema(
            subject.logits_fn, images, labels, keys, threat, samples
        )
        return {
            "ratio": found.ratio[0].mean(axis=-1),
            "orbit_error": symmetry.deviation(found.largest),
        }

    return statement


def _lemma_5(samples: int) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        call = subject.logits_fn, images, labels
        left = smoothness.orbit_average(*call)
        off = curvature.tangent_changes(*call, keys, LENGTH, samples, "logit")
        across = np.sqrt(np.square(off.across).mean(axis=1))
        return {
            "left_over_right": left.as_written / across,
            "turned_back_over_right": left.turned_back / across,
            "left_over_along": left.as_written / off.along,
            "gradient": left.gradient,
        }

    return statement


def _tangent(samples: int) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        call = subject.logits_fn, images, labels, keys, LENGTH, samples
        white = curvature.tangent_changes(*call)
        alike = curvature.tangent_changes(*call, noise="alike")
        return {"ratio_alike": alike.ratio, "ratio_white": white.ratio}

    return statement


def _orbit(samples: int) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        found = curvature.orbit_changes(
            subject.logits_fn, images, labels, keys, samples
        )
        return {
            "ratio": found.ratio.mean(axis=0),
            "turned_back": (found.turned_back / found.gradient).mean(axis=0),
        }

    return statement


def _variance(samples: int) -> Statement:
    threat = ThreatModel("l2", np.float32(NEARBY * RADII["l2"]))

    def statement(subject, images, labels, keys) -> Values:
        found = smoothness.gradient_variance(
            subject.logits_fn, images, labels, keys, threat, samples
        )
        return {"relative": found.relative, "variance": found.variance}

    return statement


def _frequency(subject, images, labels, keys) -> Values:
    del keys
    return {"share": smoothness.high_frequency_share(subject.logits_fn, images, labels)}


def _scale(subject, images, labels, keys) -> Values:
    del labels, keys
    layers: Partial = subject.layers_fn
    errors = rescaling.scale_errors(layers, images)
    return {"head": errors["head"].mean(axis=0)} | {
        f"{name}_by_factor": error.T for name, error in errors.items()
    }
