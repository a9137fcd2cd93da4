"""The paper's statements on gradients in the neighborhood of an image (Section 4, A.1).

    measure(run, store, local_gradients.build(), n=100)

Lengths and radii are in pixel units. The paper states none, so each row holds its own.
"""

import functools

import numpy as np

from symjax.attacks import NORMS, ThreatModel
from symjax.evaluation.metrics.base import Metric
from symjax.evaluation.metrics.clever import RADII
from symjax.evaluation.metrics.per_image import Batch, Values, metric
from symjax.metrics import curvature, lipschitz, rescaling, smoothness
from symjax.metrics.orbit import orbit_average
from symjax.metrics.symmetry import relative_spread

LENGTHS = (0.1, 0.5, 2.0)  # l2; a corner of the linf ball of 8/255 on CIFAR is at 1.7
NEARBY = 0.1  # radius of a neighborhood, as a fraction of the radius of CLEVER's balls
SAMPLES = 32


def build(samples: int = SAMPLES) -> list[Metric]:
    """One metric per statement; its value is the mean of the first of its arrays.

    Args:
      samples: the number of points that are drawn around an image.
    """
    over_orbit = functools.partial(metric, over_orbit=True)
    radii = {norm: {"norm": norm, "radius": NEARBY * RADII[norm]} for norm in NORMS}
    ball = {**radii["l2"], "samples": samples}
    return [
        *(
            over_orbit("appendix_a1", _appendix, **radii[norm], samples=samples)
            for norm in NORMS
        ),
        *(
            over_orbit(name, statement, length=length, samples=samples)
            for name, statement in (("lemma_5", _lemma_5), ("theorem_2", _theorem_2))
            for length in LENGTHS
        ),
        over_orbit("theorem_2_orbit", _orbit, samples=samples),
        metric("tangent_slope", _slope),
        metric("section_4_4_variance", _variance, **ball),
        metric("section_4_5_scales_averaged", _over_scales, **ball),
        metric("section_4_5_frequency", _frequency),
    ]


def _appendix(context, batch: Batch, norm, radius, samples) -> Values:
    threat = ThreatModel(norm, np.float32(radius))
    net, (images, labels, keys) = context.logits_fn, batch
    call = net, images, labels, keys, threat, samples, context.orbit
    suprema = lipschitz.ball_suprema(*call)
    return {
        "ratio": suprema.ratio[0].mean(axis=-1),
        "orbit_error": relative_spread(suprema.largest),
    }


def _lemma_5(context, batch: Batch, length, samples) -> Values:
    net, (images, labels, _) = context.logits_fn, batch
    left = smoothness.orbit_average(net, images, labels, group=context.orbit)
    off = curvature.tangent_changes(net, *batch, length, samples, "logit")
    across = np.sqrt(np.square(off.across).mean(axis=1))
    return {
        "left_over_right": left.as_written / across,
        "turned_back_over_right": left.aligned / across,
        "left_over_along": left.as_written / off.along,
        "gradient": left.gradient,
    }


def _theorem_2(context, batch: Batch, length, samples) -> Values:
    options = batch.images, batch.labels, batch.keys, length, samples
    average = orbit_average(context.logits_fn, context.orbit)
    matched, mean = (
        curvature.tangent_changes(net, *options, noise="spectrum_matched")
        for net in (context.logits_fn, average)
    )
    white = curvature.tangent_changes(context.logits_fn, *options)
    return {
        "ratio_alike": matched.ratio,
        "ratio_white": white.ratio,
        "ratio_alike_of_average": mean.ratio,
        "along_of_average": mean.along / mean.gradient,
        "along": matched.along / matched.gradient,
    }


def _orbit(context, batch: Batch, samples) -> Values:
    call = context.logits_fn, batch.images, batch.labels, batch.keys, samples
    changes = curvature.orbit_changes(*call, group=context.orbit)
    return {
        "ratio": changes.ratio.mean(axis=0),
        "turned_back": (changes.aligned / changes.gradient[None]).mean(axis=0),
    }


def _slope(context, batch: Batch) -> Values:
    """The slope along the tangent of the orbit, over the slope in random directions."""
    along, anywhere = curvature.tangent_slopes(context.logits_fn, batch.images)
    return {"ratio": along / anywhere, "along": along}


def _variance(context, batch: Batch, **ball) -> Values:
    own = _near(context.logits_fn, batch, **ball)
    return {"relative": own.relative, "variance": own.variance}


def _over_scales(context, batch: Batch, **ball) -> Values:
    """Relative gradient variance of the net averaged over scales, over the net's."""
    mean = rescaling.averaged_over_scales(context.logits_fn)
    averaged = _near(mean, batch, **ball).relative
    own = _near(context.logits_fn, batch, **ball).relative
    return {"ratio": averaged / own, "relative": averaged}


def _near(net, batch: Batch, norm, radius, samples) -> smoothness.GradientVariance:
    threat = ThreatModel(norm, np.float32(radius))
    return smoothness.gradient_variance(net, *batch, threat, samples)


def _frequency(context, batch: Batch) -> Values:
    call = context.logits_fn, batch.images, batch.labels
    return {"share": smoothness.high_frequency_fraction(*call)}
