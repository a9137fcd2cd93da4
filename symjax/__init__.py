"""Symmetry-aware convolutions in JAX and Flax, and robustness one can believe.

    from symjax import attacks, data, groups, models, nn
    symjax.robust_accuracy(logits_fn, images, labels, attacks.Linf(8 / 255))

Each package is imported by itself: a layer does not load the attacks, nor they a layer.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symjax.attacks import robust_accuracy

__all__ = ["robust_accuracy"]

if sys.argv[:1] == ["-m"] and "symjax." in sys.orig_argv[-len(sys.argv)]:
    # The start of `python -m symjax.nn.audit`, which imports symjax.nn and JAX first.
    from symjax import interruption

    interruption.install()


def __getattr__(name: str) -> Any:
    """The function is imported at its first use, so that `import symjax` is fast."""
    if name == "robust_accuracy":
        from symjax.attacks import robust_accuracy

        return robust_accuracy
    raise AttributeError(f"module 'symjax' has no attribute {name!r}")
