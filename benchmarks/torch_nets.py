"""Two of the nets in plain PyTorch, to compare with ours.

    net = ParallelRotScale("P 32 32 P 64", classes=10)
    copy_weights(variables, net)        # of the Flax net: the same logits

The parallel rot & scale net has the published trunk, written from the description in
`symjax/models/published.py`; the baseline has the matched trunk.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from flax import traverse_util
from torch import Tensor, nn

SCALES = (0.5, 1.0, 2.0)
TORCH_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Block(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int = 3):
        super().__init__()
        pad = kernel_size // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, padding=pad, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Lifting(nn.Module):
    """A lifting convolution under C4 with bias, and ReLU; `[B, 4 * fields, H, W]`."""

    def __init__(self, inputs: int, fields: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, fields, 3)

    def forward(self, x: Tensor) -> Tensor:
        turned = [torch.rot90(self.conv.weight, turn, (2, 3)) for turn in range(4)]
        bias = self.conv.bias.repeat(4)  # pyright: ignore
        return F.relu(F.conv2d(x, torch.cat(turned), bias, padding=1), inplace=True)


class _Net(nn.Module):
    """A first layer (of the subclass), the trunk, a global maximum.

    Args:
      trunk: "P 32 32 P 64": the number of channels of each block, and P for a pool.
      classes: K.
      width: factor on every number of channels.
      inputs: channels of the first layer.
    """

    def __init__(self, trunk: str, classes: int, width: float, inputs: int):
        super().__init__()
        self.trunk, self.width = trunk.split(), width
        inputs = self.channels(inputs)
        for index, item in enumerate(self.trunk):
            if item != "P":
                outputs = self.channels(int(item))
                self.add_module(f"block_{index}", Block(inputs, outputs))
                inputs = outputs
        self.head = nn.Linear(inputs, classes)

    def channels(self, count: int) -> int:
        return max(1, round(count * self.width))

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1], of even sides at every pool, to logits `[B, K]`."""
        x = self.first_layer((images - 0.5) / 0.5)
        for index, item in enumerate(self.trunk):
            block = self.get_submodule(f"block_{index}") if item != "P" else None
            x = F.max_pool2d(x, 2) if block is None else block(x)
        return self.head(torch.amax(x, (2, 3)))

    def first_layer(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Baseline(_Net):
    """Standard convolutions only, as `symjax.models.Baseline` on the matched trunk."""

    def __init__(self, trunk: str, classes: int, width: float = 1.0):
        super().__init__(trunk, classes, width, 32)
        self.standard = Block(3, self.channels(32))

    def first_layer(self, x: Tensor) -> Tensor:
        return self.standard(x)


class ParallelRotScale(_Net):
    """Standard, rotation and three scales side by side, and a fusion."""

    def __init__(self, trunk: str, classes: int, width: float = 1.0):
        super().__init__(trunk, classes, width, 32)
        features = self.channels(16)
        self.standard = Block(3, features)
        self.rotation = Lifting(3, features)
        for index in range(len(SCALES)):
            self.add_module(f"scale_{index}", Block(3, features))
        branches = (1 + 4 + len(SCALES)) * features
        self.fusion = Block(branches, self.channels(32), kernel_size=1)

    def first_layer(self, x: Tensor) -> Tensor:
        branches, sizes = [self.standard(x), self.rotation(x)], x.shape[2:]
        for index, scale in enumerate(SCALES):
            block = self.get_submodule(f"scale_{index}")
            if scale == 1:
                branches.append(block(x))
            else:
                scaled = _resize(x, [int(size * scale + 0.5) for size in sizes])
                branches.append(_resize(block(scaled), sizes))
        return self.fusion(torch.cat(branches, 1))


def _resize(x: Tensor, sizes: Any) -> Tensor:
    return F.interpolate(x, tuple(sizes), mode="bilinear", antialias=False)


def small_net(
    arrays: dict[str, np.ndarray], activation: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Two convolutions, the second with stride 2, and a dense layer, without biases.

    Args:
      arrays: the weights "conv_0", "conv_1" and "dense" in the layout of Flax.
      activation: applied after each convolution.
    """
    kernels = [
        torch.from_numpy(arrays[f"conv_{index}"].transpose(3, 2, 0, 1).copy())
        for index in range(2)
    ]
    dense = torch.from_numpy(arrays["dense"])

    def net(images: Tensor) -> Tensor:
        x = activation(F.conv2d(images, kernels[0], padding=1))
        x = activation(F.conv2d(x, kernels[1], padding=1, stride=2))
        return x.permute(0, 2, 3, 1).reshape(len(x), -1) @ dense

    return net


def copy_weights(variables: Any, net: nn.Module) -> None:
    """Gives a PyTorch net the weights and running averages of the Flax net.

    Args:
      variables: of one seed, `{"params": ..., "batch_stats": ...}`.
      net: with the same names of modules.

    Raises:
      RuntimeError: from PyTorch, if names or shapes are not the same.
    """
    state = net.state_dict()
    for path, value in traverse_util.flatten_dict(variables).items():
        _, *modules, leaf = path
        array = np.array(value, np.float32)
        if array.ndim == 4:  # [kh, kw, in, out] to [out, in, kh, kw]
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            array = array.T
        name = ".".join([*modules, TORCH_NAMES[leaf]])
        state[name] = torch.from_numpy(np.ascontiguousarray(array))
    net.load_state_dict(state)
