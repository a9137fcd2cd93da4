"""The cost of a net: parameters, operations, memory, speed (paper, Appendix B).

    result = cost(logits_fn, images)
    result.parameters.expanded, result.forward.flops           # per image
    throughput(lambda: program(logits_fn, images), len(images))       # images/s

Counts are a property of the net as it is written; speeds depend on the machine as well.
Appendix B of the paper: "The computational trade-offs of group convolutions remain
unquantified".
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
    """The numbers of parameters of a net.

    Attributes:
      free: the number of trained parameters.
      expanded: the number of parameters of the plain net that computes the same. The
        parameters of a symmetric net form a linear subspace of them: a kernel counts
        once for each group element and each scale, a norm once for each group element.
    """

    free: int
    expanded: int


class Cost(NamedTuple):
    """The cost of a net; the operations are for one image.

    Attributes:
      parameters: numbers of parameters; None if the callable applies no Flax module.
      forward: operations of the logits. Its `product_bytes` are the activations as
        counted by Radosavovic et al.: the results of convolutions and matrix products.
      attack_step: operations of a step of PGD in linf: logits, gradient, update, and
        the comparison with the best image.
    """

    parameters: Parameters | None
    forward: Operations
    attack_step: Operations


def cost(logits_fn: LogitsFn, images: Any) -> Cost:
    """Counts the parameters and operations of a net, without running it.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`, pure; shapes and dtypes are enough for its
        weights.
      images: `[B, H, W, C]`, or their shape and dtype.

    Raises:
      ValueError: if the net does not map images to logits, or has a loop whose number
        of iterations is known only when it runs.

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
    """Counts free and expanded parameters; running averages are not counted.

    Args:
      logits_fn: a callable that applies one Flax module and is not jitted.
      images: `[B, H, W, C]`, or their shape and dtype.

    Returns:
      `Parameters`, or None if no Flax module is applied.
    """
    sizes: dict[tuple[str, ...], tuple[int, int]] = {}

    def record(call, arguments, options, context):
        module = context.module
        if context.method_name == "__call__" and module.path not in sizes:
            params = module.variables.get("params", {})
            own = {name: x for name, x in params.items() if not hasattr(x, "items")}
            sizes[module.path] = _size(own), _expanded(module, own, arguments)
        return call(*arguments, **options)

    with linen.intercept_methods(record):
        net = as_partial(logits_fn)  # a new function, so that it is traced again
        jax.eval_shape(lambda net, images: net(images), net, images)
    if not sizes:
        return None
    return Parameters(*map(sum, zip(*sizes.values(), strict=True)))


def throughput(call: Callable[[], Any], items: int, repeats: int = 5) -> float:
    """The number of items per second, from the median time of several calls.

    Args:
      call: the function that is timed until its results are ready. It is called once
        before, to compile.
      items: the number of items, such as images, that one call processes.
      repeats: the number of calls that are timed.

    Raises:
      ValueError: if `items` or `repeats` is not positive.
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
    """The number of parameters of the plain net for a module's own parameters."""
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
