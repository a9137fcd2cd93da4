"""Finite groups of rotations and reflections (paper, Sections 3.1, C.1.1).

`C(n)` turns by multiples of 360/n degrees, `D(n)` also mirrors. They act on images, on
fields, and through `symjax.nn` on kernels. An element is an integer `g` in
`range(group.order)`; 0 is the identity, g < n turns by 360 g/n degrees
counter-clockwise, and n + g mirrors left and right first.

    from symjax import groups
    turned = groups.C4.act(1, images)             # a quarter turn
    groups.D(8).grid.group                        # D4: what moves pixels onto pixels
    groups.C(8).subgroup(4).restrict(field)       # [..., 8, C] to [..., 4, 2 C]

A field's group axis runs over cosets gK of a subgroup K, and g moves coset a to ga:
over all elements (the regular representation), over one coset (the trivial one, which
is an image), or over the quotient by the reflection, which counts g and its mirror
image once.
"""

import dataclasses
import functools
import math
import operator
import re

import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclasses.dataclass(frozen=True)
class Group:
    """C_n, or with reflections D_n; `C(n)` and `D(n)` make them.

    Groups are compared and hashed by value, so they can be static fields of modules.

    Attributes:
      rotations: n, the number of rotations.
      reflections: whether each rotation also comes after a mirror.

    Raises:
      ValueError: if n is not a whole number of 1 or more.
    """

    rotations: int
    reflections: bool = False

    def __post_init__(self):
        if not _is_whole(self.rotations) or self.rotations < 1:
            raise ValueError(
                f"a group of {self.rotations!r} rotations: expected an integer of 1 or "
                "more, as in C(8) or D(4)."
            )
        if not isinstance(self.reflections, bool | np.bool_):
            raise ValueError(f"reflections={self.reflections!r}: expected a bool.")
        object.__setattr__(self, "rotations", int(self.rotations))

    def __str__(self) -> str:
        return f"{'D' if self.reflections else 'C'}{self.rotations}"

    @property
    def order(self) -> int:
        """Number of elements, G: n, or 2 n with reflections."""
        return self.rotations * (1 + self.reflections)

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Composition table `[G, G]`: `table[g, h]` is g h, where h acts first."""
        mirror, turn = np.divmod(np.arange(self.order), self.rotations)
        sense = np.where(mirror, -1, 1)[:, None]  # a mirror reverses the turns before
        turns = (turn[:, None] + sense * turn) % self.rotations
        return (mirror[:, None] + mirror) % 2 * self.rotations + turns

    @functools.cached_property
    def inverses(self) -> np.ndarray:
        """`[G]`: `inverses[g]` is g^-1."""
        return np.argmin(self.table, axis=1)  # the identity is 0, once a row

    @functools.cached_property
    def matrices(self) -> np.ndarray:
        """`[G, 2, 2]`: what each element does to points (x to the right, y upwards)."""
        mirror, turn = np.divmod(np.arange(self.order), self.rotations)
        angle = 2 * np.pi * turn / self.rotations
        sense = np.where(mirror, -1, 1)  # of x, mirrored before the turn
        cosine, sine = np.cos(angle), np.sin(angle)
        rows = [[cosine * sense, -sine], [sine * sense, cosine]]
        return np.array(rows).transpose(2, 0, 1)

    def name(self, g: int) -> str:
        """What element g does, as in "45°", "mirror" or "mirror, 45°".

        Raises:
          ValueError: if g is no element.
        """
        mirror, turn = divmod(self._element(g), self.rotations)
        angle = f"{360 * turn / self.rotations:g}°"
        return angle if not mirror else f"mirror, {angle}" if turn else "mirror"

    @functools.cached_property
    def grid(self) -> "Subgroup":
        """The elements that move pixels onto pixels: all, or those of C1 to D4."""
        return self.subgroup(math.gcd(self.rotations, 4), self.reflections)

    @property
    def is_on_grid(self) -> bool:
        """Whether every element moves pixels onto pixels, as in C4 and D4."""
        return self.grid.group == self

    @property
    def transposes_axes(self) -> bool:
        """Whether some element on the grid exchanges height and width."""
        return self.rotations % 4 == 0

    @property
    def flips_axes(self) -> tuple[bool, bool]:
        """Whether elements on the grid reverse the (height, width) of an image."""
        turns = self.rotations % 2 == 0
        return turns, turns or self.reflections

    def act(self, g: int, images: Array) -> Array:
        """Acts on images `[..., H, W, C]`: `(g f)(x) = f(g^-1 x)`.

        Raises:
          ValueError: if g is no element, or does not move pixels onto pixels, or if
            the images are of another rank.
        """
        _check_rank(images, 3, "images [..., H, W, C]")
        return self.act_on_grid(g, images, (-3, -2))

    def act_on_grid(self, g: int, array: Array, axes: tuple[int, int]) -> Array:
        """Moves the pixels of `array` along its (height, width) `axes` by g.

        Raises:
          ValueError: if g is no element, or does not move pixels onto pixels.
        """
        g = self._element(g)
        mirror, turn = divmod(g, self.rotations)
        quarters, rest = divmod(4 * turn, self.rotations)
        if rest:
            raise ValueError(
                f"element {g} of {self} ({self.name(g)}) does not move pixels onto "
                f"pixels. Those that do form {self.grid.group}: "
                f"{[int(e) for e in self.grid.elements]}."
            )
        return jnp.rot90(jnp.flip(array, axes[1]) if mirror else array, quarters, axes)

    def act_on_field(self, g: int, field: Array, over: "Cosets | None" = None) -> Array:
        """Acts on a field `[..., H, W, A, C]`: `(g f)(x, a) = f(g^-1 x, g^-1 a)`.

        Args:
          g: an element that moves pixels onto pixels.
          field: its group axis A runs over `over`.
          over: the regular representation by default.

        Raises:
          ValueError: as in `act`, or if the field's group axis is not over `over`.
        """
        _check_rank(field, 4, "a field [..., H, W, A, C]")
        order = (over or self.regular).table[self.inverses[self._element(g)]]
        _check_axis(field, len(order), over or self.regular)
        return jnp.take(self.act_on_grid(g, field, (-4, -3)), order, axis=-2)

    def _element(self, g: int) -> int:
        try:
            element = operator.index(g)
        except TypeError:
            raise ValueError(
                f"g={g!r}: expected an element of {self}, an integer from 0 to "
                f"{self.order - 1}."
            ) from None
        if not 0 <= element < self.order:
            raise ValueError(f"g={g}: {self} has the elements 0 to {self.order - 1}.")
        return element

    def subgroup(self, rotations: int, reflections: bool = False) -> "Subgroup":
        """C_m or D_m in this group, its mirror being this group's.

        Args:
          rotations: m, a divisor of n.
          reflections: whether it has them; only if this group does.
        """
        return Subgroup(self, rotations, reflections)

    @property
    def subgroups(self) -> list["Subgroup"]:
        """All C_m, and all D_m that contain this group's mirror."""
        n = self.rotations
        divisors = [m for m in range(1, n + 1) if n % m == 0]
        kinds = (False, True) if self.reflections else (False,)
        return [self.subgroup(m, kind) for kind in kinds for m in divisors]

    @property
    def regular(self) -> "Cosets":
        """One value an element."""
        return self.quotient(self.subgroup(1))

    @property
    def trivial(self) -> "Cosets":
        """One value, which no element changes."""
        return self.quotient(self.subgroup(self.rotations, self.reflections))

    @property
    def mod_reflection(self) -> "Cosets":
        """One value for an element and its product with the mirror: the quotient."""
        return self.quotient(self.subgroup(1, reflections=True))

    def quotient(self, subgroup: "Subgroup") -> "Cosets":
        """The cosets gK of a subgroup K.

        Raises:
          ValueError: if it is a subgroup of another group, or none.
        """
        if not isinstance(subgroup, Subgroup):
            raise ValueError(
                f"{subgroup!r} is no subgroup of {self}: expected one such as "
                "group.subgroup(2)."
            )
        if subgroup.parent != self:
            raise ValueError(f"{subgroup} is no subgroup of {self}.")
        return Cosets(subgroup)


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """C_m or D_m in a larger group.

    Attributes:
      parent: the larger group.
      rotations, reflections: as of the group that it is.

    Raises:
      ValueError: if the parent does not contain it.
    """

    parent: Group
    rotations: int
    reflections: bool = False

    def __post_init__(self):
        object.__setattr__(self, "parent", as_group(self.parent))
        parent, count = self.parent, self.rotations
        if not _is_whole(count) or count < 1 or parent.rotations % count:
            raise ValueError(
                f"{count!r} rotations: a subgroup of {parent} has a divisor of "
                f"{parent.rotations} of them."
            )
        if self.reflections and not parent.reflections:
            raise ValueError(
                f"{parent} has no reflections, nor have its subgroups; use "
                f"D({parent.rotations})."
            )

    def __str__(self) -> str:
        return f"{self.group} in {self.parent}"

    @property
    def group(self) -> Group:
        """It as a group of its own."""
        return Group(self.rotations, self.reflections)

    @functools.cached_property
    def elements(self) -> np.ndarray:
        """`[H]`: its elements, in the order of `group`, by the parent's numbers."""
        mirror, turn = np.divmod(np.arange(self.group.order), self.rotations)
        n = self.parent.rotations
        return mirror * n + turn * (n // self.rotations)

    @functools.cached_property
    def coset_representatives(self) -> np.ndarray:
        """`[H, G / H]`: s t by the parent's numbers, t the least element of each Ht."""
        products = self.parent.table[self.elements]  # [H, G]: s t
        return products[:, np.unique(np.min(products, axis=0))]

    def restrict(self, field: Array) -> Array:
        """A field on the parent as fields on the subgroup; no value is changed.

        Args:
          field: `[..., G, C]`.

        Returns:
          `[..., H, G / H * C]`: entry s holds the channels of all s t, t over
          representatives of the cosets Ht; of C8 in C4, those of s and of s + 45°.
        """
        _check_axis(field, self.parent.order, self.parent)
        moved = jnp.take(field, self.coset_representatives.reshape(-1), axis=-2)
        channels = self.coset_representatives.shape[1] * field.shape[-1]
        return moved.reshape(*field.shape[:-2], len(self.elements), channels)


@dataclasses.dataclass(frozen=True)
class Cosets:
    """The cosets gK of a subgroup K, over which a field's group axis runs.

    Attributes:
      subgroup: K.
    """

    subgroup: Subgroup

    def __str__(self) -> str:
        return f"{self.group}/{self.subgroup.group}"

    @property
    def group(self) -> Group:
        """G."""
        return self.subgroup.parent

    @property
    def is_trivial(self) -> bool:
        """Whether there is one coset: such a field is an image."""
        return len(self) == 1

    @property
    def is_regular(self) -> bool:
        """Whether each element is a coset."""
        return len(self) == self.group.order

    def __len__(self) -> int:
        return self.group.order // self.subgroup.group.order

    @functools.cached_property
    def elements_of_cosets(self) -> np.ndarray:
        """`[A, K]`: the elements of each coset, the least one first; `[0, 0]` is 0."""
        return np.unique(np.sort(self.group.table[:, self.subgroup.elements]), axis=0)

    @functools.cached_property
    def table(self) -> np.ndarray:
        """`[G, A]`: `table[g, a]` is the coset to which g moves a."""
        coset_of = np.empty(self.group.order, int)
        coset_of[self.elements_of_cosets] = np.arange(len(self))[:, None]
        return coset_of[self.group.table[:, self.elements_of_cosets[:, 0]]]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_rank(array: Array, least: int, expected: str) -> None:
    if jnp.ndim(array) < least:
        raise ValueError(f"an array {jnp.shape(array)}: expected {expected}.")


def _check_axis(field: Array, length: int, over: object) -> None:
    _check_rank(field, 2, "a field [..., A, C]")
    if jnp.shape(field)[-2] != length:
        raise ValueError(
            f"a field {jnp.shape(field)} is none over {over}: its last axis but one "
            f"should be {length} long."
        )


def C(n: int) -> Group:
    """The n rotations by multiples of 360/n degrees."""
    return Group(n)


def D(n: int) -> Group:
    """The n rotations, and the n reflections that they make of a mirror."""
    return Group(n, reflections=True)


def named(name: str) -> Group:
    """The group of a name such as "C8" or "D4".

    Raises:
      ValueError: for any other name.
    """
    found = re.fullmatch(r"([CD])([1-9]\d*)", name)
    if not found:
        raise ValueError(
            f"group {name!r}: expected C or D and the number of rotations, as in C8 "
            "or D4."
        )
    return Group(int(found[2]), found[1] == "D")


def as_group(group: Group | str) -> Group:
    """The group itself, or that of its name, such as "C8", "D4" or "d4".

    Every layer and metric that takes a group passes it through this function.

    Raises:
      ValueError: for anything else.
    """
    if isinstance(group, Group):
        return group
    if isinstance(group, str):
        return named(group.upper())
    raise ValueError(
        f"group={group!r}: expected a group such as symjax.groups.C4, or its name, "
        "such as 'C4'."
    )


C1, C2, C4, C8, D4 = C(1), C(2), C(4), C(8), D(4)
