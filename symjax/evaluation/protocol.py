"""The settings in which the published evaluation of a net differs from a sound one.

    protocol = published("parallel_rs")          # as in the paper's published code
    for name in differing(SOUND, protocol, "pgd"):
        mixed = switched(SOUND, protocol, [name])      # only this setting as published

The published code attacks every net in its own way. Each difference from a sound
protocol is a switch that can be turned on alone, so that its effect on the accuracy can
be measured. `symjax.evaluation.published` runs the attacks.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from symjax.attacks.gradient import Keep

Unit = Literal["pixel", "input"]
BatchNorm = Literal["running", "batch", "moved"]
InputScaling = Literal["normalized", "raw"]

STEP, TEST_BATCH = 0.01, 128
SERIES = tuple(count / 100 for count in range(1, 11))
"""Epsilons at which the published code attacks the equivariant net, in order."""
UNIT_CLIP, RANGE_CLIP = (0.0, 1.0), (-1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a net is attacked and how its predictions are taken; the defaults are sound.

    The input of the net below is the image after its normalization.

    Attributes:
      eps_unit: the unit of epsilon: "pixel" for images in [0, 1], "input" for the input
        of the net.
      clip: the smallest and the largest value of the input after a step; None: those of
        valid pixels.
      batch_norm: the statistics of batch norm. "running": the running averages of
        training; clean accuracy is always measured with them. "batch": those of the
        batch, during the attack and for predictions. "moved": the attack runs in
        training mode and changes the running averages, which are carried over to the
        next batch and to the next attack; predictions use the changed averages.
      input_scaling: "normalized": images are normalized as in training. "raw": the net
        gets images in [0, 1] although it was trained on normalized ones.
      start: whether PGD starts at a uniform point of the ball or at the image.
      n_restarts: the number of random starts of PGD.
      keep: "best": a misclassified clean image counts as an error, and PGD returns its
        best iterate. "last": all images are attacked, and the prediction on the last
        iterate counts.
      step: the step size of PGD in units of the input; None: 2.5 eps / steps.
    """

    eps_unit: Unit = "pixel"
    clip: tuple[float, float] | None = None
    batch_norm: BatchNorm = "running"
    input_scaling: InputScaling = "normalized"
    start: Literal["uniform", "image"] = "uniform"
    n_restarts: int = 3
    keep: Keep = "best"
    step: float | None = None


SOUND = Protocol()

SWITCHES: dict[str, tuple[str, ...]] = {
    "epsilon unit": ("eps_unit",),
    "clip range": ("clip",),
    "batch norm": ("batch_norm",),
    "input scaling": ("input_scaling",),
    "start": ("start", "n_restarts"),
    "iterate": ("keep",),
    "step": ("step",),
}
"""The switches, in the order in which the study turns them on, and the fields of
`Protocol` that each sets."""
OF_PGD = ("start", "step")
"""Switches that apply to PGD and not to FGSM."""

_AS_PUBLISHED = Protocol(
    eps_unit="input",
    clip=UNIT_CLIP,
    start="image",
    n_restarts=1,
    keep="last",
    step=STEP,
)
_IN_RANGE = dataclasses.replace(_AS_PUBLISHED, clip=RANGE_CLIP)
_BATCH = dataclasses.replace(_IN_RANGE, batch_norm="batch")
_RAW = dataclasses.replace(_AS_PUBLISHED, input_scaling="raw")

PUBLISHED: dict[str, Protocol] = {
    "baseline": _AS_PUBLISHED,
    "cascaded": _AS_PUBLISHED,
    "parallel_rot": _AS_PUBLISHED,
    "parallel_scale": _BATCH,  # not published: taken from rot & scale, the nearest net
    "parallel_rs": _BATCH,
    "weighted": _IN_RANGE,
    "equivariant": dataclasses.replace(_IN_RANGE, batch_norm="moved"),
}
"""Published protocols on clean test images, by net."""
PUBLISHED_CORRUPTED: dict[str, Protocol] = {
    "baseline": _AS_PUBLISHED,
    **dict.fromkeys(("cascaded", "parallel_rot", "parallel_rs", "weighted"), _RAW),
}
"""Published protocols on corrupted test images (Table 1), by net."""


def published(net: str, corrupted: bool = False) -> Protocol:
    """The protocol of the published code for one net.

    Args:
      net: name of the net, one of `symjax.models.MODELS`.
      corrupted: whether the images are corrupted (CIFAR-10-C), for which the published
        code has other settings.

    Raises:
      ValueError: for a net without published attacks.
    """
    table = PUBLISHED_CORRUPTED if corrupted else PUBLISHED
    if net not in table:
        where = " on corruptions" if corrupted else ""
        raise ValueError(
            f"net {net!r}: expected one of {sorted(table)}, for which attacks{where} "
            "were published. Use --protocol sound."
        )
    return table[net]


def switched(start: Protocol, end: Protocol, names: Sequence[str]) -> Protocol:
    """The protocol `start` with the named switches set as in `end`.

    Raises:
      ValueError: for a name that is not in `SWITCHES`.
    """
    if unknown := set(names) - set(SWITCHES):
        raise ValueError(
            f"switches {sorted(unknown)}: expected some of {list(SWITCHES)}."
        )
    changes = {x: getattr(end, x) for name in names for x in SWITCHES[name]}
    return dataclasses.replace(start, **changes)


def differing(start: Protocol, end: Protocol, attack: str) -> list[str]:
    """The switches that differ between two protocols and apply to "fgsm" or "pgd"."""
    of_attack = [x for x in SWITCHES if attack == "pgd" or x not in OF_PGD]
    return [x for x in of_attack if switched(start, end, [x]) != start]
