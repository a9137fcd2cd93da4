"""The nets of the paper, as Flax modules and as plain callables.

model = models.build("parallel_rs", depth=10, classes=10)
variables = model.init(key, images, train=False)
logits = models.logits_fn(model, variables)(images)      # [B, H, W, C] to [B, K]
"""

import dataclasses
import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array
from jax.tree_util import Partial

from symjax import groups
from symjax.models.equivariant import READOUTS, Equivariant
from symjax.models.matched import BRANCHES, Baseline, Cascaded, Parallel
from symjax.models.net import Net
from symjax.models.published import (
    PublishedCascaded,
    PublishedParallelRot,
    PublishedParallelScales,
    PublishedWeighted,
)
from symjax.nn import kernels
from symjax.nn.convolution import LOWERINGS, default_lowering
from symjax.nn.kernels import BASES, default_basis

Recipe = tuple[Callable[..., Net], Mapping[int, str]]

MATCHED_TRUNK = {
    4: "P 64 P 128 P 256",
    10: "32 P 64 64 P 128 128 P 256 256 256 256",
}
EQUIVARIANT_TRUNK = {
    4: "16 P 32 P 64 P 128",
    10: "16 16 P 32 32 P 64 64 P 128 128 128 128",
}
RS_TRUNK = "P 32 32 P 64 128 128 256 256 512"

MATCHED: dict[str, Recipe] = {
    "baseline": (Baseline, MATCHED_TRUNK),
    "parallel_rot": (
        functools.partial(Parallel, branches=("standard", "rotation")),
        MATCHED_TRUNK,
    ),
    "parallel_scale": (
        functools.partial(Parallel, branches=("standard", "scale")),
        MATCHED_TRUNK,
    ),
    "parallel_rs": (Parallel, MATCHED_TRUNK),
    "weighted": (functools.partial(Parallel, fusion="weighted"), MATCHED_TRUNK),
    "cascaded": (Cascaded, MATCHED_TRUNK),
    "equivariant": (Equivariant, EQUIVARIANT_TRUNK),
}


def _published(trunk: str, depth_4: str = MATCHED_TRUNK[4]) -> dict[int, str]:
    """The trunks by depth; 4-layer nets, not published, have the matched trunk."""
    return {4: depth_4, 10: trunk}


PUBLISHED: dict[str, Recipe] = {
    "baseline": (
        functools.partial(Baseline, features=16),
        _published("P 32 P 32 64 P 64 128 P 128 256 P 256 256"),
    ),
    "parallel_rot": (
        PublishedParallelRot,
        _published("P 32 32 64 P 64 128 P 128 256 256 512"),
    ),
    "parallel_scale": (
        functools.partial(PublishedParallelScales, rotation=False),
        _published(RS_TRUNK),
    ),
    "parallel_rs": (PublishedParallelScales, _published(RS_TRUNK)),
    "weighted": (PublishedWeighted, _published("P 32 32 64 128 256 256 512 512")),
    "cascaded": (PublishedCascaded, _published("P 64 128 P 128 256 P 256 512 512")),
    "equivariant": (
        Equivariant,
        _published(
            "16 32 P 32 64 P 64 64 P 128 128 128 256", depth_4=EQUIVARIANT_TRUNK[4]
        ),
    ),
}

TRUNKS = {"matched": MATCHED, "published": PUBLISHED}
TRUNK_VERSIONS = {"matched": 1, "published": 2}
"""Versions of the trunks, which runs record. A version is increased when existing
parameters would give another net. 2: the kernels have e2cnn's scale, and `weighted` has
a batch norm in its standard branch."""
PUBLISHED_GROUP = {"parallel_rs": "C8", "equivariant": "C8"}  # C4 for the others
PUBLISHED_BASIS = "steerable"
MODELS = tuple(MATCHED)
DEPTHS = (4, 10)


