"""Checks and conversions of the arguments that all attacks and metrics share.

given = prepare("pgd", logits_fn, images, labels, key, threat)
given.net, given.images, given.classes
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax import nets
from symjax.attacks.checks import (
    check_classes,
    check_logits,
    check_pixels,
    check_threat,
    one_number,
    shown,
)
from symjax.attacks.threat import NORMS, Linf, ThreatModel
from symjax.seeds import as_key

OPTIONAL = ("key", "threat")
"""The arguments that most metrics do not need."""


class Inputs(NamedTuple):
    """The checked and converted arguments."""

    net: Partial  # its logits have the images' dtype
    images: Array  # [B, H, W, C], float32 or float64
    labels: Array  # [B], int32
    key: Any  # a typed key, [S] keys, or None
    threat: ThreatModel  # eps and bounds are arrays in the images' dtype
    classes: int


def prepare(
    name: str,
    logits_fn: Callable[..., Array],
    images: Any,
    labels: Any = None,
    key: Any = None,
    threat: ThreatModel | None = None,
    *,
    norms: tuple[str, ...] = NORMS,
    one_radius: bool = False,
    infinite_eps: bool = False,
    randomized: bool = False,
    optional: tuple[str, ...] = (),
    seeds: bool = False,
) -> Inputs:
    """Checks the arguments of an attack or a metric, and converts them.

    float16 and bfloat16 images are converted to float32; float64 is kept where
    `jax_enable_x64` is set. Traced values are not checked, see `entry`.

    Args:
      name: name of the attack or metric, for the messages.
      logits_fn, images, labels, key, threat: see `symjax.attacks`.
      norms: the norms that the attack is defined for.
      one_radius: whether eps must be a single number.
      infinite_eps: whether eps may be infinite.
      randomized: whether `logits_fn` takes a key as well.
      optional: the arguments among "labels", "key" and "threat" that may be None.
        Without a threat, images must be in [0, 1].
      seeds: whether `[S]` keys are allowed, with a leading axis S on the leaves of
        `logits_fn`.

    Raises:
      ValueError: if an argument is not as described.
    """
    images = as_images(images)
    if threat is None and "threat" in optional:
        threat = Linf(0.0)
    threat = _threat(name, threat, images, norms, one_radius)
    check_threat(threat, images.shape[1:], infinite_eps)
    if key is not None or "key" not in optional:
        key = as_key(key)
    axis = None
    if key is not None and key.ndim:
        if not seeds or key.ndim > 1:
            raise ValueError(f"{name}: key of shape {key.shape}: expected one key.")
        axis = len(key)
    check_pixels(images, threat)
    net, classes = _net(name, logits_fn, images, randomized, axis)
    if labels is None and "labels" in optional:
        labels = np.zeros(len(images), np.int32)
    labels = as_classes("labels", labels, len(images), classes)
    return Inputs(net, images, labels, key, threat, classes)


def as_images(images: Any) -> Array:
    """Images as float32 or float64 `[B, H, W, C]`; ValueError for anything else."""
    if not isinstance(images, (np.ndarray, Array)):
        raise ValueError(
            f"images: a {type(images).__name__}: expected an array [B, H, W, C], such "
            "as jnp.asarray(images)."
        )
    shape = images.shape
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"images of shape {shape}: expected [B, H, W, C], not empty.")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images of dtype {images.dtype}: expected floats within the bounds; "
            "divide uint8 images by 255 first."
        )
    if images.dtype.itemsize < 4:
        return jnp.asarray(images, jnp.float32)
    return jnp.asarray(images)


def as_classes(name: str, values: Any, count: int, classes: int) -> Array:
    """Labels or targets as int32 `[B]`; ValueError if they are not in [0, K)."""
    if not isinstance(values, (np.ndarray, Array)):
        raise ValueError(
            f"{name}: a {type(values).__name__}: expected an array of {count} "
            f"integers, such as jnp.asarray({name})."
        )
    shape, dtype = np.shape(values), values.dtype
    if shape != (count,) or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"{name} of shape {shape} and dtype {dtype}: expected {count} integers, "
            "one for each image."
        )
    check_classes(name, values, classes)  # before the conversion to a narrower type
    return jnp.asarray(values, jnp.int32)


def _threat(name, threat, images, norms, one_radius) -> ThreatModel:
    """The threat model with eps and bounds as arrays of an allowed shape."""
    if not isinstance(threat, ThreatModel):
        raise ValueError(
            f"{name}: threat={shown(threat)}: expected a ThreatModel, such as "
            "attacks.Linf(8 / 255)."
        )
    if threat.norm not in norms:
        raise ValueError(
            f"{name}: norm={threat.norm!r}: expected {' or '.join(map(repr, norms))}; "
            "fab computes minimum distances in all norms."
        )
    if not isinstance(threat.bounds, (tuple, list)) or len(threat.bounds) != 2:
        raise ValueError(
            f"{name}: bounds={shown(threat.bounds)}: expected the lowest and the "
            "highest valid pixel, such as (0.0, 1.0)."
        )
    channels, dtype = images.shape[-1], images.dtype
    low, high = (
        one_or_each("bounds", bound, channels, dtype) for bound in threat.bounds
    )
    eps = one_or_each("eps", threat.eps, channels, dtype)
    if one_radius:
        one_number(name, threat)
    return threat.replace(eps=eps, bounds=(low, high))


def one_or_each(name: str, value: Any, channels: int, dtype: Any) -> Any:
    """A scalar or `[C]` in the images' dtype; ValueError for anything else."""
    array = jnp.asarray(value) if nets.is_traced(value) else np.asarray(value)
    kinds = jnp.floating, jnp.integer
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        raise ValueError(f"{name}={shown(value)}: expected a number, in pixel units.")
    if array.ndim > 1 or array.shape not in ((), (channels,)):
        raise ValueError(
            f"{name} of shape {array.shape}: expected one number, or one for each of "
            f"the {channels} channels."
        )
    return array.astype(dtype)


