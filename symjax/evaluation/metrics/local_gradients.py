"""What the paper says of gradients near an image, on a trained run (Section 4, A.1).

    measure(run, store, neighbourhood.figures(), n=100)

Lengths and radii are in pixel units, and part of each row: the paper states none.
"""

import numpy as np

from symjax.attacks import NORMS, ThreatModel
from symjax.evaluation.metrics.base import Metric
from symjax.evaluation.metrics.clever import RADII
from symjax.evaluation.metrics.per_image import Statement, Values, figure
from symjax.metrics import curvature, lipschitz, rescaling, smoothness
from symjax.metrics.orbit import orbit_average
from symjax.metrics.symmetry import relative_spread

LENGTHS = (0.1, 0.5, 2.0)  # l2; a corner of the linf ball of 8/255 on CIFAR is at 1.7
NEARBY = 0.1  # of the radius that CLEVER samples: of neighbourhoods
SAMPLES = 32


def figures(samples: int = SAMPLES) -> list[Metric]:
    """One figure a statement; the first of a statement's values is the row's.

    Args:
      samples: drawn around an image.
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
        *(figure(*each, noisy=True, over_orbit=True) for each in over_orbit),
        *(figure(*each, noisy=True) for each in others),
    ]


def _appendix(norm, samples: int) -> Statement:
    threat = ThreatModel(norm, np.float32(NEARBY * RADII[norm]))

    def statement(subject, images, labels, keys) -> Values:
        found = lipschitz.ball_suprema(
            subject.logits_fn, images, labels, keys, threat, samples, subject.orbit
        )
        return {
            "ratio": found.ratio[0].mean(axis=-1),
            "orbit_error": relative_spread(found.largest),
        }

    return statement


def _lemma_5(length: float, samples: int) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        call = subject.logits_fn, images, labels
        left = smoothness.orbit_average(*call, group=subject.orbit)
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
    def statement(subject, images, labels, keys) -> Values:
        options = images, labels, keys, length, samples
        alike = curvature.tangent_changes(
            subject.logits_fn, *options, noise="spectrum_matched"
        )
        white = curvature.tangent_changes(subject.logits_fn, *options)
        mean = curvature.tangent_changes(
            orbit_average(subject.logits_fn, subject.orbit),
            *options,
            noise="spectrum_matched",
        )
        return {
            "ratio_alike": alike.ratio,
            "ratio_white": white.ratio,
            "ratio_alike_of_average": mean.ratio,
            "along_of_average": mean.along / mean.gradient,
            "along": alike.along / alike.gradient,
        }

    return statement


def _orbit(samples: int) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        found = curvature.orbit_changes(
            subject.logits_fn, images, labels, keys, samples, group=subject.orbit
        )
        return {
            "ratio": found.ratio.mean(axis=0),
            "turned_back": (found.aligned / found.gradient[None]).mean(axis=0),
        }

    return statement


def _slope(subject, images, labels, keys) -> Values:
    """Along the tangent over that of a random direction."""
    del labels, keys
    along, anywhere = curvature.tangent_slopes(subject.logits_fn, images)
    return {"ratio": along / anywhere, "along": along}


def _variance(samples: int) -> Statement:
    def statement(subject, images, labels, keys) -> Values:
        found = _near(subject.logits_fn, images, labels, keys, samples)
        return {"relative": found.relative, "variance": found.variance}

    return statement


def _over_scales(samples: int) -> Statement:
    """Relative variance of the net averaged over scales, over the net's own."""

    def statement(subject, images, labels, keys) -> Values:
        mean = rescaling.averaged_over_scales(subject.logits_fn)
        found = _near(mean, images, labels, keys, samples)
        own = _near(subject.logits_fn, images, labels, keys, samples)
        return {"ratio": found.relative / own.relative, "relative": found.relative}

    return statement


def _near(logits_fn, images, labels, keys, samples: int) -> smoothness.GradientVariance:
    threat = ThreatModel("l2", np.float32(NEARBY * RADII["l2"]))
    return smoothness.gradient_variance(
        logits_fn, images, labels, keys, threat, samples
    )


def _frequency(subject, images, labels, keys) -> Values:
    del keys
    return {
        "share": smoothness.high_frequency_fraction(subject.logits_fn, images, labels)
    }
