"""Refusals: values with which no robustness number can be right.

    check_pixels(images, threat)
    check_values(classes, labels)         # known values only

Each raises a ValueError that names the value, what was expected and the way out.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax import nets
from symjax.attacks.threat import ThreatModel, host_lengths


def check_values(
    classes: int, labels: Any, targets: Any = None, step_size: Any = None
) -> None:
    """Refuses values with which no result can be right; known values only.

    Args:
      classes: K.
      labels: `[B]`.
      targets: `[B]`, or None.
      step_size: a scalar or `[C]`, or None.

    Raises:
      ValueError: for labels or targets outside of [0, K); a target that is the label; a
        step size that is not positive and finite.
    """
    for name, values in (("labels", labels), ("targets", targets)):
        if values is not None and not nets.is_traced(values):
            check_classes(name, np.asarray(values), classes)
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


def refuse_traced(name: str, *values: Any) -> None:
    """Refuses values that are known only inside of a program.

    Raises:
      ValueError: if one of them is.
    """
    if nets.is_traced(*values):
        raise ValueError(
            f"{name}: an argument is known only inside of a surrounding jax.jit or "
            f"jax.vmap: call {name} outside of it; it compiles its programs itself."
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


def check_radius(eps: Any, infinite: bool) -> None:
    """Raises ValueError for an eps that is negative, NaN or (by default) infinite."""
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
    """Raises ValueError for bounds that are not finite, or not in order."""
    low, high = (np.asarray(bound, np.float64) for bound in bounds)
    if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        raise ValueError(
            f"bounds={shown(bounds)}: expected finite numbers, the lowest valid pixel "
            "below the highest."
        )


def check_pixels(images: Any, threat: ThreatModel) -> None:
    """Refuses pixels that are not finite or leave the bounds; known values only.

    Args:
      images: `[B, H, W, C]`.
      threat: for its bounds.

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
            f"{shown(threat.bounds)}: give images in them, and let the net normalize."
        )


def check_classes(name: str, values: np.ndarray, classes: int) -> None:
    """Raises ValueError for a label or target outside of [0, K)."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"{name} from {low} to {high}: the net has {classes} classes; expected "
            f"integers from 0 to {classes - 1}."
        )


def check_logits(name: str, outputs: Any, count: int) -> int:
    """The number of classes of a net.

    Args:
      name: of the attack or metric, for the message.
      outputs: shape and dtype of what the net returns.
      count: B.

    Raises:
      ValueError: unless it returns floating logits `[B, K]`, K of 2 or more.
    """
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
