"""Robustness metrics without an attack, for any `logits_fn: [B, H, W, C] -> [B, K]`.

    result = metrics.clever(logits_fn, image, key, norm="l2", radius=2.0)

The metrics have these arguments in common:

  logits_fn: the net, a pure function `[B, H, W, C] -> [B, K]`. The logits of an image
    must not depend on the other images of the batch. Weights are traced: other weights
    of the same net need no new compilation.
  images: `[B, H, W, C]`, float, in [0, 1].
  labels: `[B]`, the class c of each image, integers in [0, K).
  key: one random key, or `[B]`, one for each image; see `samples.keys_of_images`.
  threat: the ball `B_p(x, r)` around each image, and the bounds, which contain the
    images. Samples are uniform in the ball and then clipped to the bounds.
  group: the group whose orbits are measured, or its name. Rotations by 90 degrees need
    square images.
  output: the function of the logits that is differentiated, see `jacobian.cotangents`.
  chunk: how many samples of an image, or how many images, are computed at a time. The
    result does not depend on it beyond rounding. None: the fastest number on the
    backend.
  report: a function that is called with the number of samples or images done, and of
    all of them.

They raise a ValueError if an argument is invalid. Margins are `g_cj = f_c - f_j`, with
the classes j in the order of `jacobian.other_classes`. Changes of logits are in logits
per pixel unit.
"""

from symjax.metrics._clever import Clever, clever, clever_from_maxima, clever_images
from symjax.metrics._gradient_maxima import Maxima, gradient_maxima, gradient_norms

__all__ = [
    "Clever",
    "Maxima",
    "clever",
    "clever_from_maxima",
    "clever_images",
    "gradient_maxima",
    "gradient_norms",
]
