"""Finite groups acting on images, kernels and fields (paper, Sections 3.1, C.1.1).

An element is an integer `g` in `range(group.order)`; 0 is the identity. A group brings
its composition and its exact action on the pixel grid; everything else, from the
composition table to the expansion of kernels, follows from these and is written once.

    from symjax import groups
    turned = groups.C4.act(1, images)        # a quarter turn, counter-clockwise
"""

import abc
import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jax import Array


class Group(abc.ABC):
    """A finite group with an exact action on square pixel grids.

    A subclass gives `order`, `compose` and `act_on_grid`. Groups are compared and
    hashed by value, so they can be static fields of Flax modules.

    A feature field `f` `[..., H, W, G, C]` carries the regular representation: element
    g acts as `(g f)(x, h) = f(g^-1 x, g^-1 h)`.
    """

    @property
    @abc.abstractmethod
    def order(self) -> int:
        """Number of elements, G."""

    @property
    @abc.abstractmethod
    def swaps_axes(self) -> bool:
        """Whether some element exchanges height and width (a quarter turn does)."""

    @abc.abstractmethod
    def compose(self, g: int, h: int) -> int:
        """The product g h: first h acts, then g."""

    @abc.abstractmethod
    def act_on_grid(self, g: int, array: Array, axes: tuple[int, int]) -> Array:
        """Moves the pixels of `array` along its (height, width) `axes` by g."""

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Composition table `[G, G]`: `table[g, h]` is g h."""
        elements = range(self.order)
        return np.array([[self.compose(g, h) for h in elements] for g in elements])

    @functools.cached_property
    def inverses(self) -> np.ndarray:
        """`[G]`: `inverses[g]` is g^-1."""
        return np.argmin(self.table, axis=1)  # the identity is 0, once a row

    def act(self, g: int, images: Array) -> Array:
        """Acts on images `[..., H, W, C]`: `(g f)(x) = f(g^-1 x)`."""
        return self.act_on_grid(g, images, (-3, -2))

    def act_on_field(self, g: int, field: Array) -> Array:
        """Acts on a feature field `[..., H, W, G, C]`, pixels and group axis alike."""
        order = self.table[self.inverses[g]]
        return jnp.take(self.act_on_grid(g, field, (-4, -3)), order, axis=-2)

    def expand_lifting_kernel(self, kernel: Array) -> Array:
        """Every g acting on one lifting kernel (Cohen & Welling 2016, eq. 10).

        Args:
          kernel: `[k, k, C_in, C_out]`.

        Returns:
          `[k, k, C_in, G, C_out]`; entry g is the kernel moved by g.
        """
        moved = [self.act_on_grid(g, kernel, (0, 1)) for g in range(self.order)]
        return jnp.stack(moved, axis=3)

    def expand_group_kernel(self, kernel: Array) -> Array:
        """Every g acting on one group kernel (Cohen & Welling 2016, eq. 11).

        Args:
          kernel: `[k, k, G, C_in, C_out]`, a kernel on pixels and group elements.

        Returns:
          `[k, k, G, C_in, G, C_out]`: input element h, output element g;
          entry (h, g) is `kernel[g^-1 x, g^-1 h]`.
        """
        moved = []
        for g in range(self.order):
            order = self.table[self.inverses[g]]
            moved.append(jnp.take(self.act_on_grid(g, kernel, (0, 1)), order, axis=2))
        return jnp.stack(moved, axis=4)


@dataclasses.dataclass(frozen=True)
class Cyclic(Group):
    """C_n, the rotations by multiples of 360/n degrees, counter-clockwise.

    Attributes:
      n: number of rotations: 1, 2 or 4, whose turns move pixels onto pixels.

    Raises:
      ValueError: if a turn by 360/n degrees does not map the pixel grid onto itself.
    """

    n: int

    def __post_init__(self):
        if self.n not in (1, 2, 4):
            raise ValueError(
                f"C_{self.n} turns by {360 / self.n if self.n else 0:g} degrees, which "
                "does not map the pixel grid onto itself; use C_1, C_2 or C_4."
            )

    @property
    def order(self) -> int:
        return self.n

    @property
    def swaps_axes(self) -> bool:
        return self.n == 4

    def compose(self, g: int, h: int) -> int:
        return (g + h) % self.n

    def act_on_grid(self, g: int, array: Array, axes: tuple[int, int]) -> Array:
        return jnp.rot90(array, g * (4 // self.n), axes)

    def __str__(self) -> str:
        return f"C{self.n}"


C1 = Cyclic(1)
C2 = Cyclic(2)
C4 = Cyclic(4)

GROUPS: dict[str, Group] = {str(group): group for group in (C1, C2, C4)}
