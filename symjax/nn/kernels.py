"""Bases of the kernels of rotation layers, and the group's action on them.

    kernels.sampled("steerable", groups.C(8), (3, 3))   # [G, k * k, J], a constant
    kernels.expand(coefficients, "steerable", (3, 3), inputs, outputs)

A kernel is a linear combination of J functions on the plane, which are rotated and then
sampled at the pixels. The basis determines these functions: the pixels ("full"),
circular harmonics on rings ("steerable"), or the pixels of a disc, which are rotated by
bicubic interpolation ("interpolated"). All bases are exact, up to rounding, under the
elements on the grid. `docs/groups.md` shows which basis to choose.

References:
  Weiler & Cesa, General E(2)-Equivariant Steerable CNNs, NeurIPS 2019. Rings, profile
  and cut-off of the harmonics are those of e2cnn and escnn.
"""

import functools
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax.groups import Cosets, Group
from symjax.nn.exactness import Pair
from symjax.nn.resizing import cubic

Basis = Literal["full", "steerable", "interpolated"]
BASES = ("full", "steerable", "interpolated")
DECIMALS = 12  # constants are rounded to these, so that rounding errors disappear


def default_basis(group: Group) -> Basis:
    """The full basis for groups on the grid, and the steerable basis for others."""
    return "full" if group.is_on_grid else "steerable"


def check(basis: str, group: Group, size: Pair) -> None:
    """Raises a ValueError if the basis has no kernels of this size for the group."""
    if reason := refusal(basis, group, size):
        side = max(size) if basis == "full" else max(size) | 1
        other = f"use {(side, side)}"
        if basis == "full" and not group.is_on_grid:
            other = (
                f"use 'steerable' or 'interpolated', or its subgroup {group.grid.group}"
            )
        raise ValueError(f"{reason}; {other}.")


def refusal(basis: str, group: Group, size: Pair) -> str:
    """The reason why the basis has no kernels of this size for the group, if any.

    It is empty if there are such kernels.

    Raises:
      ValueError: for an unknown basis.
    """
    if basis not in BASES:
        raise ValueError(f"basis={basis!r}: expected one of {BASES}.")
    square = size[0] == size[1]
    if basis == "full":
        if not group.is_on_grid:
            return f"basis='full': {group} does not map pixels onto pixels"
        if group.transposes_axes and not square:
            return f"a kernel of {size} is not square, so {group} cannot rotate it"
    elif not square or size[0] % 2 == 0:
        return f"basis={basis!r} has square kernels of odd size, not {size}"
    return ""


def shape(basis: Basis, size: Pair, inputs: Cosets, outputs: Cosets) -> tuple[int, ...]:
    """The leading axes of a layer's coefficients, before its channels.

    For regular outputs these are the functions (pixels `k, k`, or `J`) and, unless the
    inputs are trivial, the group axis of the inputs. For other outputs there is one
    axis of length n, the number of kernels that the subgroup of the outputs leaves
    invariant.
    """
    if not outputs.is_regular:
        return (len(_invariant(basis, size, inputs, outputs).T),)
    count = sampled(basis, inputs.group, size).shape[2]
    functions = size if basis == "full" else (count,)
    return (*functions, *(() if inputs.is_trivial else (len(inputs),)))


def expand(
    coefficients: Array, basis: Basis, size: Pair, inputs: Cosets, outputs: Cosets
) -> Array:
    """The kernel of the plain convolution that computes all orientation channels.

    `K(u; b, a) = k(a^-1 u, a^-1 b)` for the cosets b of the inputs and a of the outputs
    (Cohen and Welling 2016, equations 10 and 11).

    Args:
      coefficients: `[*shape(basis, size, inputs, outputs), C_in, C_out]`.
      basis, size: basis and size of the kernel k.
      inputs, outputs: cosets that index the group axes of the input and the output.

    Returns:
      `[k, k, A_in, C_in, A_out, C_out]`.
    """
    channels = coefficients.shape[-2:]
    if not outputs.is_regular:
        free = jnp.asarray(_invariant(basis, size, inputs, outputs), coefficients.dtype)
        coefficients = jnp.einsum(
            "jn,nio->jio", free, coefficients, precision="highest"
        )
    coefficients = coefficients.reshape(-1, len(inputs), *channels)
    group, elements = inputs.group, outputs.elements_of_cosets[:, 0]
    permuted = inputs.table[group.inverses[elements]]  # [A_out, A_in]: a^-1 b
    if basis == "full":
        kernel = coefficients.reshape(*size, len(inputs), *channels)
        parts = [group.act_on_grid(a, kernel, (0, 1)) for a in elements]
        if not inputs.is_trivial:
            pairs = zip(parts, permuted, strict=True)
            parts = [jnp.take(part, order, axis=2) for part, order in pairs]
        return jnp.stack(parts, axis=4)
    functions = jnp.asarray(sampled(basis, group, size)[elements], coefficients.dtype)
    if inputs.is_trivial:
        kernel = jnp.einsum(
            "apj,jbio->pbiao", functions, coefficients, precision="highest"
        )
    else:
        parts = jnp.take(coefficients, permuted.reshape(-1), axis=1)
        parts = parts.reshape(-1, *permuted.shape, *channels)
        kernel = jnp.einsum("apj,jabio->pbiao", functions, parts, precision="highest")
    return kernel.reshape(*size, *kernel.shape[1:])


