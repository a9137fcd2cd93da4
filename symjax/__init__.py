"""Equivariant convolutions for JAX and Flax, adversarial attacks, robustness metrics.

    from symjax import attacks, data, groups, models, nn
    symjax.robust_accuracy(logits_fn, images, labels, attacks.Linf(8 / 255))

Importing a package does not import the others: `symjax.nn` does not load the attacks.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symjax.attacks import robust_accuracy

__all__ = ["robust_accuracy"]

if sys.argv[:1] == ["-m"] and "symjax." in sys.orig_argv[-len(sys.argv)]:
    # `python -m symjax.nn.audit` runs this file before it imports symjax.nn and JAX.
    from symjax import interruption

    interruption.install()


def __getattr__(name: str) -> Any:
    """The function is imported at its first use, so that `import symjax` is fast."""
    if name == "robust_accuracy":
        from symjax.attacks import robust_accuracy

        return robust_accuracy
    raise AttributeError(f"module 'symjax' has no attribute {name!r}")
