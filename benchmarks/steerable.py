"""The equivariant net as a user of escnn or e2cnn would write it, to compare with ours.

net = steerable.equivariant("16 32 P 32 64", classes=10, rotations=8)
"""

import importlib
import importlib.util
import sys
from types import ModuleType

import torch
from torch import Tensor, nn

LIBRARIES = ("escnn", "e2cnn")


def equivariant(
    trunk: str, classes: int, width: float = 1.0, rotations: int = 8
) -> nn.Module:
    """Blocks of R2Conv, InnerBatchNorm and ReLU on regular fields of C_n.

    Fields, pools, readout (mean over pixels, group elements kept apart) and kernels are
    those of our net on the published trunk.

    Args:
      trunk: "16 32 P 32": the number of fields of each block, and P for a pool.
      classes: K.
      width: factor on every number of fields.
      rotations: n.

    Raises:
      ModuleNotFoundError: if neither library is installed.
    """
    gspaces = load(f"{library()}.gspaces")
    plane = getattr(gspaces, "rot2dOnR2", None) or gspaces.Rot2dOnR2
    enn = load(f"{library()}.nn")
    return _Equivariant(enn, plane(rotations), trunk, classes, width)


def load(name: str) -> ModuleType:
    """Imports a module of the library; undoes that e2cnn switches JAX to float64."""
    jax = sys.modules.get("jax")
    wide = jax and jax.config.jax_enable_x64
    module = importlib.import_module(name)
    if jax:
        jax.config.update("jax_enable_x64", wide)
    return module


def library() -> str:
    """The name of the installed library; escnn if both are."""
    for name in LIBRARIES:
        if importlib.util.find_spec(name):
            return name
    raise ModuleNotFoundError("neither escnn nor e2cnn: pip install escnn")


class _Equivariant(nn.Module):
    def __init__(self, enn, plane, trunk: str, classes: int, width: float):
        super().__init__()
        fields = enn.FieldType(plane, 3 * [plane.trivial_repr])
        self.lift, layers = fields, []
        for item in trunk.split():
            if item == "P":
                layers.append(enn.PointwiseMaxPool(fields, 2))
                continue
            count = max(1, round(int(item) * width))
            outputs = enn.FieldType(plane, count * [plane.regular_repr])
            layers += [
                enn.R2Conv(fields, outputs, kernel_size=3, padding=1, bias=False),
                enn.InnerBatchNorm(outputs),
                enn.ReLU(outputs, inplace=True),
            ]
            fields = outputs
        self.layers = enn.SequentialModule(*layers)
        self.head = nn.Linear(fields.size, classes)
        self.wrap = enn.GeometricTensor

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1] to logits `[B, K]`."""
        field = self.layers(self.wrap((images - 0.5) / 0.5, self.lift)).tensor
        return self.head(torch.mean(field, (2, 3)))
