"""What every attack takes and gives.

check(logits_fn, images, labels, threat)       # clear errors before anything is spent
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jax.core import Tracer

from symjax.attacks.threat import ThreatModel

LogitsFn = Callable[..., Array]


class AttackResult(struct.PyTreeNode):
    """What every attack returns, for B images.

    Attributes:
      images: `[B, H, W, C]`, inside the ball and the bounds.
      robust: `[B]`, bool: the returned image is classified correctly.
      distance: `[B]`, of the returned from the given image in the threat's norm; of a
        minimum-norm attack, of the closest error found, in the ball or not, and
        infinite where there was none.
      queries: `[B]`, int32, forward passes spent; of APGD, FAB and Square, until the
        image was broken.
      gradients: `[B]`, int32, backward passes spent, likewise.
    """

    images: Array
    robust: Array
    distance: Array
    queries: Array
    gradients: Array


def check(images: Array, labels: Array, threat: ThreatModel) -> None:
    """Refuses what no attack can be right about.

    Inside a program values are not known yet: shapes and dtypes alone are checked.

    Args:
      images: `[B, H, W, C]`, floating, finite, within the threat's bounds.
      labels: `[B]`, integers, not negative.
      threat: eps not negative and not NaN.

    Raises:
      ValueError: if one of them is not as said.
    """
    shape = np.shape(images)
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"images of shape {shape}: expected [B, H, W, C], not empty.")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images of dtype {images.dtype}: expected floats in the bounds; uint8 "
            "images are divided by 255 first."
        )
    if np.shape(labels) != shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels of shape {np.shape(labels)} and dtype {labels.dtype}: expected "
            f"{shape[0]} integers, one an image."
        )
    if _known(threat.eps) and not np.all(np.asarray(threat.eps) >= 0):
        raise ValueError(f"eps={threat.eps}: expected a radius that is not negative.")
    if _known(labels) and np.min(labels) < 0:
        raise ValueError(f"labels begin at {np.min(labels)}: expected 0 or more.")
    if _known(images, *threat.bounds):
        _check_pixels(np.asarray(images), threat)


def _check_pixels(images: np.ndarray, threat: ThreatModel) -> None:
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        raise ValueError(f"image {bad[0]} has pixels that are not finite numbers.")
    low, high = (np.asarray(bound) for bound in threat.bounds)
    rounding = threat.rounding(images)
    if ((images < low - rounding) | (images > high + rounding)).any():
        raise ValueError(
            f"pixels from {images.min():.4g} to {images.max():.4g} leave the bounds "
            f"{threat.bounds}: give images in them, and let the net normalise."
        )


def check_classes(logits_fn: LogitsFn, images: Array, labels: Array) -> int:
    """The number of classes, K, without running the net.

    Raises:
      ValueError: if the net's output is not `[B, K]`, or a known label is not below K.
    """
    shape = jax.eval_shape(logits_fn, images).shape
    if len(shape) != 2 or shape[0] != len(images) or shape[1] < 2:
        raise ValueError(
            f"logits_fn maps images {np.shape(images)} to {shape}: expected [B, K] "
            "with two classes or more."
        )
    if _known(labels) and np.max(labels) >= shape[1]:
        raise ValueError(f"label {np.max(labels)}: the net has {shape[1]} classes.")
    return shape[1]


def check_rank(rank: int | Array, classes: int, targeted: bool) -> None:
    """Refuses a target that is no wrong class.

    Raises:
      ValueError: if the attack is targeted and a known rank is not 2 to K.
    """
    if targeted and _known(rank) and not 2 <= int(rank) <= classes:
        raise ValueError(
            f"rank={rank}: expected 2 to {classes}, the number of classes."
        )


def one_radius(name: str, threat: ThreatModel) -> None:
    """Refuses one eps a channel, for attacks that are not defined for it.

    Raises:
      ValueError: if eps is not a scalar.
    """
    if np.ndim(threat.eps) > 0:
        raise ValueError(
            f"{name}: eps of shape {np.shape(threat.eps)}: expected one number; pgd "
            "takes one a channel."
        )


def larger(old: tuple[Array, Array], new: tuple[Array, Array]) -> tuple[Array, Array]:
    """Images and margins: per image, `new` where its margin is larger; NaN never is."""
    (old_images, old_margin), (new_images, new_margin) = old, new
    wins = new_margin > old_margin
    return select(wins, new_images, old_images), jnp.where(wins, new_margin, old_margin)


def select(which: Array, yes: Array, no: Array) -> Array:
    """Per image `[B]`, one array `[B, ...]` or the other."""
    return jnp.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _known(*values) -> bool:
    return not any(isinstance(x, Tracer) for x in jax.tree.leaves(values))
