"""What the kernels of rotation layers are made of, and how a group turns them.

    kernels.sampled("steerable", groups.C(8), 3)        # [G, k * k, J], a constant
    kernels.expand(coefficients, "steerable", (3, 3), inputs, outputs)

A kernel is a sum of J functions on the plane. Where an element turns pixels between
pixels, the turned functions are sampled there; which functions these are is the basis:

- "full": one a pixel, moved exactly. For groups that move pixels onto pixels: C1, C2,
  C4, D1, D2, D4.
- "steerable": circular harmonics on rings, up to the frequency that a ring can carry
  (Weiler and Cesa 2019; rings, profile and cut-off are those of e2cnn and escnn). They
  turn without loss; pixels between which they turn see little of it.
- "interpolated": one a pixel of a disc, turned by bicubic interpolation (Keys 1981),
  then mended by the smallest change with which its moments up to degree k - 1 turn
  exactly, which are what smooth images see of it.

All of them turn exactly, up to rounding, under the elements on the grid.
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
FAR = 12  # decimals; what differs by rounding alone is then equal


def default_basis(group: Group) -> Basis:
    """The full one where it can be had, which is exact; the steerable one elsewhere."""
    return "full" if group.is_on_grid else "steerable"


def check(basis: str, group: Group, size: Pair) -> None:
    """Raises a ValueError unless the basis has kernels of that size for the group."""
    if reason := refusal(basis, group, size):
        side = max(size) if basis == "full" else max(size) | 1
        other = f"use {(side, side)}"
        if basis == "full" and not group.is_on_grid:
            other = (
                f"use 'steerable' or 'interpolated', or its subgroup {group.grid.group}"
            )
        raise ValueError(f"{reason}; {other}.")


def refusal(basis: str, group: Group, size: Pair) -> str:
    """Why the basis has no kernels of that size for the group; empty if it has.

    Raises:
      ValueError: for a basis that there is not.
    """
    if basis not in BASES:
        raise ValueError(f"basis={basis!r}: expected one of {BASES}.")
    square = size[0] == size[1]
    if basis == "full":
        if not group.is_on_grid:
            return f"basis='full': {group} turns pixels between pixels"
        if group.transposes_axes and not square:
            return f"a kernel of {size} is not square, so {group} cannot turn it"
    elif not square or size[0] % 2 == 0:
        return f"basis={basis!r} has square kernels of odd size, not {size}"
    return ""


def shape(basis: Basis, size: Pair, inputs: Cosets, outputs: Cosets) -> tuple[int, ...]:
    """The axes of a layer's coefficients that stand before its channels.

    Of regular outputs these are the functions (pixels `k, k`, or `J`) and, unless the
    inputs are trivial, the group axis of the inputs; of others `n`, the number of
    kernels that the subgroup of the outputs leaves as they are.
    """
    if not outputs.is_regular:
        return (len(_invariant(basis, size, inputs, outputs).T),)
    count = sampled(basis, inputs.group, size).shape[2]
    functions = size if basis == "full" else (count,)
    return (*functions, *(() if inputs.is_trivial else (len(inputs),)))


def expand(
    coefficients: Array, basis: Basis, size: Pair, inputs: Cosets, outputs: Cosets
) -> Array:
    """The kernel that a plain convolution applies to all elements at once.

    `K(u; b, a) = k(a^-1 u, a^-1 b)` for the cosets b of the inputs and a of the outputs
    (Cohen and Welling 2016, equations 10 and 11).

    Args:
      coefficients: `[*shape(basis, size, inputs, outputs), C_in, C_out]`.
      basis, size: of the kernel k.
      inputs, outputs: over which the group axes of the two fields run.

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
    back = inputs.table[group.inverses[elements]]  # [A_out, A_in]: a^-1 b
    if basis == "full":
        kernel = coefficients.reshape(*size, len(inputs), *channels)
        moved = [group.act_on_grid(a, kernel, (0, 1)) for a in elements]
        if not inputs.is_trivial:
            moved = [jnp.take(k, b, axis=2) for k, b in zip(moved, back, strict=True)]
        return jnp.stack(moved, axis=4)
    functions = jnp.asarray(sampled(basis, group, size)[elements], coefficients.dtype)
    if inputs.is_trivial:
        kernel = jnp.einsum(
            "apj,jbio->pbiao", functions, coefficients, precision="highest"
        )
    else:
        seen = jnp.take(coefficients, back.reshape(-1), axis=1)
        seen = seen.reshape(-1, *back.shape, *channels)
        kernel = jnp.einsum("apj,jabio->pbiao", functions, seen, precision="highest")
    return kernel.reshape(*size, *kernel.shape[1:])


