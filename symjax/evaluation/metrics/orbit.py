"""The group whose orbits a net is measured on.

    group, reason = of("equivariant", "C8")       # C4, "the elements of C8 on the ..."

The paper speaks of nets that are equivariant under P4, the rotations by multiples of 90
degrees. A net of another group is measured under its own. Statements that are exact
for an invariant net need rotations that move pixels onto pixels, so only the elements
on the pixel grid count: those of C8 are C4.
"""

from collections.abc import Mapping
from typing import Any

from symjax.groups import C4, Group, as_group

PAPER = C4  # the paper's P4; also the group of rows that name none
WITHOUT_GROUP = ("baseline", "parallel_scale")


def of(model: str, group: Group | str) -> tuple[Group, str]:
    """The group whose orbits a net is measured on, and the reason for this group.

    Args:
      model: name of the net, one of `symjax.models.MODELS`.
      group: the group of the net's rotation layers; without effect for a net that has
        none.
    """
    own = as_group(group)
    on_grid = own.grid.group
    if model in WITHOUT_GROUP:
        return PAPER, "P4 of the paper: the net has no group of its own"
    if on_grid.order == 1:
        return PAPER, f"P4 of the paper: {own} rotates no pixel onto another"
    if on_grid == own:
        return own, "the group of the net"
    return on_grid, f"the elements of {own} on the pixel grid"


def identity(run: Mapping[str, Any]) -> dict[str, str]:
    """The entry of a row's identity that names the group.

    Args:
      run: the entries of the run, see `evaluation.run.identity`.
    """
    group, _ = of(run["model"], run["group"])
    return {"orbit": str(group)}


def facts(run: Mapping[str, Any]) -> dict[str, str]:
    """The entry of a row that states the reason for the group."""
    return {"orbit_reason": of(run["model"], run["group"])[1]}