def _net(name, logits_fn, images, randomized, seeds) -> tuple[Partial, int]:
    """The net as a pytree, and the number of its classes."""
    if not callable(logits_fn):
        raise ValueError(
            f"{name}: logits_fn={shown(logits_fn)}: expected a function of images "
            "[B, H, W, C] that returns logits [B, K]."
        )
    inputs = (images, jax.random.key(0)) if randomized else (images,)
    if seeds is not None:
        _check_seeds(name, logits_fn, seeds)
    try:
        if nets.is_traced(logits_fn, images):
            net = nets.as_partial(logits_fn)
            outputs = jax.eval_shape(lambda *x: net(*x), *inputs)
        else:
            net = nets.hoist(logits_fn, *inputs, seeds=seeds)
            outputs = nets.outputs(net, *inputs, seeds=seeds)
    except Exception as error:
        if not (reason := _why_not_traced(error, randomized, images)):
            raise
        raise ValueError(f"{name}: logits_fn {reason}") from error
    classes = check_logits(name, outputs, len(images))
    if outputs.dtype != images.dtype:
        net = Partial(_in_dtype_of_images, net)
    return net, classes


def _check_seeds(name: str, logits_fn: Any, seeds: int) -> None:
    leaves = jax.tree.leaves(logits_fn) if isinstance(logits_fn, Partial) else []
    for leaf in leaves:
        if np.shape(leaf)[:1] != (seeds,):
            raise ValueError(
                f"{name}: {seeds} keys, but a leaf of logits_fn of shape "
                f"{np.shape(leaf)}: expected a leading axis of {seeds} nets on every "
                "leaf, or one key for one net."
            )


def _why_not_traced(error: Exception, randomized: bool, images: Array) -> str:
    """The reason why JAX cannot trace a net, and the remedy; empty if unknown."""
    text = str(error)
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return (
            "converts its images to NumPy arrays and cannot be traced by JAX: call "
            "such a net through jax.pure_callback, and attack it with square, which "
            "needs no gradients."
        )
    if "trace level" in text:
        return (
            "changes its own state, as batch norm and dropout do in training: call "
            "model.eval() before."
        )
    if isinstance(error, TypeError) and "positional argument" in text:
        given = "(images, key)" if randomized else "(images)"
        return (
            f"cannot be called with {given}: {text}. A net takes a key only with "
            'eot_iter of 1 or more, or with version="rand".'
        )
    if isinstance(error, TypeError) and "same dtypes" in text:
        return (
            f"does not accept images of dtype {images.dtype}, the dtype of the attack: "
            "convert them inside, as in lambda x: net(x.astype(jnp.bfloat16))."
        )
    return ""


def _in_dtype_of_images(net: Partial, images: Array, *key: Array) -> Array:
    return net(images, *key).astype(images.dtype)
