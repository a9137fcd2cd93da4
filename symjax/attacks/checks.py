"""Checks of the values of arguments, shared by the attacks and metrics.

    check_pixels(images, threat)

Each check raises a ValueError that names the value, what was expected and the remedy.
Traced values are not known and are not checked, see `entry`.
"""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax import nets
from symjax.attacks.threat import ThreatModel, host_lengths


def check_threat(
    threat: ThreatModel, shape: tuple[int, ...], infinite_eps: bool
) -> None:
    """Checks bounds and eps; warns of an eps above the distance of any two images.

    Args:
      threat: ball and bounds.
      shape: the shape of an image, `(H, W, C)`.
      infinite_eps: whether eps may be infinite.

    Raises:
      ValueError: for bounds that are not finite or not in ascending order, or an eps
        that is negative, NaN or infinite.
    """
    if not nets.is_traced(threat.bounds):
        low, high = (np.asarray(bound, np.float64) for bound in threat.bounds)
        if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
            raise ValueError(
                f"bounds={shown(threat.bounds)}: expected finite numbers, with the "
                "lowest valid pixel below the highest."
            )
    if nets.is_traced(threat.eps):
        return
    if not np.all(np.asarray(threat.eps) >= 0):
        raise ValueError(
            f"eps={shown(threat.eps)}: expected a radius, a number that is not "
            "negative."
        )
    if infinite_eps:
        return
    if not np.isfinite(threat.eps).all():
        raise ValueError(
            f"eps={shown(threat.eps)}: expected a finite radius; only fab, deepfool "
            "and carlini_wagner accept an infinite one."
        )
    if not nets.is_traced(threat.bounds):
        _warn_if_too_wide(threat, shape)


def _warn_if_too_wide(threat: ThreatModel, shape: tuple[int, ...]) -> None:
    low, high = (np.asarray(bound, np.float64) for bound in threat.bounds)
    whole = np.broadcast_to(high - low, shape)[None]
    longest = float(host_lengths(whole, threat.norm)[0])
    eps = float(np.max(threat.eps))
    if eps > longest:
        warnings.warn(
            f"eps={eps:g} in {threat.norm} is more than the distance {longest:g} "
            f"between any two images within the bounds {shown(threat.bounds)}: did you "
            f"mean {eps:g}/255?",
            stacklevel=6,
        )


def check_pixels(images: Any, threat: ThreatModel) -> None:
    """Refuses pixels that are not finite or outside the bounds of the threat.

    Args:
      images: `[B, H, W, C]`.
      threat: only its bounds are used.

    Raises:
      ValueError: if there is such a pixel.
    """
    if nets.is_traced(images, threat.bounds):
        return
    images = np.asarray(images, np.float64)
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        raise ValueError(f"image {bad[0]} has pixels that are not finite numbers.")
    low, high = (np.asarray(bound, np.float64) for bound in threat.bounds)
    rounding = threat.rounding(images)
    if ((images < low - rounding) | (images > high + rounding)).any():
        raise ValueError(
            f"pixels from {images.min():.4g} to {images.max():.4g} leave the bounds "
            f"{shown(threat.bounds)}: expected images within the bounds; normalize "
            "them inside the net."
        )


def check_classes(name: str, values: Any, classes: int) -> None:
    """Raises ValueError for a label or target outside of [0, K)."""
    if values is None or nets.is_traced(values):
        return
    low, high = int(np.min(values)), int(np.max(values))
    if low < 0 or high >= classes:
        raise ValueError(
            f"{name} from {low} to {high}: the net has {classes} classes; expected "
            f"integers from 0 to {classes - 1}."
        )


def check_targets(labels: Any, targets: Any) -> None:
    """Raises ValueError if the target of an image is its label."""
    if targets is None or nets.is_traced(labels, targets):
        return
    same = np.flatnonzero(np.asarray(labels) == np.asarray(targets))
    if len(same):
        raise ValueError(
            f"targets: the target of image {same[0]} is its label, "
            f"{np.asarray(labels).flat[same[0]]}: expected a wrong class."
        )


def check_step_size(step_size: Any) -> None:
    """Raises ValueError for a step size that is not positive and finite."""
    if step_size is None or nets.is_traced(step_size):
        return
    steps = np.asarray(step_size, np.float64)
    if not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(
            f"step_size={shown(step_size)}: expected a positive and finite number, "
            "in pixel units."
        )


def check_finite(finite: Any) -> None:
    """Refuses a net whose logits are not finite numbers.

    Args:
      finite: `[B]`, whether all logits of each clean image are finite; `[S, B]` for S
        nets.

    Raises:
      ValueError: if an image has logits that are not finite.
    """
    finite = np.asarray(finite)
    bad = np.argwhere(~finite)
    if len(bad):
        net = f" of net {bad[0][0]}" if bad.shape[1] > 1 else ""
        raise ValueError(
            f"logits_fn: the logits{net} of image {bad[0][-1]} are NaN or infinite "
            f"({len(bad)} of {finite.size} in all), so that its robustness cannot be "
            "measured. Leave out a net that diverged in training, or look for an "
            "overflow in its layers."
        )


def refuse_traced(name: str, *values: Any) -> None:
    """Raises ValueError for values that are known only inside of a program."""
    if nets.is_traced(*values):
        raise ValueError(
            f"{name}: an argument is traced by a surrounding jax.jit or jax.vmap: call "
            f"{name} outside of it; it compiles its programs itself."
        )


def one_number(name: str, threat: ThreatModel) -> None:
    """Raises ValueError for one eps per channel."""
    if np.ndim(threat.eps) > 0:
        raise ValueError(
            f"{name}: eps of shape {np.shape(threat.eps)}: expected one number; only "
            "fgsm and pgd accept one eps per channel."
        )


def check_logits(name: str, outputs: Any, count: int) -> int:
    """The number of classes of a net, from the shape of its output.

    Args:
      name: name of the attack or metric, for the message.
      outputs: shape and dtype of the net's output.
      count: B, the number of images.

    Raises:
      ValueError: if the output is not an array of floating logits `[B, K]` with K of 2
        or more.
    """
    if not isinstance(outputs, jax.ShapeDtypeStruct):
        kind = type(outputs).__name__
        raise ValueError(
            f"{name}: logits_fn returns a {kind}: expected one array of logits [B, K]; "
            "select them, as in lambda x: net(x)[0]."
        )
    shape = outputs.shape
    if len(shape) != 2 or shape[0] != count or shape[1] < 2:
        one = " A net with one logit z is equivalent to the two logits (0, z)." * (
            shape in ((count,), (count, 1))
        )
        raise ValueError(
            f"{name}: logits_fn maps {count} images to an array of shape {shape}: "
            f"expected [B, K] = ({count}, K) with two classes or more.{one}"
        )
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ValueError(
            f"{name}: logits_fn returns dtype {outputs.dtype}: expected floating "
            "logits, not classes."
        )
    return shape[1]


def shown(value: Any) -> str:
    """The value as text for an error message, of at most 80 characters."""

    def plain(x):
        return np.asarray(x).tolist() if hasattr(x, "dtype") else x

    if isinstance(value, (tuple, list)):
        value = tuple(plain(x) for x in value)
    text = repr(plain(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