def fit(
    kernel: np.ndarray, basis: Basis, size: Pair, inputs: Cosets, outputs: Cosets
) -> np.ndarray:
    """The coefficients whose `expand`ed kernel is nearest to a given one.

    Args:
      kernel: `[k, k, A_in, C_in, A_out, C_out]`.
      basis, size, inputs, outputs: as in `expand`.

    Returns:
      `[*shape(basis, size, inputs, outputs), C_in, C_out]`, float64.
    """
    kernel = np.asarray(kernel, np.float64)
    group, elements = inputs.group, outputs.elements_of_cosets[:, 0]
    channels = kernel.shape[3], kernel.shape[5]
    seen = [
        kernel[..., a, :][:, :, inputs.table[g]].reshape(-1, len(inputs), *channels)
        for a, g in enumerate(elements)
    ]  # k(g^-1 u, b)
    functions = sampled(basis, group, size)[elements]
    found = np.linalg.pinv(np.concatenate(functions)) @ np.concatenate(seen).reshape(
        len(elements) * size[0] * size[1], -1
    )
    if not outputs.is_regular:
        free = _invariant(basis, size, inputs, outputs)
        found = free.T @ found.reshape(len(free), -1)
    return found.reshape(*shape(basis, size, inputs, outputs), *channels)


@functools.lru_cache(maxsize=64)
def sampled(basis: Basis, group: Group, size: Pair) -> np.ndarray:
    """The functions of a basis, turned by each element, at the pixels of a kernel.

    Args:
      basis: one of `BASES`.
      group: the group.
      size: of the kernel, `(height, width)`.

    Returns:
      `[G, k * k, J]`, float64: `array[g, u, j]` is function j at `g^-1 u`. A steerable
      function has length 1 over the pixels, on average over all angles.

    Raises:
      ValueError: if the basis has no such kernels.
    """
    check(basis, group, size)
    turned = {
        "full": _pixels_moved,
        "steerable": _harmonics_turned,
        "interpolated": _pixels_interpolated,
    }[basis]
    points = pixels(size)
    array = np.stack([turned(points, matrix, size) for matrix in group.matrices])
    return _constant(array)


