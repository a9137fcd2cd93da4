"""What every attack and metric requires of its arguments, checked in one place.

    given = prepare("pgd", logits_fn, images, labels, key, threat)
    given.net, given.images, given.classes

Values that are known only inside of a compiled program are checked while it runs, see
`entry`.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax import nets
from symjax.attacks.threat import NORMS, Linf, ThreatModel, host_lengths
from symjax.seeds import as_key


class Inputs(NamedTuple):
    """Arguments that are checked and converted.

    Attributes:
      net: `logits_fn` as a pytree; its logits have the images' dtype.
      images: `[B, H, W, C]`, float32 or float64.
      labels: `[B]`, int32.
      key: a typed key, `[S]` of them, or None where there is none.
      threat: eps and bounds are arrays in the images' dtype.
      classes: K.
    """

    net: Partial
    images: Array
    labels: Array
    key: Any
    threat: ThreatModel
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
    needs_key: bool = True,
    seeds: bool = False,
) -> Inputs:
    """Checks the arguments of an attack or a metric, and converts them.

    Args:
      name: of the attack or metric, for the messages.
      logits_fn: `[B, H, W, C] -> [B, K]`; with `randomized`, `(images, key) -> [B, K]`.
      images: `[B, H, W, C]`, floats within the bounds. float16 and bfloat16 are
        converted to float32; float64 is kept where `jax_enable_x64` is set.
      labels: `[B]`, integers in [0, K); None where there are none.
      key: a random key, typed or legacy.
      threat: ball and bounds; None: any image in [0, 1].
      norms: those that the attack is defined for.
      one_radius: whether eps has to be a single number.
      infinite_eps: whether eps may be infinite.
      randomized: whether `logits_fn` takes a key as well.
      needs_key: whether `key` must be given.
      seeds: whether `[S]` keys are allowed, with a leading axis S on the leaves of
        `logits_fn`.

    Returns:
      The `Inputs`. Values that are known only inside of a program are not checked.

    Raises:
      ValueError: if an argument is not as described, with the value and the remedy.
    """
    images = as_images(images)
    threat = _threat(name, threat, images, norms, one_radius, infinite_eps)
    if key is not None or needs_key:
        key = as_key(key)
    axis = None
    if key is not None and key.ndim:
        if not seeds or key.ndim > 1:
            raise ValueError(f"{name}: key of shape {key.shape}: expected one key.")
        axis = len(key)
    net, classes = _net(name, logits_fn, images, randomized, axis)
    labels = (
        jnp.zeros(len(images), jnp.int32)
        if labels is None
        else as_classes("labels", labels, len(images))
    )
    check_values(classes, images, labels, threat)
    return Inputs(net, images, labels, key, threat, classes)


def check_values(
    classes: int,
    images: Any,
    labels: Any,
    threat: ThreatModel,
    targets: Any = None,
    step_size: Any = None,
) -> None:
    """Refuses values with which no result can be right; known values only.

    Args:
      classes: K.
      images: `[B, H, W, C]`.
      labels: `[B]`.
      threat: ball and bounds.
      targets: `[B]`, or None.
      step_size: a scalar or `[C]`, or None.

    Raises:
      ValueError: for images that are not finite or leave the bounds; labels or targets
        outside of [0, K); a target that is the label; a step size that is not positive
        and finite.
    """
    if not nets.is_traced(images, threat.bounds):
        _check_pixels(np.asarray(images, np.float64), threat)
    for name, values in (("labels", labels), ("targets", targets)):
        if values is not None and not nets.is_traced(values):
            _check_classes(name, np.asarray(values), classes)
    if targets is not None and not nets.is_traced(labels, targets):
        same = np.flatnonzero(np.asarray(labels) == np.asarray(targets))
        if len(same):
            raise ValueError(
                f"targets: the target of image {same[0]} is its label, "
                f"{np.asarray(labels).flat[same[0]]}: expected a wrong class."
            )
    if step_size is not None and not nets.is_traced(step_size):
        steps = np.asarray(step_size, np.float64)
        if not (np.isfinite(steps) & (steps > 0)).all():
            raise ValueError(
                f"step_size={shown(step_size)}: expected pixel units, positive and "
                "finite."
            )


def check_finite(finite: Any) -> None:
    """Refuses a net whose logits are not finite numbers.

    Args:
      finite: `[B]`, whether all logits of each clean image are finite; of several
        nets, `[S, B]`.

    Raises:
      ValueError: if those of one image are not.
    """
    finite = np.asarray(finite)
    bad = np.argwhere(~finite)
    if len(bad):
        net = f" of net {bad[0][0]}" if bad.shape[1] > 1 else ""
        raise ValueError(
            f"logits_fn: the logits{net} of image {bad[0][-1]} are NaN or infinite "
            f"({len(bad)} of {finite.size} in all): no robustness can be measured. "
            "Leave out a net that diverged in training, or look for an overflow in its "
            "layers."
        )


def one_number(name: str, threat: ThreatModel) -> None:
    """Refuses one eps for each channel, for attacks that are not defined for it.

    Raises:
      ValueError: if eps is not a scalar.
    """
    if np.ndim(threat.eps) > 0:
        raise ValueError(
            f"{name}: eps of shape {np.shape(threat.eps)}: expected one number; fgsm "
            "and pgd take one for each channel."
        )


def too_wide(threat: ThreatModel, shape: tuple[int, ...]) -> str | None:
    """A warning, if a finite eps is above the distance of any two valid images.

    Args:
      threat: ball and bounds, with known values.
      shape: of an image, `(H, W, C)`.
    """
    low, high = (np.asarray(bound, np.float64) for bound in threat.bounds)
    whole = np.broadcast_to(high - low, shape)[None]
    longest = float(host_lengths(whole, threat.norm)[0])
    eps = float(np.max(threat.eps))
    if not longest < eps < np.inf:
        return None
    return (
        f"eps={eps:g} in {threat.norm} is more than the distance {longest:g} between "
        f"any two images within the bounds {shown(threat.bounds)}: did you mean "
        f"{eps:g}/255?"
    )


def as_images(images: Any) -> Array:
    if not hasattr(images, "dtype") or not hasattr(images, "shape"):
        raise ValueError(
            f"images: a {type(images).__name__}: expected an array [B, H, W, C], as of "
            "jnp.asarray(images)."
        )
    shape = images.shape
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"images of shape {shape}: expected [B, H, W, C], not empty.")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images of dtype {images.dtype}: expected floats in the bounds; uint8 "
            "images are divided by 255 first."
        )
    if images.dtype.itemsize < 4:
        return jnp.asarray(images, jnp.float32)
    return jnp.asarray(images)


def as_classes(name: str, values: Any, count: int) -> Array:
    if not hasattr(values, "dtype"):
        raise ValueError(
            f"{name}: a {type(values).__name__}: expected an array of {count} "
            "integers, as of jnp.asarray."
        )
    shape, dtype = np.shape(values), values.dtype
    if shape != (count,) or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"{name} of shape {shape} and dtype {dtype}: expected {count} integers, "
            "one for each image."
        )
    if not nets.is_traced(values):  # before a narrower type changes them
        values = np.clip(np.asarray(values), -1, np.iinfo(np.int32).max)
    return jnp.asarray(values, jnp.int32)


def _check_classes(name: str, values: np.ndarray, classes: int) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"{name} from {low} to {high}: the net has {classes} classes; expected "
            f"integers from 0 to {classes - 1}."
        )


def _threat(
    name: str,
    threat: Any,
    images: Array,
    norms: tuple[str, ...],
    one_radius: bool,
    infinite_eps: bool,
) -> ThreatModel:
    threat = Linf(0.0) if threat is None else threat
    if not isinstance(threat, ThreatModel):
        raise ValueError(
            f"{name}: threat={shown(threat)}: expected a ThreatModel, such as "
            "attacks.Linf(8 / 255)."
        )
    if threat.norm not in norms:
        raise ValueError(
            f"{name}: norm={threat.norm!r}: expected {' or '.join(map(repr, norms))}; "
            "fab finds minimum distances in all norms."
        )
    if not isinstance(threat.bounds, (tuple, list)) or len(threat.bounds) != 2:
        raise ValueError(
            f"{name}: bounds={shown(threat.bounds)}: expected the lowest and the "
            "highest valid pixel, such as (0.0, 1.0)."
        )
    channels, dtype = images.shape[-1], images.dtype
    low, high = (
        _one_or_each("bounds", bound, channels, dtype) for bound in threat.bounds
    )
    eps = _one_or_each("eps", threat.eps, channels, dtype)
    if one_radius:
        one_number(name, threat)
    threat = threat.replace(eps=eps, bounds=(low, high))
    if not nets.is_traced(low, high):
        check_bounds((low, high))
    if not nets.is_traced(eps):
        check_radius(eps, infinite_eps)
    if not nets.is_traced(threat) and (warning := too_wide(threat, images.shape[1:])):
        warnings.warn(warning, stacklevel=4)
    return threat


def _one_or_each(name: str, value: Any, channels: int, dtype: Any) -> Any:
    """A scalar or `[C]` in the images' dtype."""
    array = jnp.asarray(value) if nets.is_traced(value) else np.asarray(value)
    if not (
        jnp.issubdtype(array.dtype, jnp.floating)
        or jnp.issubdtype(array.dtype, jnp.integer)
    ):
        raise ValueError(f"{name}={shown(value)}: expected a number, in pixel units.")
    if array.ndim > 1 or array.shape not in ((), (channels,)):
        raise ValueError(
            f"{name} of shape {array.shape}: expected one number, or one for each of "
            f"the {channels} channels."
        )
    return array.astype(dtype)


