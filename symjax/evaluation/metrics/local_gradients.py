"""The paper's statements on gradients in the neighborhood of an image (Section 4, A.1).

    measure(run, store, local_gradients.build(), n=100)

Lengths and radii are in pixel units. The paper states none, so each row holds its own.
"""

import numpy as np

from symjax.attacks import NORMS, ThreatModel
from symjax.evaluation.metrics.base import Metric
from symjax.evaluation.metrics.clever import RADII
from symjax.evaluation.metrics.per_image import Statement, Values, metric
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
    drawn = {"samples": samples}
    ball = {"norm": "l2", "radius": NEARBY * RADII["l2"], **drawn}
    over_orbit: list[tuple[dict, Statement]] = [
        *(
            (
                {
                    "metric": "appendix_a1",
                    "norm": norm,
                    "radius": NEARBY * RADII[norm],
                    **drawn,
                },
                _appendix(norm, samples),
            )
            for norm in NORMS
        ),
        *(
            ({"metric": name, "length": length, **drawn}, statement(length, samples))
            for name, statement in (("lemma_5", _lemma_5), ("theorem_2", _theorem_2))
            for length in LENGTHS
        ),
        ({"metric": "theorem_2_orbit", **drawn}, _orbit(samples)),
    ]
    others: list[tuple[dict, Statement]] = [
        ({"metric": "tangent_slope"}, _slope),
        ({"metric": "section_4_4_variance", **ball}, _variance(samples)),
        ({"metric": "section_4_5_scales_averaged", **ball}, _over_scales(samples)),
        ({"metric": "section_4_5_frequency"}, _frequency),
    ]
    return [
        *(metric(*each, noisy=True, over_orbit=True) for each in over_orbit),
        *(metric(*each, noisy=True) for each in others),
    ]


def _appendix(norm, samples: int) -> Statement:
    threat = ThreatModel(norm, np.float32(NEARBY * RADII[norm]))

    def statement(context, images, labels, keys) -> Values:
        suprema = lipschitz.ball_suprema(
            context.logits_fn, images, labels, keys, threat, samples, context.orbit
        )
        return {
            "ratio": suprema.ratio[0].mean(axis=-1),
            "orbit_error": relative_spread(suprema.largest),
        }

    return statement


def _lemma_5(length: float, samples: int) -> Statement:
    def statement(context, images, labels, keys) -> Values:
        call = context.logits_fn, images, labels
        left = smoothness.orbit_average(*call, group=context.orbit)
        off = curvature.tangent_changes(*call, keys, length, samples, "logit")
        across = np.sqrt(np.square(off.across).mean(axis=1))
        return {
            "left_over_right": left.as_written / across,
            "turned_back_over_right": left.aligned / across,
            "left_over_along": left.as_written / off.along,
            "gradient": left.gradient,
        }

    return statement


def _theorem_2(length: float, samples: int) -> Statement:
    def statement(context, images, labels, keys) -> Values:
        options = images, labels, keys, length, samples
        matched = curvature.tangent_changes(
            context.logits_fn, *options, noise="spectrum_matched"
        )
        white = curvature.tangent_changes(context.logits_fn, *options)
        mean = curvature.tangent_changes(
            orbit_average(context.logits_fn, context.orbit),
            *options,
            noise="spectrum_matched",
        )
        return {
            "ratio_alike": matched.ratio,
            "ratio_white": white.ratio,
            "ratio_alike_of_average": mean.ratio,
            "along_of_average": mean.along / mean.gradient,
            "along": matched.along / matched.gradient,
        }

    return statement


def _orbit(samples: int) -> Statement:
    def statement(context, images, labels, keys) -> Values:
        changes = curvature.orbit_changes(
            context.logits_fn, images, labels, keys, samples, group=context.orbit
        )
        return {
            "ratio": changes.ratio.mean(axis=0),
            "turned_back": (changes.aligned / changes.gradient[None]).mean(axis=0),
        }

    return statement


def _slope(context, images, labels, keys) -> Values:
    """The slope along the tangent of the orbit, over the slope in random directions."""
    del labels, keys
    along, anywhere = curvature.tangent_slopes(context.logits_fn, images)
    return {"ratio": along / anywhere, "along": along}


def _variance(samples: int) -> Statement:
    def statement(context, images, labels, keys) -> Values:
        own = _near(context.logits_fn, images, labels, keys, samples)
        return {"relative": own.relative, "variance": own.variance}

    return statement


def _over_scales(samples: int) -> Statement:
    """Relative gradient variance of the net averaged over scales, over the net's."""

    def statement(context, images, labels, keys) -> Values:
        mean = rescaling.averaged_over_scales(context.logits_fn)
        averaged = _near(mean, images, labels, keys, samples).relative
        own = _near(context.logits_fn, images, labels, keys, samples).relative
        return {"ratio": averaged / own, "relative": averaged}

    return statement


def _near(logits_fn, images, labels, keys, samples: int) -> smoothness.GradientVariance:
    threat = ThreatModel("l2", np.float32(NEARBY * RADII["l2"]))
    return smoothness.gradient_variance(
        logits_fn, images, labels, keys, threat, samples
    )


def _frequency(context, images, labels, keys) -> Values:
    del keys
    call = context.logits_fn, images, labels
    return {"share": smoothness.high_frequency_fraction(*call)}
