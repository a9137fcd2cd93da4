"""Attacks on any callable `logits_fn: [B, H, W, C] -> [B, K]`.

    result = attacks.pgd(logits_fn, images, labels, key, attacks.Linf(eps=8 / 255))

The first five arguments of every attack are the same:

- `logits_fn`: pure; the logits of an image must not depend on the other images of the
  batch.
- `images`: `[B, H, W, C]`, floats within the bounds of the threat model.
- `labels`: `[B]`, integers in [0, K).
- `key`: a random key; None for an attack that draws nothing.
- `threat`: the ball and the bounds. Only `fgsm`, `pgd` and, except in l1, `apgd`
  accept one eps per channel.
"""

from symjax.attacks import sanity
from symjax.attacks._apgd import apgd
from symjax.attacks._autoattack import AutoAttackResult, Progress, autoattack
from symjax.attacks._fab import fab
from symjax.attacks._robust_accuracy import (
    RobustAccuracy,
    no_attack,
    robust_accuracy,
)
from symjax.attacks._square import square
from symjax.attacks.gradient import Keep, fgsm, pgd
from symjax.attacks.losses import cross_entropy, dlr, is_correct, margin
from symjax.attacks.minimum_norm import carlini_wagner, deepfool
from symjax.attacks.result import AttackResult
from symjax.attacks.threat import L1, L2, NORMS, Linf, Norm, ThreatModel, in_pixels

__all__ = [
    "NORMS",
    "AttackResult",
    "AutoAttackResult",
    "Keep",
    "L1",
    "L2",
    "Linf",
    "Norm",
    "Progress",
    "RobustAccuracy",
    "ThreatModel",
    "apgd",
    "autoattack",
    "carlini_wagner",
    "cross_entropy",
    "deepfool",
    "dlr",
    "fab",
    "fgsm",
    "in_pixels",
    "is_correct",
    "margin",
    "no_attack",
    "pgd",
    "robust_accuracy",
    "sanity",
    "square",
]
