"""The paper's lemmas and theorems on a trained run (Sections 3 and 4).

    measure(run, store, symmetry.figures(), n=100)

Here are the statements on orbits, which are exact for an invariant net;
`symjax.evaluation.metrics.local_gradients` has those on what is near an image.

The orbits are those of the net's own group, as far as it is on the pixel grid: D4 for a
net of D4, C4 for one of C8, since a statement that is exact leaves no room for the
error of interpolation. A net without a group is measured under C4, the paper's group.
Each row names its group (`symjax.evaluation.metrics.orbit`).
"""

import jax.numpy as jnp
import numpy as np

from symjax.attacks import NORMS
from symjax.evaluation.metrics import local_gradients
from symjax.evaluation.metrics.base import Metric
from symjax.evaluation.metrics.clever import RADII
from symjax.evaluation.metrics.orbit import WITHOUT_GROUP
from symjax.evaluation.metrics.per_image import Statement, Values, figure
from symjax.metrics import clever, rescaling, symmetry
from symjax.metrics.orbit import compose_with_rotation
from symjax.nn.resizing import METHODS

FACTORS = (0.5, 2.0)
FEW_BATCHES, FEW_SAMPLES = 5, 8  # of CLEVER, at every point of an orbit


def figures(samples: int = local_gradients.SAMPLES) -> list[Metric]:
    """One figure a statement; the first of a statement's values is the row's.

    Args:
      samples: drawn around an image, where a statement speaks of its neighbourhood.
    """
    few = {"norm": "l2", "radius": RADII["l2"]}
    few |= {"batches": FEW_BATCHES, "samples": FEW_SAMPLES}
    clean: list[tuple[dict, Statement]] = [
        ({"metric": "invariance"}, _invariance),
        ({"metric": "equivariance"}, _equivariance),
        ({"metric": "lemma_2"}, _lemma_2),
    ]
    scales: list[tuple[dict, Statement]] = [
        (
            {"metric": "equation_12", "factors": list(FACTORS), "method": method},
            _scale(method),
        )
        for method in METHODS
    ]
    noisy: list[tuple[dict, Statement]] = [
        ({"metric": "lemma_1"}, _lemma_1),
        ({"metric": "lemma_3"}, _turning("margin")),
        ({"metric": "lemma_4"}, _turning("jacobian")),
        *(({"metric": "theorem_1", "norm": norm}, _theorem_1(norm)) for norm in NORMS),
        ({"metric": "theorem_1_clever", **few}, _clever_over_orbit),
    ]
    return [
        *(figure(*each, noisy=False, over_orbit=True) for each in clean),
        *(figure(*each, noisy=False) for each in scales),
        *(figure(*each, noisy=True, over_orbit=True) for each in noisy),
        *local_gradients.figures(samples),
    ]


def _invariance(subject, images, labels, keys) -> Values:
    del labels, keys
    logits = symmetry.orbit_logits(subject.logits_fn, images, subject.orbit)
    classes = np.asarray(logits).argmax(axis=-1)
    same = (classes == classes[0]).all(axis=0)
    return {"error": symmetry.relative_spread(logits), "same_class": same}


def _equivariance(subject, images, labels, keys) -> Values:
    del labels, keys
    net = subject.run.experiment
    has_group = net.config.model.name not in WITHOUT_GROUP
    group = net.model.group if has_group else subject.orbit  # of the feature maps
    errors = symmetry.equivariance_errors(subject.layers_fn, images, group)
    if group.grid.group.order == 1:  # the identity alone: no layer could fail
        errors = {name: np.full(len(images), np.nan) for name in errors}
    worst = np.max([np.asarray(error) for error in errors.values()], axis=0)
    return {"worst": worst, **errors}


def _lemma_1(subject, images, labels, keys) -> Values:
    del labels, keys
    norms = symmetry.jacobian_norms(subject.logits_fn, images, subject.orbit)
    return {"error": symmetry.relative_spread(norms), "norm": norms[0]}


def _lemma_2(subject, images, labels, keys) -> Values:
    del keys
    call = subject.logits_fn, images, labels
    margins = symmetry.orbit_margins(*call, subject.orbit)
    return {
        "error": symmetry.relative_spread(margins),
        "margin": margins[0].min(axis=-1),
    }


def _turning(of) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        del keys
        call = subject.logits_fn, images, labels
        found = symmetry.gradient_equivariance(*call, of, subject.orbit)
        others = slice(1, None)  # without the identity
        return {
            "error": found.difference[others].mean(axis=0),
            "cosine": found.cosine[others].mean(axis=0),
            "length_ratio": (found.length[others] / found.length[:1]).mean(axis=0),
        }

    return statement


def _theorem_1(norm) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        del keys
        call = subject.logits_fn, images, labels
        norms = symmetry.margin_gradient_norms(*call, norm, subject.orbit)
        return {"error": symmetry.relative_spread(norms), "norm": norms[0].max(axis=-1)}

    return statement


def _clever_over_orbit(subject, images, labels, keys) -> Values:
    """CLEVER at every point of the orbit, the samples turned along; `[B, G]`."""
    scores = [
        [
            clever(
                compose_with_rotation(subject.logits_fn, g, subject.orbit),
                image,
                key,
                "l2",
                RADII["l2"],
                label=int(label),
                batches=FEW_BATCHES,
                samples=FEW_SAMPLES,
            ).score
            for g in range(subject.orbit.order)
        ]
        for image, label, key in zip(images, labels, keys, strict=True)
    ]
    found = jnp.array(scores)
    return {"error": symmetry.relative_spread(found.T), "score": found}


def _scale(method) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        del labels, keys
        layers = subject.layers_fn
        errors = rescaling.scale_errors(layers, images, FACTORS, method)
        head = errors["head"].mean(axis=0)
        by_factor = {f"{name}_by_factor": error.T for name, error in errors.items()}
        return {"head": head, **by_factor}

    return statement
