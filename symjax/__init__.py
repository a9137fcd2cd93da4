"""Symmetry-aware convolutions in JAX and Flax, and robustness one can believe.

    from symjax import attacks, data, groups, models, nn

Each package is imported by itself: a layer does not load the attacks, nor they a layer.
"""

import sys

if sys.argv[:1] == ["-m"] and "symjax." in sys.orig_argv[-len(sys.argv)]:
    # The start of `python -m symjax.nn.audit`, which imports symjax.nn and JAX first.
    from symjax import interruption

    interruption.install()