def fit(
    kernel: np.ndarray, basis: Basis, size: Pair, inputs: Cosets, outputs: Cosets
) -> np.ndarray:
    """The coefficients whose kernel, by `expand`, is nearest to the given kernel.

    Args:
      kernel: `[k, k, A_in, C_in, A_out, C_out]`.
      basis, size, inputs, outputs: as in `expand`.

    Returns:
      `[*shape(basis, size, inputs, outputs), C_in, C_out]`, float64.
    """
    kernel = np.asarray(kernel, np.float64)
    group, elements = inputs.group, outputs.elements_of_cosets[:, 0]
    channels = kernel.shape[3], kernel.shape[5]
    parts = [
        kernel[..., a, :][:, :, inputs.table[g]].reshape(-1, len(inputs), *channels)
        for a, g in enumerate(elements)
    ]  # k(g^-1 u, b)
    values = np.concatenate(parts).reshape(len(elements) * size[0] * size[1], -1)
    functions = sampled(basis, group, size)[elements]
    coefficients = np.linalg.pinv(np.concatenate(functions)) @ values
    if not outputs.is_regular:
        free = _invariant(basis, size, inputs, outputs)
        coefficients = free.T @ coefficients.reshape(len(free), -1)
    return coefficients.reshape(*shape(basis, size, inputs, outputs), *channels)


@functools.lru_cache(maxsize=64)
def sampled(basis: Basis, group: Group, size: Pair) -> np.ndarray:
    """The functions of a basis, rotated by each element, at the pixels of a kernel.

    Args:
      basis: one of `BASES`.
      group: the group.
      size: size of the kernel, `(height, width)`.

    Returns:
      `[G, k * k, J]`, float64: `array[g, u, j]` is function j at `g^-1 u`. The norm of
      a steerable function over the pixels is 1, on average over all angles.

    Raises:
      ValueError: if the basis has no kernels of this size for the group.
    """
    check(basis, group, size)
    rotated = {
        "full": _rotated_pixels,
        "steerable": _rotated_harmonics,
        "interpolated": _interpolated_pixels,
    }[basis]
    points = pixels(size)
    array = np.stack([rotated(points, matrix, size) for matrix in group.matrices])
    return _constant(array)