def check_radius(eps: Any, infinite: bool) -> None:
    if not np.all(np.asarray(eps) >= 0):
        raise ValueError(
            f"eps={shown(eps)}: expected a radius that is a number and not negative."
        )
    if not infinite and not np.isfinite(eps).all():
        raise ValueError(
            f"eps={shown(eps)}: expected a finite radius; fab, deepfool and "
            "carlini_wagner find distances without one."
        )


def check_bounds(bounds: Any) -> None:
    low, high = (np.asarray(bound, np.float64) for bound in bounds)
    if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        raise ValueError(
            f"bounds={shown(bounds)}: expected finite numbers, the lowest valid pixel "
            "below the highest."
        )


def _check_pixels(images: np.ndarray, threat: ThreatModel) -> None:
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        raise ValueError(f"image {bad[0]} has pixels that are not finite numbers.")
    low, high = (np.asarray(bound, np.float64) for bound in threat.bounds)
    rounding = threat.rounding(images)
    if ((images < low - rounding) | (images > high + rounding)).any():
        raise ValueError(
            f"pixels from {images.min():.4g} to {images.max():.4g} leave the bounds "
            f"{shown(threat.bounds)}: give images in them, and let the net normalize."
        )


def _net(name, logits_fn, images, randomized, seeds) -> tuple[Partial, int]:
    """The net as a pytree, and its number of classes."""
    if not callable(logits_fn):
        raise ValueError(
            f"{name}: logits_fn={shown(logits_fn)}: expected a function of images "
            "[B, H, W, C] that returns logits [B, K]."
        )
    inputs = (images, jax.random.key(0)) if randomized else (images,)
    try:
        if nets.is_traced(logits_fn, images):
            net = nets.as_partial(logits_fn)
            outputs = jax.eval_shape(lambda *x: net(*x), *inputs)
        else:
            net = nets.hoist(logits_fn, *inputs, seeds=seeds)
            outputs = nets.outputs(net, *inputs, seeds=seeds)
    except jax.errors.TracerArrayConversionError as error:
        raise ValueError(
            f"{name}: logits_fn converts its images to NumPy arrays and cannot be "
            "traced by JAX: call such a net through jax.pure_callback, and attack it "
            "with square, which needs no gradients."
        ) from error
    classes = check_logits(name, outputs, len(images))
    if outputs.dtype != images.dtype:
        net = Partial(_in_dtype_of_images, net)
    return net, classes


