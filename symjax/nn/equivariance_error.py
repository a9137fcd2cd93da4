"""Equivariance error of a kernel under rotations that are not on the pixel grid.

    smooth = random_plane_waves(seed=0, axes=(8, 3))      # a feature map on C8
    kernel_equivariance_errors(kernel, smooth, groups.C8.regular, groups.C8.regular)

Rotating an array of pixels by such an angle needs interpolation, which adds an error of
its own. Here the input is a function on the plane, which can be rotated exactly and
evaluated at any point, so that only the error of the kernel is measured.
"""

from collections.abc import Callable, Sequence

import numpy as np

from symjax.groups import Cosets
from symjax.nn.kernels import pixels

Smooth = Callable[[np.ndarray], np.ndarray]


def random_plane_waves(
    seed: int, axes: Sequence[int] = (), pixels_a_wave: float = 8.0, count: int = 16
) -> Smooth:
    """Random smooth functions on the plane: sums of plane waves in random directions.

    Args:
      seed: seed of the random numbers.
      axes: shape of the functions' values, such as (C,) or (G, C).
      pixels_a_wave: the shortest wavelength in pixels; the longest is four times as
        long.
      count: the number of waves in each function.

    Returns:
      A function from points `[2, P]`, in pixels, to values `[P, *axes]`, whose mean
      square over the plane is 1.
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
    """Smooth images, gray towards the corners, rotated without interpolation.

    Args:
      seed: seed of the random numbers.
      count: the number of images.
      size: side of the images in pixels.
      channels: C, the number of channels.
      turn: rotation matrix `[2, 2]`, as in `Group.matrices`; None: no rotation.

    Returns:
      `[count, size, size, C]` in [0, 1], float32. For rotations on the grid, the result
      is bit for bit the rotated array of pixels.
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
    """The equivariance error `rms(K(g f) - g(K f)) / rms(K f)` for each element g.

    Args:
      kernel: kernel of the plain convolution K, `[k, k, A_in, C_in, A_out, C_out]`, as
        returned by `symjax.nn.kernels.expand`.
      smooth: the input f, such as `random_plane_waves(seed, (A_in, C_in))`.
      inputs, outputs: cosets that index the group axes of the input and the output.
      places: the number of random points at which the two sides are compared.
      seed: seed of these points.

    Returns:
      `[G]`; zero up to rounding for the elements on the grid.
    """
    group, size = inputs.group, kernel.shape[:2]
    points = np.random.default_rng(seed).uniform(-32, 32, (2, places))
    window = pixels((size[0], size[1]))
    flat = np.asarray(kernel, np.float64).reshape(-1, *kernel.shape[2:])

    def convolved(function: Smooth, at: np.ndarray) -> np.ndarray:
        values = function((at[:, :, None] + window[:, None]).reshape(2, -1))
        values = values.reshape(at.shape[1], window.shape[1], *kernel.shape[2:4])
        return np.einsum("puac,uacbd->pbd", values, flat, optimize=True)

    errors = []
    for g, matrix in enumerate(group.matrices):
        inverse = group.inverses[g]

        def rotated(at: np.ndarray, matrix=matrix, inverse=inverse) -> np.ndarray:
            return smooth(matrix.T @ at)[:, inputs.table[inverse]]

        before = convolved(rotated, points)
        after = convolved(smooth, matrix.T @ points)[:, outputs.table[inverse]]
        errors.append(np.sqrt(np.mean((before - after) ** 2) / np.mean(after**2)))
    return np.array(errors)
