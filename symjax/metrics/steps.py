"""What a traced net is read into: values, the steps that make them, linear parts.

step.name, step.operands, step.results, step.is_linear
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from symjax.metrics.interval import CONTRACTIONS, JOINS, MOVES

LINEAR = (*MOVES, *JOINS, *CONTRACTIONS, "add", "add_any", "neg", "sub")


@dataclasses.dataclass(eq=False)
class Value:
    """What a program computes, or is given.

    Attributes:
      shape, dtype: as traced.
      step: that makes it; None of what is given.
      constant: the array, where it is written into the program.
      depends: it does on the image.
      affine: it is a linear function of the image, and a constant.
    """

    shape: tuple[int, ...]
    dtype: Any
    step: "Step | None" = None
    constant: Any = None
    depends: bool = False
    affine: bool = False

    @property
    def is_float(self) -> bool:
        return jnp.issubdtype(self.dtype, jnp.floating)


@dataclasses.dataclass(eq=False)
class Step:
    """One operation.

    Attributes:
      name, params: of the primitive.
      bind: does it, floats in float64.
      operands, results: what it takes and makes.
    """

    name: str
    params: dict[str, Any]
    bind: Callable[..., Any]
    operands: tuple[Value, ...]
    results: tuple[Value, ...]

    @property
    def depends(self) -> bool:
        return any(x.depends for x in self.operands)

    @property
    def is_linear(self) -> bool:
        """In all operands that depend on the image."""
        which = [x.depends for x in self.operands]
        if not all(x.is_float for x in (*self.results, *self._moving)):
            return False
        if self.name == "mul":
            return sum(which) == 1
        if self.name == "div":
            return not which[1]
        if self.name == "select_n":
            return not which[0]
        return self.name in LINEAR or self.name == "convert_element_type"

    @property
    def _moving(self) -> list[Value]:
        return [x for x in self.operands if x.depends]


class Part(NamedTuple):
    """A part of a program that is a linear function, and a constant.

    Attributes:
      sources: what it takes.
      steps: what it does.
      ends: what it gives.
    """

    sources: list[Value]
    steps: list[Step]
    ends: list[Value]
