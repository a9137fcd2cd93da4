"""Kernels of e2cnn's and escnn's layers, in our layout, stored for tests.

    python -m benchmarks.steerable_kernels --library e2cnn --out e2cnn.npz
    python -m benchmarks.steerable_kernels --library e2cnn --scale --out scale.npz

The file holds random coefficients, the kernels that the layers of the library make of
them for four output elements, and the outputs of the layers on random images. With
`--scale` (e2cnn only) it holds, for every layer, the squared lengths of basis elements
that map one input field to one output field, and the covariance of the identity's
kernel from the first of two input fields under the default initialization. The command
runs without symjax and JAX, because escnn needs an older NumPy than they do.
"""

import argparse
import itertools
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.steerable import LIBRARIES, load

GROUPS, SIZES = ("C4", "C8", "C16", "D4", "D8"), (3, 5, 7)
KINDS = ("lifting", "group")
CHANNELS = 2  # of the images that are lifted
SCALE_GROUPS, SCALE_SIZES, FIELDS = ("C4", "C8"), (3, 5), 2


def order(group: str) -> int:
    """The number of elements of a group such as "C8" or "D4"."""
    return int(group[1:]) * (2 if group[0] == "D" else 1)


def elements(group: str) -> list[int]:
    """The output elements whose kernels are kept; the first is the identity."""
    return [0, 1, order(group) // 2, order(group) - 1]


class Layer:
    """An R2Conv from images, or a regular field, to regular fields.

    Attributes:
      kernel: `[k, k, A_in, C_in, A, C]`, the order of elements that of `groups`.
      coefficients: how many numbers it is made of.
    """

    def __init__(
        self,
        library: str,
        group: str,
        size: int,
        lifts: bool,
        inputs: int = 1,
        outputs: int = 1,
        initialize: bool = False,
    ):
        """The weights have the library's initialization or (the default) are normal."""
        self._nn = load(f"{library}.nn")
        plane = _plane(library, group)
        kind = plane.trivial_repr if lifts else plane.regular_repr
        self._inputs = self._nn.FieldType(plane, inputs * [kind])
        out = self._nn.FieldType(plane, outputs * [plane.regular_repr])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the PyTorch that came after it
            self.conv = self._nn.R2Conv(
                self._inputs, out, size, bias=False, initialize=initialize
            )
        if not initialize:
            torch.nn.init.normal_(self.conv.weights)
        self.coefficients = self.conv.weights.numel()
        kernel = self.conv.expand_parameters()[0].detach().numpy()
        axes = outputs, order(group), inputs, kernel.shape[1] // inputs, size, size
        self.kernel = kernel.reshape(axes).transpose(4, 5, 3, 2, 1, 0)

    def __call__(self, field: np.ndarray) -> np.ndarray:
        """`[B, H, W, A_in, C_in]` to `[B, H', W', A, C]`, without padding."""
        batch, height, width = field.shape[:3]
        tensor = torch.from_numpy(field.transpose(0, 4, 3, 1, 2).copy())
        tensor = tensor.reshape(batch, -1, height, width)
        with torch.no_grad():
            result = self.conv(self._nn.GeometricTensor(tensor, self._inputs)).tensor
        count, channels = self.kernel.shape[4:]
        result = result.numpy().reshape(batch, channels, count, *result.shape[2:])
        return result.transpose(0, 3, 4, 2, 1)


def _plane(library: str, group: str):
    spaces = load(f"{library}.gspaces")
    name = "flipRot2dOnR2" if group[0] == "D" else "rot2dOnR2"
    make = getattr(spaces, name, None) or getattr(spaces, name[0].upper() + name[1:])
    return make(int(group[1:]))


def arrays(library: str) -> dict[str, np.ndarray]:
    """The stored arrays, by names such as "C8 3 lifting kernel"."""
    torch.manual_seed(0)
    rng, found = np.random.default_rng(0), {}
    for group, size, kind in itertools.product(GROUPS, SIZES, KINDS):
        lifts = kind == "lifting"
        axes = (1, CHANNELS) if lifts else (order(group), 1)
        layer = Layer(library, group, size, lifts, inputs=axes[1])
        field = rng.normal(size=(1, size + 1, size + 1, *axes)).astype(np.float32)
        key = f"{group} {size} {kind}"
        found[f"{key} kernel"] = layer.kernel[:, :, :, :, elements(group)]
        found[f"{key} coefficients"] = np.int32(layer.coefficients)
        found[f"{key} inputs"] = field
        found[f"{key} outputs"] = layer(field)
    return found


def scale_arrays(library: str) -> dict[str, np.ndarray]:
    """The arrays of `--scale`, by names such as "C8 3 lifting covariance"."""
    found = {}
    for group, size, kind in itertools.product(SCALE_GROUPS, SCALE_SIZES, KINDS):
        layer = Layer(library, group, size, kind == "lifting", inputs=FIELDS)
        squares, covariance = _scale(library, layer, order(group))
        found[f"{group} {size} {kind} squares"] = squares
        if len(covariance) < 100:  # the file is to be small
            found[f"{group} {size} {kind} covariance"] = covariance.astype(np.float32)
    return found


def _scale(library: str, layer: Layer, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared lengths `[N]` of the basis elements; the covariance `[P A, P A]`."""
    expansion = layer.conv.basisexpansion
    init, count = load(f"{library}.nn").init, expansion.dimension()
    deviations = init._generalized_he_init_variances(expansion).numpy()
    units = torch.eye(count)
    elements = np.stack([expansion(unit).detach().numpy() for unit in units])
    squares = np.sum(elements.astype(np.float64) ** 2, axis=(1, 2, 3))
    fields = elements.reshape(count, order, FIELDS, -1, elements[0, 0, 0].size)
    drawn = fields[:, 0, 0].transpose(0, 2, 1).reshape(count, -1)
    drawn = drawn * deviations[:, None]
    of_one = fields[:, :, 0].any(axis=(1, 2, 3))
    return squares[of_one], drawn.T @ drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--scale", action="store_true", help="lengths, covariances")
    asked = parser.parse_args()
    made = scale_arrays if asked.scale else arrays
    np.savez_compressed(asked.out, **made(asked.library))


if __name__ == "__main__":
    main()