def harmonics(size: int) -> list[tuple[float, int, str]]:
    """The steerable functions: (radius in pixels, frequency, "cos" or "sin") of each.

    Rings stand one pixel apart, from the middle to the last one that fits. On a ring of
    radius r frequencies go up to 2 r (2 r - 1 where r is even), and to 2 on the last
    one, where a square has few pixels. As e2cnn and escnn have it.
    """
    functions = []
    for radius in range((size + 1) // 2):
        last = 2 if radius == size // 2 else 2 * radius - (radius + 1) % 2
        functions.append((float(radius), 0, "cos"))
        for frequency in range(1, min(2 * radius, last) + 1):
            functions += [(float(radius), frequency, wave) for wave in ("cos", "sin")]
    return functions


def pixels(size: Pair) -> np.ndarray:
    """`[2, k * k]`: places of the pixels, x to the right, y upwards, 0 the middle."""
    y, x = np.mgrid[: size[0], : size[1]]
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    return np.stack([(x - middle[1]).ravel(), (middle[0] - y).ravel()])


def _pixels_moved(points: np.ndarray, matrix: np.ndarray, size: Pair) -> np.ndarray:
    """`[P, J]`: 1 where a pixel comes to lie."""
    moved = matrix @ pixels(size)
    return np.all(np.isclose(points[:, :, None], moved[:, None]), axis=0).astype(float)


def _harmonics_turned(points: np.ndarray, matrix: np.ndarray, size: Pair) -> np.ndarray:
    """`[P, J]`: the functions of `harmonics` at the points turned back."""
    x, y = matrix.T @ points
    distance, angle = np.hypot(x, y), np.arctan2(y, x)
    columns = []
    for radius, frequency, wave in harmonics(size[0]):
        outermost = radius == (size[0] - 1) // 2
        width = 0.005 if radius == 0 else 0.4 if outermost else 0.6
        ring = np.exp(-0.5 * ((distance - radius) / width) ** 2)
        if frequency:  # the middle has no direction; waves have half the square
            ring = np.where(distance < 1e-9, 0, ring * np.sqrt(2))
        turn = np.cos if wave == "cos" else np.sin
        length = np.linalg.norm(ring) / (np.sqrt(2) if frequency else 1)
        columns.append(ring / length * turn(frequency * angle))
    return np.stack(columns, axis=1)


def _pixels_interpolated(
    points: np.ndarray, matrix: np.ndarray, size: Pair
) -> np.ndarray:
    """`[P, J]`: the pixels of a disc, each turned and seen by all of them."""
    inside = np.hypot(*points) <= size[0] / 2
    disc = points[:, inside]
    x, y = matrix.T @ disc
    columns, rows = (np.abs(a[:, None] - b) for a, b in zip((x, y), disc, strict=True))
    turned = cubic(columns) * cubic(rows)
    degree, scale = size[0] - 1, size[0] / 2
    moments = _moments(disc / scale, degree)
    missing = _moments(matrix @ disc / scale, degree) - moments @ turned
    seen = np.zeros((points.shape[1], disc.shape[1]))
    seen[inside] = turned + np.linalg.pinv(moments) @ missing
    return seen


def _moments(points: np.ndarray, degree: int) -> np.ndarray:
    """The products of powers of x and y, up to a degree, at the points: `[M, P]`."""
    x, y = points
    powers = [(i, n - i) for n in range(degree + 1) for i in range(n + 1)]
    return np.stack([x**i * y**j for i, j in powers])


@functools.lru_cache(maxsize=64)
def _invariant(basis: Basis, size: Pair, inputs: Cosets, outputs: Cosets) -> np.ndarray:
    """An orthonormal basis `[J * A_in, n]` of what the outputs' subgroup leaves alone.

    Equivariance asks of the kernel of coset 0 of the outputs that
    `k(s u, s b) = k(u, b)` for all s of the subgroup. The average over it projects onto
    such coefficients; its independent columns, in their order, are made orthonormal.
    """
    elements = outputs.subgroup.elements
    average: Any = 0
    for s in elements:
        moved = np.eye(len(inputs))[:, inputs.table[s]]  # b to s b
        turned = on_functions(basis, inputs.group, size, s)
        average = average + np.kron(turned, moved) / len(elements)
    found = np.zeros((0, len(average)))
    for column in average.T:
        for _ in range(2):  # the second time for what rounding left
            column = column - (found @ column) @ found
        if (length := np.linalg.norm(column)) > 1e-6:
            found = np.append(found, column[None] / length, axis=0)
    return _constant(found.T)


def on_functions(basis: Basis, group: Group, size: Pair, s: int) -> np.ndarray:
    """`[J, J]`: column j holds function j turned by s, as a sum of the functions."""
    check(basis, group, size)
    if basis == "steerable":
        inverse, points = _between_pixels(size)
        return inverse @ _harmonics_turned(points, group.matrices[s], size)
    if s in group.grid.elements:
        straight, turned = sampled(basis, group, size)[[0, s]]
        return np.linalg.lstsq(straight, turned)[0]
    raise ValueError(
        f"basis={basis!r}: {group.name(s)} turns pixels between pixels, so fields over "
        "cosets of a subgroup that has it need basis='steerable'."
    )


@functools.lru_cache(maxsize=16)
def _between_pixels(size: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Values at a finer grid to harmonics, `[J, P]`; the points of that grid."""
    points = pixels((4 * size[0] + 1, 4 * size[1] + 1)) / 4
    return np.linalg.pinv(_harmonics_turned(points, np.eye(2), size)), points


def _constant(array: np.ndarray) -> np.ndarray:
    array = np.round(array, FAR) + 0.0  # without negative zeros
    array.setflags(write=False)
    return array
