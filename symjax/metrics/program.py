"""A decorator for metrics of a net: checks arguments, compiles, uses full precision.

@measure("group")                     # the static arguments
def jacobian_norms(logits_fn, images, group=C4): ...
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax import Array
from jax.tree_util import Partial

from symjax import compilation, nets
from symjax.attacks.checks import check_pixels
from symjax.attacks.entry import whole_number
from symjax.attacks.inputs import OPTIONAL, as_images, prepare
from symjax.attacks.threat import Linf
from symjax.groups import Group, as_group
from symjax.seeds import as_key

P = ParamSpec("P")
R = TypeVar("R")


def measure(*static: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compiles a metric, and checks its arguments.

    The first argument of the metric is a net, `[B, H, W, C] -> [B, K]`, or a net that
    returns its layers; the second one is the images. The arrays that the net reads are
    traced, see `nets.hoist`: other weights need no new compilation, and `vmap` over the
    leaves of a `Partial` is the seed axis.

    Args:
      *static: names of the arguments that are not arrays.

    Returns:
      A decorator. The decorated metric raises ValueError for invalid images, labels,
      counts or group.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        program = compilation.jit_fast_compile(function, static_argnames=static)
        signature = inspect.signature(function)

        @functools.wraps(function)
        def run(*arguments: P.args, **options: P.kwargs) -> R:
            bound = signature.bind(*arguments, **options)
            bound.apply_defaults()
            with jax.default_matmul_precision("highest"):  # no tf32 in a metric
                values = _checked(function.__name__, dict(bound.arguments))
                return program(**values)

        return run

    return decorate


@compilation.jit_fast_compile
def evaluate(net: Partial, images: Array) -> Any:
    """`net(images)`, traced once per shape even if a program calls it several times."""
    return net(images)


def check_rotations(name: str, images: Array, group: Group) -> None:
    """Raises ValueError, with `name`, if the group cannot rotate `[B, H, W, C]`."""
    height, width = images.shape[1:3]
    if group.transposes_axes and height != width:
        raise ValueError(
            f"{name}: images of {height}x{width} pixels cannot be rotated by 90 "
            "degrees: expected square images, or group=C2."
        )


def _checked(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The arguments, converted; see `inputs.prepare`."""
    net = next(iter(values))
    if net == "logits_fn":
        call = values[net], values["images"], values.get("labels"), None
        optional = "labels", *OPTIONAL
        given = prepare(name, *call, values.get("threat"), optional=optional)
        values |= {net: given.net, "images": given.images}
        for argument in {"labels", "threat"} & values.keys():
            values[argument] = getattr(given, argument)
        if "key" in values:
            values["key"] = as_key(values["key"])
    else:
        images = values["images"] = as_images(values["images"])
        check_pixels(images, Linf(0.0))
        values[net] = nets.hoist(values[net], images)
    if "group" in values:
        group = values["group"] = as_group(values["group"])
        check_rotations(name, values["images"], group)
    for count in ("samples", "chunk", "steps", "n_restarts"):
        if values.get(count) is not None:
            whole_number(name, count, values[count])
    return values
