"""The paper's nets, as Flax modules and as plain callables.

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
from symjax.models.baseline import Baseline
from symjax.models.cascaded import Cascaded
from symjax.models.equivariant import READOUTS, Equivariant
from symjax.models.net import Net
from symjax.models.parallel import BRANCHES, Parallel
from symjax.models.published import (
    PublishedCascaded,
    PublishedParallelRot,
    PublishedParallelScales,
    PublishedWeighted,
)
from symjax.nn import kernels, settings
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
    """The 4-layer nets are not published: the matched trunk follows the first layer."""
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
"""One more whenever parameters of before would be another net; runs record it. 2: the
kernels have e2cnn's scale, and `weighted` has a batch norm in its standard branch."""
PUBLISHED_GROUP = {"parallel_rs": "C8", "equivariant": "C8"}  # C4 of the others
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
      depth: 4 or 10 convolutional layers, the fusion's 1x1 not counted.
      classes: number of classes, K.
      trunk: "matched": the six nets that are not fully equivariant differ in their
        first layer alone. "published": each net as published, with the initialization
        and the scale of steerable kernels of PyTorch and e2cnn; its 4-layer nets are
        not published and take the matched trunk.
      width: factor on every number of channels.
      group: of the rotation layers, as in groups.C8, "C8" or "D4"; empty takes C4, or
        on the published trunk that of the published net, which is C8 for `parallel_rs`
        and `equivariant`.
      basis: of their kernels, one of `symjax.nn.kernels.BASES`; empty takes the group's
        default, or on the published trunk the published one, "steerable".
      readout: of `equivariant` alone: "invariant" or "flatten"; empty takes that of the
        trunk, invariant on the matched one and flattened as published on the other.
      order: of `cascaded` on the matched trunk alone; empty takes standard, rotation,
        scale.
      mean, std: normalisation of [0, 1] images, one value or one a channel.
      dtype: of the computation, "float32" or "bfloat16".
      lowering: of the convolutions, as in `symjax.nn.convolution`; empty takes the
        fastest on the backend in use.

    Returns:
      A Flax module; `init(key, images, train=False)` and `apply(...)` as ever.

    Raises:
      ValueError: for a name, depth, trunk, group or option that is not there.
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
    settings.whole("build", "classes", classes)
    settings.factor("build", "width", width)
    for values in (mean, std):
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(
                f"mean={mean!r}, std={std!r}: expected one value, or one a channel, in "
                "a tuple such as (0.5,)."
            )
    make, layout = TRUNKS[trunk][name]
    options: dict[str, Any] = {}
    if name == "equivariant":
        options["readout"] = readout or ("flatten" if published else "invariant")
        _expect("readout", options["readout"], READOUTS)
    elif readout:
        raise ValueError(f"readout={readout!r} is for the equivariant net, not {name}.")
    if order:
        order = (order,) if isinstance(order, str) else tuple(order)
        if (name, trunk) != ("cascaded", "matched"):
            raise ValueError(
                f"order={order} is for the matched cascaded net, not {trunk} {name}."
            )
        if len(set(order)) < len(order):
            raise ValueError(f"order={tuple(order)}: a layer stands in it twice.")
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
    """Compared by the module's value, so that an equal net compiles nothing again."""

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
    """The net as a callable `[B, H, W, C] -> [B, K]`, running averages in batch norm.

    Its variables are leaves of a pytree: they are traced, not baked in, so that another
    checkpoint of the same net compiles nothing, and `vmap` over it is the seed axis.
    """
    return Partial(_Apply(model), variables)


def training_fn(model: linen.Module, variables: Any) -> Partial:
    """As `logits_fn`, with the batch's statistics in batch norm, as in training.

    Its value is the logits `[B, K]` and the moved running averages: an image's logits
    depend on the batch.
    """
    return Partial(_ApplyTraining(model), variables)


def layers_fn(model: linen.Module, variables: Any) -> Partial:
    """As `logits_fn`, but a dict of the outputs of all layers, by name.

    A layer is a module that the net itself has, such as "block_1"; its output is
    `[B, H, W, G, C]`, `[B, H, W, C]` or, of "head", the logits `[B, K]`.
    """
    return Partial(_ApplyLayers(model), variables)


def parameter_count(model: linen.Module, image_shape: tuple[int, int, int]) -> int:
    """Number of trained parameters, for images `(H, W, C)`; computes nothing."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
