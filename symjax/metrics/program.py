"""How a measure on a net is run: its arguments checked, one program, full precision.

@measure("group")                     # the arguments that are static
def jacobian_norms(logits_fn, images, group=C4): ...
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax import compilation
from symjax.attacks.result import check, check_classes
from symjax.attacks.threat import Linf
from symjax.groups import Group
from symjax.metrics.gradient_maxima import as_partial

P = ParamSpec("P")
R = TypeVar("R")


def measure(*static: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Jits a measure and checks what it is given; other weights compile nothing.

    The first argument is a net, `[B, H, W, C] -> [B, K]`, or one that returns its
    layers; the second, its images. Weights that lie in a `jax.tree_util.Partial` are
    traced, and `vmap` over them is the seed axis.

    Args:
      *static: names of the arguments that are no arrays.

    Returns:
      A decorator. What it makes raises ValueError for images, labels, counts or a
      group that cannot be.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        program = compilation.quick(function, static_argnames=static)
        signature = inspect.signature(function)

        @functools.wraps(function)
        def run(*arguments: P.args, **options: P.kwargs) -> R:
            bound = signature.bind(*arguments, **options)
            bound.apply_defaults()
            values = dict(bound.arguments)
            net = next(iter(values))
            values[net] = as_partial(values[net])
            with jax.default_matmul_precision("highest"):  # no tf32 in such a number
                _check(function.__name__, values)
                return program(**values)

        return run

    return decorate


@compilation.quick
def evaluate(net: Partial, images: Array) -> Any:
    """`net(images)`, traced once a shape however often a program asks for it."""
    return net(images)


def check_turns(name: str, images: Array, group: Group) -> None:
    """Raises ValueError, with `name`, if the group cannot turn `[B, H, W, C]`."""
    height, width = images.shape[1:3]
    if group.swaps_axes and height != width:
        raise ValueError(
            f"{name}: images of {height}x{width} pixels have no quarter turn: give "
            "square ones, or group=C2."
        )


def _check(name: str, values: dict[str, Any]) -> None:
    images = values["images"]
    labels = values.get("labels", np.zeros(len(images), np.int32))
    check(images, labels, values.get("threat", Linf(0.0)))
    if "logits_fn" in values:
        check_classes(Partial(evaluate, values["logits_fn"]), images, labels)
    group = values.get("group")
    if isinstance(group, Group):
        check_turns(name, images, group)
    for count in ("samples", "chunk", "steps", "restarts"):
        if values.get(count, 1) < 1:
            raise ValueError(f"{name}: {count}={values[count]}: expected 1 or more.")
