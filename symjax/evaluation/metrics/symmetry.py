"""The paper's lemmas and theorems on a trained run (Sections 3 and 4).

    measure(run, store, symmetry.build(), n=100)

This module has the statements on orbits, which hold exactly for an invariant net;
`symjax.evaluation.metrics.local_gradients` has the statements on the neighborhood of an
image.

An orbit is taken under the elements of the net's group that map pixels onto pixels: D4
for a net of D4, C4 for a net of C8. Other elements need interpolation, whose error
would hide whether a statement is exact. A net without a group is measured under C4, the
paper's group. Each row names its group (`symjax.evaluation.metrics.orbit`).
"""

import jax.numpy as jnp
import numpy as np

from symjax.attacks import NORMS
from symjax.evaluation.metrics import local_gradients
from symjax.evaluation.metrics.base import Metric
from symjax.evaluation.metrics.clever import RADII
from symjax.evaluation.metrics.orbit import WITHOUT_GROUP
from symjax.evaluation.metrics.per_image import Statement, Values, metric
from symjax.metrics import clever, rescaling, symmetry
from symjax.metrics.orbit import compose_with_rotation
from symjax.nn.resizing import METHODS

FACTORS = (0.5, 2.0)
FEW_BATCHES, FEW_SAMPLES = 5, 8  # for CLEVER at every point of an orbit


def build(samples: int = local_gradients.SAMPLES) -> list[Metric]:
    """One metric per statement; its value is the mean of the first of its arrays.

    Args:
      samples: the number of points that are drawn around an image by the statements on
        its neighborhood.
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
        ({"metric": "lemma_3"}, _gradient_equivariance("margin")),
        ({"metric": "lemma_4"}, _gradient_equivariance("jacobian")),
        *(({"metric": "theorem_1", "norm": norm}, _theorem_1(norm)) for norm in NORMS),
        ({"metric": "theorem_1_clever", **few}, _clever_over_orbit),
    ]
    return [
        *(metric(*each, noisy=False, over_orbit=True) for each in clean),
        *(metric(*each, noisy=False) for each in scales),
        *(metric(*each, noisy=True, over_orbit=True) for each in noisy),
        *local_gradients.build(samples),
    ]


def _invariance(context, images, labels, keys) -> Values:
    del labels, keys
    logits = symmetry.orbit_logits(context.logits_fn, images, context.orbit)
    classes = np.asarray(logits).argmax(axis=-1)
    same = (classes == classes[0]).all(axis=0)
    return {"error": symmetry.relative_spread(logits), "same_class": same}


def _equivariance(context, images, labels, keys) -> Values:
    del labels, keys
    net = context.run.experiment
    has_group = net.config.model.name not in WITHOUT_GROUP
    group = net.model.group if has_group else context.orbit  # of the feature maps
    errors = symmetry.equivariance_errors(context.layers_fn, images, group)
    if group.grid.group.order == 1:  # only the identity, whose error is 0
        errors = {name: np.full(len(images), np.nan) for name in errors}
    worst = np.max([np.asarray(error) for error in errors.values()], axis=0)
    return {"worst": worst, **errors}


def _lemma_1(context, images, labels, keys) -> Values:
    del labels, keys
    norms = symmetry.jacobian_norms(context.logits_fn, images, context.orbit)
    return {"error": symmetry.relative_spread(norms), "norm": norms[0]}


def _lemma_2(context, images, labels, keys) -> Values:
    del keys
    call = context.logits_fn, images, labels
    margins = symmetry.orbit_margins(*call, context.orbit)
    return {
        "error": symmetry.relative_spread(margins),
        "margin": margins[0].min(axis=-1),
    }


def _gradient_equivariance(output) -> Statement:
    def statement(context, images, labels, keys) -> Values:
        del keys
        call = context.logits_fn, images, labels
        result = symmetry.gradient_equivariance(*call, output, context.orbit)
        others = slice(1, None)  # without the identity
        return {
            "error": result.difference[others].mean(axis=0),
            "cosine": result.cosine[others].mean(axis=0),
            "length_ratio": (result.length[others] / result.length[:1]).mean(axis=0),
        }

    return statement


def _theorem_1(norm) -> Statement:
    def statement(context, images, labels, keys) -> Values:
        del keys
        call = context.logits_fn, images, labels
        norms = symmetry.margin_gradient_norms(*call, norm, context.orbit)
        return {"error": symmetry.relative_spread(norms), "norm": norms[0].max(axis=-1)}

    return statement


def _clever_over_orbit(context, images, labels, keys) -> Values:
    """CLEVER at every point of the orbit, with rotated samples; scores `[B, G]`."""
    scores = [
        [
            clever(
                compose_with_rotation(context.logits_fn, g, context.orbit),
                image,
                key,
                "l2",
                RADII["l2"],
                label=int(label),
                batches=FEW_BATCHES,
                samples=FEW_SAMPLES,
            ).score
            for g in range(context.orbit.order)
        ]
        for image, label, key in zip(images, labels, keys, strict=True)
    ]
    score = jnp.array(scores)
    return {"error": symmetry.relative_spread(score.T), "score": score}


def _scale(method) -> Statement:
    def statement(context, images, labels, keys) -> Values:
        del labels, keys
        layers = context.layers_fn
        errors = rescaling.scale_errors(layers, images, FACTORS, method)
        head = errors["head"].mean(axis=0)
        by_factor = {f"{name}_by_factor": error.T for name, error in errors.items()}
        return {"head": head, **by_factor}

    return statement
