"""What an evaluation can differ in: the sound protocol, the published one, and between.

    protocol = published("parallel_rs")          # as in the paper's published code
    for name in differing(SOUND, protocol, "pgd"):
        between = switched(SOUND, protocol, [name])      # that one as published

The paper's numbers come from code in which every net is attacked in its own way. Each
difference from a sound protocol is a switch, so that its part of a number can be
measured (`symjax.evaluation.published` has the loop).
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from symjax.attacks.gradient import Keep

Unit = Literal["pixel", "input"]
BatchNorm = Literal["running", "batch", "moved"]
Fed = Literal["normalised", "raw"]

STEP, TEST_BATCH = 0.01, 128
SERIES = tuple(count / 100 for count in range(1, 11))
"""Epsilons at which the published code attacks the equivariant net, in order."""
GREY_CLIP, RANGE_CLIP = (0.0, 1.0), (-1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a net is attacked and asked; the defaults are sound.

    Attributes:
      eps_unit: an epsilon is of pixels in [0, 1], or of what the net is fed.
      clip: lowest and highest value that the net is fed after a step; None: what valid
        pixels give.
      batch_norm: "running": averages of training, with which clean accuracy is always
        measured. "batch": of the batch that is looked at, while attacking and
        predicting. "moved": attacks run in training mode and move the averages, which
        carry over from batch to batch and from one attack to the next; predictions use
        them.
      fed: normalised images, as in training; or "raw" ones in [0, 1] all the same.
      start: PGD starts uniformly in the ball, or at the image.
      n_restarts: of PGD, where it starts at random.
      keep: "best": a clean error counts, and PGD returns its best iterate. "last": all
        images are attacked, and what is predicted in the end counts.
      step: of PGD, in units of what the net is fed; None: 2.5 eps / steps.
    """

    eps_unit: Unit = "pixel"
    clip: tuple[float, float] | None = None
    batch_norm: BatchNorm = "running"
    fed: Fed = "normalised"
    start: Literal["uniform", "image"] = "uniform"
    n_restarts: int = 3
    keep: Keep = "best"
    step: float | None = None


SOUND = Protocol()

SWITCHES: dict[str, tuple[str, ...]] = {
    "epsilon unit": ("eps_unit",),
    "clip range": ("clip",),
    "batch norm": ("batch_norm",),
    "input scaling": ("fed",),
    "start": ("start", "n_restarts"),
    "iterate": ("keep",),
    "step": ("step",),
}
"""The switches, in the order in which they are turned, and their fields."""
OF_PGD = ("start", "step")
"""Switches that FGSM does not have."""

_AS_PUBLISHED = Protocol(
    eps_unit="input",
    clip=GREY_CLIP,
    start="image",
    n_restarts=1,
    keep="last",
    step=STEP,
)
_IN_RANGE = dataclasses.replace(_AS_PUBLISHED, clip=RANGE_CLIP)
_BATCH = dataclasses.replace(_IN_RANGE, batch_norm="batch")
_RAW = dataclasses.replace(_AS_PUBLISHED, fed="raw")

PUBLISHED: dict[str, Protocol] = {
    "baseline": _AS_PUBLISHED,
    "cascaded": _AS_PUBLISHED,
    "parallel_rot": _AS_PUBLISHED,
    "parallel_scale": _BATCH,  # not published: as rot & scale, the nearest net
    "parallel_rs": _BATCH,
    "weighted": _IN_RANGE,
    "equivariant": dataclasses.replace(_IN_RANGE, batch_norm="moved"),
}
"""On clean test images."""
PUBLISHED_CORRUPTED: dict[str, Protocol] = {
    "baseline": _AS_PUBLISHED,
    **dict.fromkeys(("cascaded", "parallel_rot", "parallel_rs", "weighted"), _RAW),
}
"""On corrupted ones (Table 1)."""


def published(net: str, corrupted: bool = False) -> Protocol:
    """The protocol of the published code for one net.

    Args:
      net: its name, one of `symjax.models.MODELS`.
      corrupted: on CIFAR-10-C, where another one was used.

    Raises:
      ValueError: for a net of which there is none.
    """
    table = PUBLISHED_CORRUPTED if corrupted else PUBLISHED
    if net not in table:
        where = " on corruptions" if corrupted else ""
        raise ValueError(
            f"net {net!r}: the published attacks{where} are of {sorted(table)}; take "
            "--protocol sound."
        )
    return table[net]


def switched(start: Protocol, end: Protocol, names: Sequence[str]) -> Protocol:
    """`start`, but for the switches that are named, which stand as in `end`.

    Raises:
      ValueError: for a name that is not in `SWITCHES`.
    """
    if unknown := set(names) - set(SWITCHES):
        raise ValueError(
            f"switches {sorted(unknown)}: expected some of {list(SWITCHES)}."
        )
    fields = [field for name in names for field in SWITCHES[name]]
    changes = {field: getattr(end, field) for field in fields}
    return dataclasses.replace(start, **changes)


def differing(start: Protocol, end: Protocol, attack: str) -> list[str]:
    """The switches that stand differently, of those that the attack has.

    Args:
      start, end: two protocols.
      attack: "fgsm" or "pgd".
    """
    of_attack = [x for x in SWITCHES if attack == "pgd" or x not in OF_PGD]
    return [x for x in of_attack if switched(start, end, [x]) != start]