def build(
    name: str,
    depth: int,
    classes: int,
    trunk: str = "matched",
    width: float = 1.0,
    group: groups.Group | str = "",
    basis: str = "",
    readout: str = "",
    order: tuple[str, ...] = (),
    mean: tuple[float, ...] = (0.5,),
    std: tuple[float, ...] = (0.5,),
    dtype: str = "float32",
    lowering: str = "",
) -> Net:
    """Builds a net of the paper.

    Args:
      name: one of `MODELS`.
      depth: 4 or 10 convolutional layers, without the 1x1 convolution of the fusion.
      classes: the number of classes, K.
      trunk: "matched": all nets except `equivariant` differ only in their first layer.
        "published": the net as published, with the initialization of PyTorch and the
        scale of steerable kernels of e2cnn; the 4-layer nets are not published and have
        the matched trunk.
      width: factor on every number of channels.
      group: group of the rotation layers, such as groups.C8, "C8" or "D4". If empty, it
        is C4; for the published `parallel_rs` and `equivariant`, it is C8.
      basis: basis of the rotation layers' kernels, one of `symjax.nn.kernels.BASES`. If
        empty, it is the default of the group; for the published trunk, "steerable".
      readout: "invariant" or "flatten", for `equivariant` only. If empty, it is
        "invariant" for the matched trunk, and "flatten" for the published one.
      order: the order of the layers, for the matched `cascaded` only. If empty, it is
        standard, rotation, scale.
      mean, std: normalization of [0, 1] images, one value or one per channel.
      dtype: dtype of the computation, "float32" or "bfloat16".
      lowering: lowering of the convolutions, see `symjax.nn.convolution`. If empty, it
        is the fastest one on the current backend.

    Returns:
      A Flax module, with `init(key, images, train=False)` and `apply(...)`.

    Raises:
      ValueError: for an unknown name, depth, trunk, group or option.
    """
    _expect("net", name, MODELS)
    _expect("trunk", trunk, TRUNKS)
    _expect("depth", depth, DEPTHS)
    published = trunk == "published"
    group = group or (PUBLISHED_GROUP.get(name, "C4") if published else "C4")
    chosen = groups.as_group(group)
    basis = basis or (PUBLISHED_BASIS if published else default_basis(chosen))
    _expect("basis", basis, BASES)
    kernels.check(basis, chosen, (3, 3))
    _expect("dtype", dtype, ("float32", "bfloat16"))
    lowering = lowering or default_lowering()
    _expect("lowering", lowering, LOWERINGS)
    for values in (mean, std):
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(
                f"mean={mean!r}, std={std!r}: expected one value, or one per channel, "
                "in a tuple such as (0.5,)."
            )
    make, layout = TRUNKS[trunk][name]
    options: dict[str, Any] = {}
    if name == "equivariant":
        options["readout"] = readout or ("flatten" if published else "invariant")
        _expect("readout", options["readout"], READOUTS)
    elif readout:
        raise ValueError(
            f"readout={readout!r} is for the equivariant net, not {name}: leave it out."
        )
    if order:
        order = (order,) if isinstance(order, str) else tuple(order)
        if (name, trunk) != ("cascaded", "matched"):
            raise ValueError(
                f"order={order} is for the matched cascaded net, not {trunk} {name}: "
                "leave it out."
            )
        if len(set(order)) < len(order):
            raise ValueError(
                f"order={tuple(order)}: expected every layer at most once, of "
                f"{list(BRANCHES)}."
            )
        for layer in order:
            _expect("layer", layer, BRANCHES)
        options["order"] = order
    return make(
        trunk=layout[depth],
        classes=classes,
        width=width,
        mean=tuple(mean),
        std=tuple(std),
        group=chosen,
        basis=basis,
        dtype=jnp.dtype(dtype),
        lowering=lowering,
        published=published,
        **options,
    )


def _expect(what: str, value: Any, known: Any) -> None:
    if value in known:
        return
    near = difflib.get_close_matches(str(value), [str(k) for k in known], 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what} {value!r}: expected one of {list(known)}.{hint}")


@dataclasses.dataclass(frozen=True)
class _Apply:
    """The net in evaluation mode; equal nets compare equal and share programs."""

    model: linen.Module

    def __call__(self, variables: Any, images: Array) -> Array:
        return self.model.apply(variables, images, train=False)  # pyright: ignore


@dataclasses.dataclass(frozen=True)
class _ApplyTraining(_Apply):
    def __call__(self, variables: Any, images: Array) -> tuple[Array, Any]:
        logits: Any
        logits, updated = self.model.apply(
            variables, images, train=True, mutable=["batch_stats"]
        )
        return logits, updated["batch_stats"]


@dataclasses.dataclass(frozen=True)
class _ApplyLayers(_Apply):
    def __call__(self, variables: Any, images: Array) -> dict[str, Array]:
        state: Any
        _, state = self.model.apply(
            variables,
            images,
            train=False,
            capture_intermediates=lambda module, _: len(module.path) == 1,
            mutable="intermediates",
        )
        kept = state["intermediates"].items()
        return {name: outputs["__call__"][0] for name, outputs in kept}


def logits_fn(model: linen.Module, variables: Any) -> Partial:
    """The net as a callable `[B, H, W, C] -> [B, K]`, with running averages.

    Batch norm uses the running averages. The variables are leaves of a pytree, so that
    they are traced: another checkpoint of the same net needs no new compilation, and
    `vmap` over the leaves is the seed axis.
    """
    return Partial(_Apply(model), variables)


def training_fn(model: linen.Module, variables: Any) -> Partial:
    """The net as a callable in training mode: batch norm uses the batch's statistics.

    The callable returns the logits `[B, K]` and the updated running averages. The
    logits of an image depend on the batch.
    """
    return Partial(_ApplyTraining(model), variables)


def layers_fn(model: linen.Module, variables: Any) -> Partial:
    """The net as a callable that returns a dict of the outputs of all layers, by name.

    A layer is a direct submodule of the net, such as "block_1". Its output is
    `[B, H, W, G, C]` or `[B, H, W, C]`; the output of "head" is the logits `[B, K]`.
    """
    return Partial(_ApplyLayers(model), variables)


def parameter_count(model: linen.Module, image_shape: tuple[int, int, int]) -> int:
    """The number of trained parameters, for images of shape `(H, W, C)`."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
