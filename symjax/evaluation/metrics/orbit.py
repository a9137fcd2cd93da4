"""The group over whose orbits the statements on a net are measured.

    group, reason = of("equivariant", "C8")       # C4, "the elements of C8 on the ..."

The paper speaks of nets that are equivariant under P4, the rotations by multiples of 90
degrees. A net of another group is measured under its own. Statements that are exact
for an invariant net need rotations that move pixels onto pixels, so only the elements
on the pixel grid count: those of C8 are C4.
"""

from collections.abc import Mapping
from typing import Any

from symjax.groups import C4, Group, as_group

PAPER = C4  # P4, and that of rows which name no group
WITHOUT_GROUP = ("baseline", "parallel_scale")


def of(model: str, group: Group | str) -> tuple[Group, str]:
    """The group under which a net is measured, and why it is this one.

    Args:
      model: name of the net, one of `symjax.models.MODELS`.
      group: of its rotation layers, if it has any.
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
      run: what a row says of the run, see `evaluation.run.identity`.
    """
    group, _ = of(run["model"], run["group"])
    return {"orbit": str(group)}


def facts(run: Mapping[str, Any]) -> dict[str, str]:
    """The fact that says why it is this group."""
    return {"orbit_reason": of(run["model"], run["group"])[1]}
