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

import functools

import jax.numpy as jnp
import numpy as np

from symjax.attacks import NORMS
from symjax.evaluation.metrics import local_gradients
from symjax.evaluation.metrics.base import Metric
from symjax.evaluation.metrics.clever import RADII
from symjax.evaluation.metrics.orbit import WITHOUT_GROUP
from symjax.evaluation.metrics.per_image import Values, metric
from symjax.metrics import clever, rescaling, symmetry
from symjax.metrics.orbit import compose_with_rotation
from symjax.nn.resizing import METHODS

FACTORS = [0.5, 2.0]
FEW = {"norm": "l2", "radius": RADII["l2"], "batches": 5, "samples": 8}
"""Settings of CLEVER at every point of an orbit."""


def build(samples: int = local_gradients.SAMPLES) -> list[Metric]:
    """One metric per statement; its value is the mean of the first of its arrays.

    Args:
      samples: the number of points that are drawn around an image by the statements on
        its neighborhood.
    """
    over_orbit = functools.partial(metric, over_orbit=True)
    return [
        over_orbit("invariance", _invariance, noisy=False),
        over_orbit("equivariance", _equivariance, noisy=False),
        over_orbit("lemma_2", _lemma_2, noisy=False),
        *(
            metric("equation_12", _scale, noisy=False, factors=FACTORS, method=method)
            for method in METHODS
        ),
        over_orbit("lemma_1", _lemma_1),
        over_orbit("lemma_3", functools.partial(_gradients, "margin")),
        over_orbit("lemma_4", functools.partial(_gradients, "jacobian")),
        *(over_orbit("theorem_1", _theorem_1, norm=norm) for norm in NORMS),
        over_orbit("theorem_1_clever", _clever_over_orbit, **FEW),
        *local_gradients.build(samples),
    ]


def _invariance(context, batch) -> Values:
    logits = symmetry.orbit_logits(context.logits_fn, batch.images, context.orbit)
    classes = np.asarray(logits).argmax(axis=-1)
    same = (classes == classes[0]).all(axis=0)
    return {"error": symmetry.relative_spread(logits), "same_class": same}


def _equivariance(context, batch) -> Values:
    net = context.run.experiment
    has_group = net.config.model.name not in WITHOUT_GROUP
    group = net.model.group if has_group else context.orbit  # of the feature maps
    errors = symmetry.equivariance_errors(context.layers_fn, batch.images, group)
    if group.grid.group.order == 1:  # only the identity, whose error is 0
        errors = {name: np.full(len(batch.images), np.nan) for name in errors}
    worst = np.max([np.asarray(error) for error in errors.values()], axis=0)
    return {"worst": worst, **errors}


def _lemma_1(context, batch) -> Values:
    norms = symmetry.jacobian_norms(context.logits_fn, batch.images, context.orbit)
    return {"error": symmetry.relative_spread(norms), "norm": norms[0]}


def _lemma_2(context, batch) -> Values:
    call = context.logits_fn, batch.images, batch.labels
    margins = symmetry.orbit_margins(*call, context.orbit)
    margin = margins[0].min(axis=-1)
    return {"error": symmetry.relative_spread(margins), "margin": margin}


def _gradients(output, context, batch) -> Values:
    call = context.logits_fn, batch.images, batch.labels
    result = symmetry.gradient_equivariance(*call, output, context.orbit)
    others = slice(1, None)  # without the identity
    return {
        "error": result.difference[others].mean(axis=0),
        "cosine": result.cosine[others].mean(axis=0),
        "length_ratio": (result.length[others] / result.length[:1]).mean(axis=0),
    }


def _theorem_1(context, batch, norm) -> Values:
    call = context.logits_fn, batch.images, batch.labels
    norms = symmetry.margin_gradient_norms(*call, norm, context.orbit)
    return {"error": symmetry.relative_spread(norms), "norm": norms[0].max(axis=-1)}


def _clever_over_orbit(context, batch, **settings) -> Values:
    """CLEVER at every point of the orbit, with rotated samples; scores `[B, G]`."""
    rotated = [
        compose_with_rotation(context.logits_fn, g, context.orbit)
        for g in range(context.orbit.order)
    ]
    scores = [
        [clever(net, image, key, label=int(label), **settings).score for net in rotated]
        for image, label, key in zip(*batch, strict=True)
    ]
    score = jnp.array(scores)
    return {"error": symmetry.relative_spread(score.T), "score": score}


def _scale(context, batch, factors, method) -> Values:
    call = context.layers_fn, batch.images, tuple(factors), method
    errors = rescaling.scale_errors(*call)
    by_factor = {f"{name}_by_factor": error.T for name, error in errors.items()}
    return {"head": errors["head"].mean(axis=0), **by_factor}
