"""Equivariant convolutions for JAX and Flax, adversarial attacks, robustness metrics.

    from symjax import attacks, data, groups, models, nn

Importing a package does not import the others: `symjax.nn` does not load the attacks.
"""

import sys

if sys.argv[:1] == ["-m"] and "symjax." in sys.orig_argv[-len(sys.argv)]:
    # `python -m symjax.nn.audit` runs this file before it imports symjax.nn and JAX.
    from symjax import interruption

    interruption.install()