def _in_dtype_of_images(net: Partial, images: Array, *key: Array) -> Array:
    return net(images, *key).astype(images.dtype)


def check_logits(name: str, outputs: Any, count: int) -> int:
    if not isinstance(outputs, jax.ShapeDtypeStruct):
        kind = type(outputs).__name__
        raise ValueError(
            f"{name}: logits_fn returns a {kind}: expected one array of logits [B, K]; "
            "select them, as in lambda x: net(x)[0]."
        )
    shape = outputs.shape
    if len(shape) != 2 or shape[0] != count or shape[1] < 2:
        one = " A net with one logit z has the two logits (0, z)." * (
            shape in ((count,), (count, 1))
        )
        raise ValueError(
            f"{name}: logits_fn maps {count} images to {shape}: expected [B, K] = "
            f"({count}, K) with two classes or more.{one}"
        )
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ValueError(
            f"{name}: logits_fn returns {outputs.dtype}: expected floating logits, not "
            "classes."
        )
    return shape[1]


def shown(value: Any) -> str:
    """A value as an error shows it: short, and arrays as lists."""

    def plain(x):
        return np.asarray(x).tolist() if hasattr(x, "dtype") else x

    if isinstance(value, (tuple, list)):
        value = tuple(plain(x) for x in value)
    text = repr(plain(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
