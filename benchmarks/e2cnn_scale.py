"""The length and the initial covariance of e2cnn's kernels, stored for tests.

    python -m benchmarks.e2cnn_scale --out tests/data/e2cnn_scale.npz

For every layer the file holds the squared lengths of the basis elements that map one
input field to one output field, and the covariance of the identity's kernel from the
first of two input fields under e2cnn's default initialization.
"""

import argparse
import itertools
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.steerable import load

GROUPS, SIZES, FIELDS = (4, 8), (3, 5), 2


def numbers() -> dict[str, np.ndarray]:
    """The stored arrays, by names such as "C8 3 lifting covariance"."""
    found = {}
    for order, size, kind in itertools.product(GROUPS, SIZES, ("lifting", "group")):
        squares, covariance = _of_layer(order, size, kind == "lifting")
        key = f"C{order} {size} {kind}"
        found[f"{key} squares"] = squares
        if len(covariance) < 100:  # the file is to be small
            found[f"{key} covariance"] = covariance.astype(np.float32)
    return found


def _of_layer(order: int, size: int, lifts: bool) -> tuple[np.ndarray, np.ndarray]:
    """Squared lengths `[N]` of the basis elements; the covariance `[P A, P A]`."""
    plane = load("e2cnn.gspaces").Rot2dOnR2(order)
    modules = load("e2cnn.nn")
    inputs = FIELDS * [plane.trivial_repr if lifts else plane.regular_repr]
    fields = [modules.FieldType(plane, x) for x in (inputs, [plane.regular_repr])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the PyTorch that came after it
        layer = modules.R2Conv(*fields, size, bias=False, initialize=False)
    expansion = layer.basisexpansion
    count = expansion.dimension()
    deviations = modules.init._generalized_he_init_variances(expansion).numpy()
    units = torch.eye(count)
    elements = np.stack([expansion(unit).detach().numpy() for unit in units])
    squares = np.sum(elements.astype(np.float64) ** 2, axis=(1, 2, 3))
    first = elements.reshape(count, order, FIELDS, -1, size**2)[:, 0, 0]
    drawn = first.transpose(0, 2, 1).reshape(count, -1) * deviations[:, None]
    of_one = elements.reshape(count, order, FIELDS, -1)[:, :, 0].any(axis=(1, 2))
    return squares[of_one], drawn.T @ drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    np.savez_compressed(parser.parse_args().out, **numbers())


if __name__ == "__main__":
    main()
