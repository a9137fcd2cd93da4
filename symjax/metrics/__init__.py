"""Robustness metrics without an attack, for any `logits_fn: [B, H, W, C] -> [B, K]`.

result = metrics.clever(logits_fn, image, key, norm="l2", radius=2.0)
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
