"""Attacks on any callable `logits_fn: [B, H, W, C] -> [B, K]`.

result = attacks.pgd(logits_fn, images, labels, key, attacks.Linf(eps=8 / 255))
"""

from symjax.attacks.gradient import AttackResult, Keep, fgsm, pgd
from symjax.attacks.losses import cross_entropy, is_correct, margin
from symjax.attacks.threat import L2, NORMS, Linf, Norm, ThreatModel, in_pixels

ATTACKS = {"fgsm": fgsm, "pgd": pgd}

__all__ = [
    "ATTACKS",
    "NORMS",
    "AttackResult",
    "Keep",
    "L2",
    "Linf",
    "Norm",
    "ThreatModel",
    "cross_entropy",
    "fgsm",
    "in_pixels",
    "is_correct",
    "margin",
    "pgd",
]
