"""How nearly a kernel turns with the image, between the pixels of the grid.

    smooth = turning.waves(seed=0, axes=(8, 3))           # a smooth field on C8
    turning.errors(kernel, smooth, groups.C8.regular, groups.C8.regular)    # [G]

Turning a picture between its pixels takes interpolation, whose error is not the
layer's. Here the picture is a function, which is turned without loss and seen at any
point, so what is measured is the layer alone.
"""

from collections.abc import Callable, Sequence

import numpy as np

from symjax.groups import Cosets
from symjax.nn.kernels import pixels

Smooth = Callable[[np.ndarray], np.ndarray]


def random_plane_waves(
    seed: int, axes: Sequence[int] = (), pixels_a_wave: float = 8.0, count: int = 16
) -> Smooth:
    """Random functions on the plane, sums of plane waves in all directions.

    Args:
      seed: of the draw.
      axes: of the functions, such as (C,) or (G, C).
      pixels_a_wave: length of the shortest waves. The longest are four times as long.
      count: of the waves of each function.

    Returns:
      A function from points `[2, P]`, in pixels, to values `[P, *axes]` of mean square
      1 over the plane.
    """
    rng = np.random.default_rng(seed)
    size = count, int(np.prod(axes))
    number = 2 * np.pi / (pixels_a_wave * rng.uniform(1, 4, size))
    direction, phase = rng.uniform(0, 2 * np.pi, (2, *size))
    vectors = np.stack([number * np.cos(direction), number * np.sin(direction)])

    def at(points: np.ndarray) -> np.ndarray:
        angles = np.einsum("dp,dmf->pmf", points, vectors) + phase
        return np.sqrt(2 / count) * np.cos(angles).sum(1).reshape(-1, *axes)

    return at


def smooth_images(
    seed: int, count: int, size: int, channels: int = 3, turn: np.ndarray | None = None
) -> np.ndarray:
    """Smooth images, grey towards the corners, turned without interpolation.

    Args:
      seed: of the draw.
      count: of the images.
      size: side, in pixels.
      channels: C.
      turn: `[2, 2]`, as in `Group.matrices`; None leaves them as they are.

    Returns:
      `[count, size, size, C]` in [0, 1], float32; turns on the grid move their pixels
      to the last bit.
    """
    points = pixels((size, size))
    if turn is not None:
        points = np.round(turn.T @ points, 9)
    fade = np.exp(-0.5 * np.sum(points**2, axis=0) / (size / 5) ** 2)
    values = np.sin(
        random_plane_waves(seed, (count, channels))(points)
    )  # [P, count, C]
    images = 0.5 + 0.5 * fade[:, None, None] * values
    shape = count, size, size, channels
    return np.moveaxis(images, 0, 1).reshape(shape).astype(np.float32)


def kernel_equivariance_errors(
    kernel: np.ndarray,
    smooth: Smooth,
    inputs: Cosets,
    outputs: Cosets,
    places: int = 32,
    seed: int = 0,
) -> np.ndarray:
    """`rms(K(g f) - g(K f)) / rms(K f)` of a convolution, for each element g.

    Args:
      kernel: of the plain convolution, `[k, k, A_in, C_in, A_out, C_out]`, as
        `symjax.nn.kernels.expand` makes it.
      smooth: a field f, as of `waves(seed, (A_in, C_in))`.
      inputs, outputs: over which the group axes run.
      places: random points at which the two sides are compared.
      seed: of these points.

    Returns:
      `[G]`: rounding for the elements on the grid.
    """
    group, size = inputs.group, kernel.shape[:2]
    points = np.random.default_rng(seed).uniform(-32, 32, (2, places))
    window = pixels((size[0], size[1]))
    flat = np.asarray(kernel, np.float64).reshape(-1, *kernel.shape[2:])

    def convolved(field: Smooth, at: np.ndarray) -> np.ndarray:
        seen = field((at[:, :, None] + window[:, None]).reshape(2, -1))
        seen = seen.reshape(at.shape[1], window.shape[1], *kernel.shape[2:4])
        return np.einsum("puac,uacbd->pbd", seen, flat, optimize=True)

    found = []
    for g, matrix in enumerate(group.matrices):
        back = group.inverses[g]

        def turned(at: np.ndarray, matrix=matrix, back=back) -> np.ndarray:
            return smooth(matrix.T @ at)[:, inputs.table[back]]

        before = convolved(turned, points)
        after = convolved(smooth, matrix.T @ points)[:, outputs.table[back]]
        found.append(np.sqrt(np.mean((before - after) ** 2) / np.mean(after**2)))
    return np.array(found)
