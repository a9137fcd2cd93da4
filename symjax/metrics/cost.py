"""What a net costs: parameters, operations, memory, speed (paper, Appendix B).

    found = cost(logits_fn, images)
    found.parameters.expanded, found.forward.flops             # of an image
    throughput(lambda: program(logits_fn, images), len(images))       # images a second

Counts are those of the net as it is written, and belong to it alone; speeds belong to
the machine as well. "The computational trade-offs of group convolutions remain
unquantified", says Appendix B.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from symjax import nn
from symjax.attacks import Linf, pgd
from symjax.attacks.checks import check_logits
from symjax.attacks.entry import unchecked
from symjax.attacks.result import LogitsFn
from symjax.metrics.operations import Operations, operations
from symjax.nets import as_partial


class Parameters(NamedTuple):
    """How large the space is in which a net is looked for.

    Attributes:
      free: numbers that training chooses.
      expanded: numbers of the plain net that computes the same, in which those of a
        symmetric net are a linear subspace: a kernel counts once for each element of
        its group and each scale that it is moved to, a norm once for each element.
    """

    free: int
    expanded: int


class Cost(NamedTuple):
    """Of one image, but for the parameters.

    Attributes:
      parameters: None where the callable applies no Flax module.
      forward: of the logits. Its `product_bytes` are the activations as Radosavovic et
        al. count them: the results of convolutions and matrix products.
      attack_step: of a step of PGD in linf: logits, gradient, move, and what is kept.
    """

    parameters: Parameters | None
    forward: Operations
    attack_step: Operations


def cost(logits_fn: LogitsFn, images: Any) -> Cost:
    """Counts what a net computes; runs nothing.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure; shapes and dtypes do for its weights.
      images: `[B, H, W, C]`, or their shape and dtype.

    Raises:
      ValueError: if the net does not map images to logits, or has a loop whose number
        of turns is known only when it runs.

    References:
      Radosavovic et al., Designing Network Design Spaces, CVPR 2020, Section 3.1.
    """
    image: Any = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    label, key = jax.eval_shape(lambda: (jnp.zeros(1, int), jax.random.key(0)))

    def forward(net, image, label):
        del label
        outputs = jax.eval_shape(net, image)
        check_logits("cost", outputs, len(image))
        return net(image)

    def attack(steps, net, image, label, key):
        return unchecked(pgd)(net, image, label, key, Linf(0.1), steps).images

    net = as_partial(logits_fn)
    work = net, image, label, key
    one, two = (operations(functools.partial(attack, steps), *work) for steps in (1, 2))
    step = Operations(*(more - less for more, less in zip(two, one, strict=True)))
    return Cost(parameters(net, image), operations(forward, *work[:3]), step)


def parameters(logits_fn: LogitsFn, images: Any) -> Parameters | None:
    """Free and expanded parameters; running averages are none.

    Args:
      logits_fn: applies one Flax module, and is not jitted.
      images: `[B, H, W, C]`, or their shape and dtype.

    Returns:
      `Parameters`; None where no Flax module is applied.
    """
    found: dict[tuple[str, ...], tuple[int, int]] = {}

    def note(call, arguments, options, context):
        module = context.module
        if context.method_name == "__call__" and module.path not in found:
            held = module.variables.get("params", {})
            own = {name: x for name, x in held.items() if not hasattr(x, "items")}
            found[module.path] = _size(own), _expanded(module, own, arguments)
        return call(*arguments, **options)

    with linen.intercept_methods(note):
        net = as_partial(logits_fn)  # of a new function, lest a trace be at hand
        jax.eval_shape(lambda net, images: net(images), net, images)
    if not found:
        return None
    return Parameters(*map(sum, zip(*found.values(), strict=True)))


def throughput(call: Callable[[], Any], items: int, repeats: int = 5) -> float:
    """Items a second: those of one call, over the median time of several.

    Args:
      call: what is timed, until its results are there; once more before, to compile.
      items: how many images, say, one call deals with.
      repeats: calls that are timed.

    Raises:
      ValueError: if there is nothing to time.
    """
    if items < 1 or repeats < 1:
        raise ValueError(f"items={items}, repeats={repeats}: expected 1 or more.")
    seconds = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return items / statistics.median(seconds[1:])


def _expanded(module: linen.Module, own: dict[str, Any], arguments: Any) -> int:
    """How many numbers stand in the plain net for a module's own parameters."""
    if isinstance(module, nn.Conv) and own:
        parent = module.parent
        shared = isinstance(parent, nn.ScaleConv) and parent.shared
        scales = len(parent.scales) if shared else 1  # pyright: ignore
        return scales * _size(jax.eval_shape(module.expand, own))
    if isinstance(module, nn.BatchNorm | linen.BatchNorm) and arguments[0].ndim == 5:
        return arguments[0].shape[3] * _size(own)
    return _size(own)


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