def harmonics(size: int) -> list[tuple[float, int, str]]:
    """The steerable functions, each as (radius in pixels, frequency, "cos" or "sin").

    The rings are one pixel apart, from the center to the last ring that fits. The
    largest frequency on a ring of radius r is 2 r (2 r - 1 if r is even), and 2 on the
    last ring, where a square has few pixels. These are the choices of e2cnn and escnn.
    """
    functions = []
    for radius in range((size + 1) // 2):
        last = 2 if radius == size // 2 else 2 * radius - (radius + 1) % 2
        functions.append((float(radius), 0, "cos"))
        for frequency in range(1, min(2 * radius, last) + 1):
            functions += [(float(radius), frequency, wave) for wave in ("cos", "sin")]
    return functions


def pixels(size: Pair) -> np.ndarray:
    """Positions of the pixels, `[2, k * k]`: x to the right, y upwards, center at 0."""
    y, x = np.mgrid[: size[0], : size[1]]
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    return np.stack([(x - middle[1]).ravel(), (middle[0] - y).ravel()])


def _rotated_pixels(points: np.ndarray, matrix: np.ndarray, size: Pair) -> np.ndarray:
    """Whether rotated pixel j is at point p, 1 or 0: `[P, J]`."""
    rotated = matrix @ pixels(size)
    equal = np.isclose(points[:, :, None], rotated[:, None])
    return np.all(equal, axis=0).astype(float)


def _rotated_harmonics(
    points: np.ndarray, matrix: np.ndarray, size: Pair
) -> np.ndarray:
    """The rotated functions of `harmonics` at the points, `[P, J]`."""
    x, y = matrix.T @ points
    distance, angle = np.hypot(x, y), np.arctan2(y, x)
    columns = []
    for radius, frequency, wave in harmonics(size[0]):
        outermost = radius == (size[0] - 1) // 2
        width = 0.005 if radius == 0 else 0.4 if outermost else 0.6
        ring = np.exp(-0.5 * ((distance - radius) / width) ** 2)
        if frequency:  # zero at the center, which has no angle; mean of cos^2 is 1/2
            ring = np.where(distance < 1e-9, 0, ring * np.sqrt(2))
        trigonometric = np.cos if wave == "cos" else np.sin
        length = np.linalg.norm(ring) / (np.sqrt(2) if frequency else 1)
        columns.append(ring / length * trigonometric(frequency * angle))
    return np.stack(columns, axis=1)


def _interpolated_pixels(
    points: np.ndarray, matrix: np.ndarray, size: Pair
) -> np.ndarray:
    """The rotated pixels of a disc, interpolated at the points: `[P, J]`.

    The interpolation (Keys 1981) is corrected by the least-norm change that makes
    polynomial moments up to degree k - 1 exactly equivariant, so that the error on
    smooth images is small.
    """
    inside = np.hypot(*points) <= size[0] / 2
    disc = points[:, inside]
    x, y = matrix.T @ disc
    columns, rows = (np.abs(a[:, None] - b) for a, b in zip((x, y), disc, strict=True))
    interpolated = cubic(columns) * cubic(rows)
    degree, scale = size[0] - 1, size[0] / 2
    moments = _moments(disc / scale, degree)
    missing = _moments(matrix @ disc / scale, degree) - moments @ interpolated
    values = np.zeros((points.shape[1], disc.shape[1]))
    values[inside] = interpolated + np.linalg.pinv(moments) @ missing
    return values


def _moments(points: np.ndarray, degree: int) -> np.ndarray:
    """The monomials in x and y up to a degree, at the points: `[M, P]`."""
    x, y = points
    powers = [(i, n - i) for n in range(degree + 1) for i in range(n + 1)]
    return np.stack([x**i * y**j for i, j in powers])


@functools.lru_cache(maxsize=64)
def _invariant(basis: Basis, size: Pair, inputs: Cosets, outputs: Cosets) -> np.ndarray:
    """A basis of the coefficients that are invariant under the outputs' subgroup.

    Equivariance requires `k(s u, s b) = k(u, b)` of the kernel of coset 0 of the
    outputs, for all s in the subgroup. The average over the subgroup is a projection
    onto such coefficients; its independent columns, in order, are orthonormalized.

    Returns:
      `[J * A_in, n]`, with orthonormal columns.
    """
    elements = outputs.subgroup.elements
    average: Any = 0
    for s in elements:
        permutation = np.eye(len(inputs))[:, inputs.table[s]]  # b to s b
        rotation = on_functions(basis, inputs.group, size, s)
        average = average + np.kron(rotation, permutation) / len(elements)
    rows = np.zeros((0, len(average)))
    for column in average.T:
        for _ in range(2):  # the second time removes the rounding error of the first
            column = column - (rows @ column) @ rows
        if (length := np.linalg.norm(column)) > 1e-6:
            rows = np.append(rows, column[None] / length, axis=0)
    return _constant(rows.T)


def on_functions(basis: Basis, group: Group, size: Pair, s: int) -> np.ndarray:
    """The action of element s on the functions of a basis, as a matrix `[J, J]`.

    Column j has the coefficients of the rotated function j.
    """
    check(basis, group, size)
    if basis == "steerable":
        inverse, points = _between_pixels(size)
        return inverse @ _rotated_harmonics(points, group.matrices[s], size)
    if s in group.grid.elements:
        functions, rotated = sampled(basis, group, size)[[0, s]]
        return np.linalg.lstsq(functions, rotated)[0]
    raise ValueError(
        f"basis={basis!r}: {group.name(s)} does not map pixels onto pixels: outputs "
        "over cosets of a subgroup that contains it need basis='steerable'."
    )


@functools.lru_cache(maxsize=16)
def _between_pixels(size: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The matrix `[J, P]` from values on a finer grid to harmonics, and that grid."""
    points = pixels((4 * size[0] + 1, 4 * size[1] + 1)) / 4
    return np.linalg.pinv(_rotated_harmonics(points, np.eye(2), size)), points


def _constant(array: np.ndarray) -> np.ndarray:
    array = np.round(array, DECIMALS) + 0.0  # without negative zeros
    array.setflags(write=False)
    return array
