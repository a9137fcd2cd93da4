"""Symmetry-aware convolutions in JAX and Flax, and robustness one can believe.

    from symjax import attacks, data, groups, models, nn

Each room is imported by itself: a layer does not pay for the attacks, nor they for it.
"""
