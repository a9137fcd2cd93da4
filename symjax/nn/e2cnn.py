"""Scale and initialization of steerable kernels, as in e2cnn.

    e2cnn.factor(size, inputs, outputs)                 # sqrt(3) for 3x3, lifting to C4
    e2cnn.initial(key, size, inputs, outputs, 3, 16)    # coefficients, [..., 3, 16]

An R2Conv of e2cnn has the same kernels as a steerable layer of symjax, and as many
coefficients, but other basis elements. Each basis element of e2cnn maps to one real
irreducible representation of the group, and its norm over all pixels, inputs and
outputs is the square root of the dimension of that representation. A basis element of
symjax has norm sqrt(G) on average. The norm matters for Adam, whose steps have the same
size for every coefficient.

References:
  Weiler & Cesa, General E(2)-Equivariant Steerable CNNs, NeurIPS 2019, Appendices E, G.
  e2cnn 0.2.3: `normalize_basis` and `generalized_he_init`.
"""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from symjax.groups import Cosets, Group
from symjax.nn import kernels
from symjax.nn.exactness import Pair


def check(basis: str, outputs: Cosets) -> None:
    """Raises a ValueError if e2cnn's scale is not defined for these kernels."""
    if basis != "steerable" or not outputs.is_regular:
        raise ValueError(
            f"as_e2cnn=True, basis={basis!r}, outputs over {outputs}: e2cnn's scale "
            "is defined for basis='steerable' and regular outputs; use as_e2cnn=False."
        )


@functools.lru_cache(maxsize=64)
def factor(size: Pair, inputs: Cosets, outputs: Cosets) -> float:
    """The ratio of the norms of the steerable basis elements of symjax and e2cnn.

    It is `sqrt(G N / sum_b d_b)`, where N is the number of elements and d_b is the
    dimension of the representation to which element b of e2cnn maps. This is the ratio
    of the norms of the two kernels whose coefficients are all 1.

    Args:
      size: size of the kernel, `(height, width)`.
      inputs, outputs: cosets that index the group axes of the input and the output.
    """
    group = outputs.group
    dimensions = [
        dimension * np.trace(_onto_outputs(weights, size, inputs))
        for dimension, weights in _representations(group)
    ]
    count = len(kernels.harmonics(size[0])) * len(inputs)
    return math.sqrt(group.order * count / np.sum(dimensions))


def initial(
    key: Array,
    size: Pair,
    inputs: Cosets,
    outputs: Cosets,
    channels: int,
    features: int,
    dtype: DTypeLike = jnp.float32,
) -> Array:
    """Random coefficients with the distribution of e2cnn's initialization.

    Args:
      key: random key.
      size, inputs, outputs: as in `factor`.
      channels, features: the numbers of channels of the inputs and of the outputs.
      dtype: dtype of the coefficients.

    Returns:
      `[*kernels.shape("steerable", size, inputs, outputs), channels, features]`, for
      basis elements that are divided by `factor`.
    """
    mixing = _deviations(size, inputs, outputs) * factor(size, inputs, outputs)
    normal = jax.random.normal(key, (len(mixing), channels, features), dtype)
    matrix = jnp.asarray(mixing / math.sqrt(channels), dtype)
    drawn = jnp.einsum("mn,nio->mio", matrix, normal, precision="highest")
    axes = kernels.shape("steerable", size, inputs, outputs)
    return drawn.reshape(*axes, channels, features)


@functools.lru_cache(maxsize=64)
def _deviations(size: Pair, inputs: Cosets, outputs: Cosets) -> np.ndarray:
    """The matrix `[N, N]` from white noise to coefficients with e2cnn's covariance.

    It is for one input channel. The generalized He initialization gives equal variances
    to all elements that map one kind of representation rho to one copy of sigma, and
    the same total variance to every rho. The variance below expresses this by the
    projections onto rho and sigma.
    """
    group = outputs.group
    known = list(_representations(group))
    squares = kernels.sampled("steerable", group, size) ** 2  # [G, k * k, J]
    lengths = np.sqrt(squares.sum(axis=1).mean(axis=0))
    mixing = np.zeros((len(lengths) * len(inputs),) * 2)
    for dimension, weights in known:
        onto = _onto_outputs(weights, size, inputs)
        parts = [
            (of, both)
            for of, from_weights in known
            if np.trace(both := _from_inputs(from_weights, size, inputs) @ onto) > 0.5
        ]
        for of, both in parts:
            variance = weights[0] / (len(parts) * np.trace(both))
            if of == dimension == 1:  # elements of one function, each of norm 1
                both = both / np.repeat(lengths, len(inputs))[:, None]
            mixing += math.sqrt(variance) * both
    return mixing


def _representations(group: Group) -> Iterator[tuple[int, np.ndarray]]:
    """The dimensions and projection weights of the real irreducible representations.

    With the weights `[G]`, the sum of the group's actions is the projection onto all
    copies of the representation.
    """
    n, (mirror, rotation) = (
        group.rotations,
        np.divmod(np.arange(group.order), group.rotations),
    )
    for frequency in range(n // 2 + 1):
        wave = np.cos(2 * np.pi * frequency * rotation / n)
        if 2 * frequency % n:
            yield 2, 2 / n * wave * (mirror == 0)
            continue
        for sign in (1, -1) if group.reflections else (1,):
            yield 1, wave * np.where(mirror, sign, 1) / group.order


def _onto_outputs(weights: np.ndarray, size: Pair, inputs: Cosets) -> np.ndarray:
    """The projection `[N, N]` of coefficients onto kernels to a representation."""
    action = functools.partial(kernels.on_functions, "steerable", inputs.group, size)
    parts = [
        w * np.kron(action(g), _permutation(inputs, g)) for g, w in enumerate(weights)
    ]
    return np.sum(parts, axis=0)


def _from_inputs(weights: np.ndarray, size: Pair, inputs: Cosets) -> np.ndarray:
    """The projection `[N, N]` of coefficients onto kernels from a representation."""
    mixed = np.sum([w * _permutation(inputs, g) for g, w in enumerate(weights)], axis=0)
    return np.kron(np.eye(len(kernels.harmonics(size[0]))), mixed)


def _permutation(inputs: Cosets, g: int) -> np.ndarray:
    return np.eye(len(inputs))[:, inputs.table[g]]
