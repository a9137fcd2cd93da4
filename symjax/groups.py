"""Finite groups of rotations and reflections (paper, Sections 3.1, C.1.1).

`C(n)` has the rotations by multiples of 360/n degrees, and `D(n)` also the reflections.
The groups act on images, on feature maps on a group, and through `symjax.nn` on
kernels. An element is an integer `g` in `range(group.order)`: 0 is the identity, g < n
is the counter-clockwise rotation by 360 g/n degrees, and n + g exchanges left and right
before it rotates.

    from symjax import groups
    rotated = groups.C4.act(1, images)            # by 90 degrees
    groups.D(8).grid.group                        # D4: the elements on the pixel grid
    groups.C(8).subgroup(4).restrict(x)           # [..., 8, C] to [..., 4, 2 C]

The group axis of a feature map runs over cosets gK of a subgroup K, and g maps coset a
to ga. The cosets can be all elements (the regular representation), one coset (the
trivial representation, which is an image), or the quotient by the reflection, where g
and its product with the reflection are one coset.
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
    """The group C_n, or D_n with reflections; see `C(n)` and `D(n)`.

    Groups are compared and hashed by value, so that they can be static fields of
    modules.

    Attributes:
      rotations: n, the number of rotations.
      reflections: whether the group has reflections.

    Raises:
      ValueError: if n is not a whole number of 1 or more.
    """

    rotations: int
    reflections: bool = False

    def __post_init__(self):
        if not _is_whole(self.rotations) or self.rotations < 1:
            raise ValueError(
                f"a group of {self.rotations!r} rotations: expected an integer of 1 or "
                "more, such as in C(8) or D(4)."
            )
        if not isinstance(self.reflections, bool | np.bool_):
            raise ValueError(f"reflections={self.reflections!r}: expected a bool.")
        object.__setattr__(self, "rotations", int(self.rotations))

    def __str__(self) -> str:
        return f"{'D' if self.reflections else 'C'}{self.rotations}"

    @property
    def order(self) -> int:
        """The number of elements, G: n, or 2 n with reflections."""
        return self.rotations * (1 + self.reflections)

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Composition table `[G, G]`: `table[g, h]` is g h, where h acts first."""
        mirror, turn = np.divmod(np.arange(self.order), self.rotations)
        sign = np.where(mirror, -1, 1)[:, None]  # a reflection inverts rotations
        turns = (turn[:, None] + sign * turn) % self.rotations
        return (mirror[:, None] + mirror) % 2 * self.rotations + turns

    @functools.cached_property
    def inverses(self) -> np.ndarray:
        """The inverses, `[G]`: `inverses[g]` is g^-1."""
        return np.argmin(self.table, axis=1)  # each row has the identity, 0, once

    @functools.cached_property
    def matrices(self) -> np.ndarray:
        """The action on points (x to the right, y upwards) as matrices, `[G, 2, 2]`."""
        mirror, turn = np.divmod(np.arange(self.order), self.rotations)
        angle = 2 * np.pi * turn / self.rotations
        sign = np.where(mirror, -1, 1)  # of x, reflected before the rotation
        cosine, sine = np.cos(angle), np.sin(angle)
        rows = [[cosine * sign, -sine], [sine * sign, cosine]]
        return np.array(rows).transpose(2, 0, 1)

    def name(self, g: int) -> str:
        """The name of element g, such as "45°", "mirror" or "mirror, 45°".

        Raises:
          ValueError: if g is not an element.
        """
        mirror, turn = divmod(self._element(g), self.rotations)
        angle = f"{360 * turn / self.rotations:g}°"
        return angle if not mirror else f"mirror, {angle}" if turn else "mirror"

    @functools.cached_property
    def grid(self) -> "Subgroup":
        """The subgroup of elements on the grid, which map pixels onto pixels."""
        return self.subgroup(math.gcd(self.rotations, 4), self.reflections)

    @property
    def is_on_grid(self) -> bool:
        """Whether every element maps pixels onto pixels, as in C4 and D4."""
        return self.grid.group == self

    @property
    def transposes_axes(self) -> bool:
        """Whether an element on the grid exchanges height and width."""
        return self.rotations % 4 == 0

    @property
    def flips_axes(self) -> tuple[bool, bool]:
        """Whether an element on the grid flips the (height, width) of an image."""
        half_turn = self.rotations % 2 == 0
        return half_turn, half_turn or self.reflections

    def act(self, g: int, images: Array) -> Array:
        """The images `[..., H, W, C]` transformed by g: `(g f)(x) = f(g^-1 x)`.

        Raises:
          ValueError: if g is not an element or not on the grid, or if the images have
            another rank.
        """
        _check_rank(images, 3, "images [..., H, W, C]")
        return self.act_on_grid(g, images, (-3, -2))

    def act_on_grid(self, g: int, array: Array, axes: tuple[int, int]) -> Array:
        """The array with its pixels, on the (height, width) `axes`, transformed by g.

        Raises:
          ValueError: if g is not an element or not on the grid.
        """
        g = self._element(g)
        mirror, turn = divmod(g, self.rotations)
        quarters, rest = divmod(4 * turn, self.rotations)
        if rest:
            raise ValueError(
                f"element {g} of {self} ({self.name(g)}) does not map pixels onto "
                f"pixels: expected an element of {self.grid.group}: "
                f"{[int(e) for e in self.grid.elements]}."
            )
        return jnp.rot90(jnp.flip(array, axes[1]) if mirror else array, quarters, axes)

    def act_on_field(self, g: int, field: Array, over: "Cosets | None" = None) -> Array:
        """The feature map transformed by g: `(g f)(x, a) = f(g^-1 x, g^-1 a)`.

        Args:
          g: an element on the grid.
          field: a feature map on a group, `[..., H, W, A, C]`.
          over: the cosets that index the group axis A; None: the group itself (the
            regular representation).

        Raises:
          ValueError: as in `act`, or if the group axis has another length than `over`.
        """
        _check_rank(field, 4, "a feature map on a group [..., H, W, A, C]")
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
            raise ValueError(
                f"g={g}: expected an element of {self}, from 0 to {self.order - 1}."
            )
        return element

    def subgroup(self, rotations: int, reflections: bool = False) -> "Subgroup":
        """The subgroup C_m, or D_m with this group's reflection.

        Args:
          rotations: m, a divisor of n.
          reflections: whether the subgroup has reflections; only if this group does.
        """
        return Subgroup(self, rotations, reflections)

    @property
    def regular(self) -> "Cosets":
        """The regular representation: one coset per element."""
        return self.quotient(self.subgroup(1))

    @property
    def trivial(self) -> "Cosets":
        """The trivial representation: one coset, which every element maps to itself."""
        return self.quotient(self.subgroup(self.rotations, self.reflections))

    @property
    def mod_reflection(self) -> "Cosets":
        """The quotient by the reflection: g and its product with it are one coset."""
        return self.quotient(self.subgroup(1, reflections=True))

    def quotient(self, subgroup: "Subgroup") -> "Cosets":
        """The cosets gK of a subgroup K.

        Raises:
          ValueError: if K is not a subgroup of this group.
        """
        if not isinstance(subgroup, Subgroup) or subgroup.parent != self:
            shown = subgroup if isinstance(subgroup, Subgroup) else repr(subgroup)
            raise ValueError(
                f"{shown} is no subgroup of {self}: expected one such as "
                "group.subgroup(2)."
            )
        return Cosets(subgroup)


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """The group C_m or D_m as a subgroup of a larger group.

    Attributes:
      parent: the larger group.
      rotations, reflections: as in `Group`.

    Raises:
      ValueError: if the parent does not contain the subgroup.
    """

    parent: Group
    rotations: int
    reflections: bool = False

    def __post_init__(self):
        object.__setattr__(self, "parent", as_group(self.parent))
        parent, count = self.parent, self.rotations
        if not _is_whole(count) or count < 1 or parent.rotations % count:
            raise ValueError(
                f"{count!r} rotations in a subgroup of {parent}: expected a divisor of "
                f"{parent.rotations}."
            )
        if self.reflections and not parent.reflections:
            raise ValueError(
                f"reflections=True: {parent} has no reflections, and neither have its "
                f"subgroups; use D({parent.rotations})."
            )

    def __str__(self) -> str:
        return f"{self.group} in {self.parent}"

    @property
    def group(self) -> Group:
        """The subgroup as a `Group`."""
        return Group(self.rotations, self.reflections)

    @functools.cached_property
    def elements(self) -> np.ndarray:
        """The elements of the parent in the order of `group`, `[H]`."""
        mirror, turn = np.divmod(np.arange(self.group.order), self.rotations)
        n = self.parent.rotations
        return mirror * n + turn * (n // self.rotations)

    @functools.cached_property
    def coset_representatives(self) -> np.ndarray:
        """The elements s t of the parent, `[H, G / H]`; t is the least one of Ht."""
        products = self.parent.table[self.elements]  # [H, G]: s t
        return products[:, np.unique(np.min(products, axis=0))]

    def restrict(self, field: Array) -> Array:
        """A feature map on the parent as one on the subgroup; the values are the same.

        Args:
          field: feature map on the parent, `[..., G, C]`.

        Returns:
          `[..., H, G / H * C]`. Entry s has the channels of all s t, where t runs over
          representatives of the cosets Ht. For C4 in C8, these are s and s + 45°.
        """
        _check_axis(field, self.parent.order, self.parent)
        values = jnp.take(field, self.coset_representatives.reshape(-1), axis=-2)
        channels = self.coset_representatives.shape[1] * field.shape[-1]
        return values.reshape(*field.shape[:-2], len(self.elements), channels)


@dataclasses.dataclass(frozen=True)
class Cosets:
    """The cosets gK of a subgroup K, which index the group axis of a feature map.

    Attributes:
      subgroup: the subgroup K.
    """

    subgroup: Subgroup

    def __str__(self) -> str:
        return f"{self.group}/{self.subgroup.group}"

    @property
    def group(self) -> Group:
        """The group whose elements are in the cosets."""
        return self.subgroup.parent

    @property
    def is_trivial(self) -> bool:
        """Whether there is only one coset, so that the feature map is an image."""
        return len(self) == 1

    @property
    def is_regular(self) -> bool:
        """Whether every coset has one element."""
        return len(self) == self.group.order

    def __len__(self) -> int:
        return self.group.order // self.subgroup.group.order

    @functools.cached_property
    def elements_of_cosets(self) -> np.ndarray:
        """The elements of each coset, `[A, K]`, in ascending order; `[0, 0]` is 0."""
        return np.unique(np.sort(self.group.table[:, self.subgroup.elements]), axis=0)

    @functools.cached_property
    def table(self) -> np.ndarray:
        """The action on cosets, `[G, A]`: `table[g, a]` is the coset g a."""
        coset_of = np.empty(self.group.order, int)
        coset_of[self.elements_of_cosets] = np.arange(len(self))[:, None]
        return coset_of[self.group.table[:, self.elements_of_cosets[:, 0]]]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_rank(array: Array, least: int, expected: str) -> None:
    if jnp.ndim(array) < least:
        raise ValueError(f"an array {jnp.shape(array)}: expected {expected}.")


def _check_axis(field: Array, length: int, over: object) -> None:
    _check_rank(field, 2, "a feature map on a group [..., A, C]")
    if jnp.shape(field)[-2] != length:
        raise ValueError(
            f"a feature map of shape {jnp.shape(field)}: expected a group axis of "
            f"length {length}, the last axis but one, over {over}."
        )


def C(n: int) -> Group:
    """The group C_n of the n rotations by multiples of 360/n degrees."""
    return Group(n)


def D(n: int) -> Group:
    """The group D_n of n rotations and n reflections."""
    return Group(n, reflections=True)


def named(name: str) -> Group:
    """The group with a name such as "C8" or "D4".

    Raises:
      ValueError: for any other name.
    """
    match = re.fullmatch(r"([CD])([1-9]\d*)", name)
    if not match:
        raise ValueError(
            f"group {name!r}: expected C or D and the number of rotations, such as C8 "
            "or D4."
        )
    return Group(int(match[2]), match[1] == "D")


def as_group(group: Group | str) -> Group:
    """The group itself, or the group with a name such as "C8", "D4" or "d4".

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
