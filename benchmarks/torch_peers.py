"""The same work in PyTorch, in its fastest and in its common settings.

for variant in variants():
    run = training(net, images, labels, batch_size=128, variant=variant)
    run()       # one pass over the images; returns when it is done
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ours import RATE


@dataclasses.dataclass(frozen=True)
class Variant:
    """How PyTorch runs a net.

    Attributes:
      channels_last: memory format of images and weights.
      bfloat16: autocast.
      compiled: `torch.compile(mode="reduce-overhead")`, which uses CUDA graphs.
    """

    channels_last: bool = False
    bfloat16: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        layout = "channels-last" if self.channels_last else "contiguous"
        dtype = "bfloat16" if self.bfloat16 else "float32"
        how = "compiled with CUDA graphs" if self.compiled else "eager"
        return f"{layout} {dtype}, {how}"

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def device() -> torch.device:
    """The GPU, if PyTorch sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def variants() -> list[Variant]:
    """On a GPU the fastest and the one of the published code; on a CPU both layouts."""
    if device().type == "cuda":
        return [Variant(channels_last=True, bfloat16=True, compiled=True), Variant()]
    return [Variant(), Variant(channels_last=True)]


class _Autocast(nn.Module):
    def __init__(self, net: nn.Module, enabled: bool):
        super().__init__()
        self.net, self.enabled = net, enabled

    def forward(self, images: Tensor) -> Tensor:
        kind = images.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.enabled):
            return self.net(images)


def prepare(net: nn.Module, variant: Variant) -> nn.Module:
    """Moves the net to the device and prepares it for the variant; returns it."""
    torch.backends.cudnn.benchmark = True  # sizes never change: let it choose
    net = net.to(device(), memory_format=variant.layout)  # pyright: ignore
    wrapped = _Autocast(net, variant.bfloat16)
    if variant.compiled:
        wrapped = torch.compile(wrapped, mode="reduce-overhead")
    return wrapped  # pyright: ignore


def training(
    net: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    variant: Variant,
) -> Callable[[], None]:
    """A function that trains for one pass over the images and waits.

    It uses cross entropy, Adam in its fused form, and data on the device, as ours.

    Args:
      net: maps images `[B, 3, H, W]` in [0, 1] to logits; it is trained in place.
      images, labels: uint8 `[N, H, W, 3]`, N a multiple of the batch size, and `[N]`.
      batch_size: images per step.
      variant: how PyTorch runs the net.
    """
    prepared = prepare(net, variant).train()
    adam = torch.optim.Adam(prepared.parameters(), lr=RATE, fused=True)
    pixels, answers = _on_device(images, labels)

    def run() -> None:
        order = torch.randperm(len(pixels), device=device())
        for chosen in order.split(batch_size):
            adam.zero_grad()
            logits = prepared(_to_unit(pixels[chosen], variant))
            F.cross_entropy(logits, answers[chosen]).backward()
            adam.step()
        _wait()

    return run


def attack(
    net: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    steps: int,
    eps: float,
    variant: Variant,
) -> Callable[[], None]:
    """A function that attacks the images with torchattacks' PGD and waits.

    The arguments are those of `training`, and the steps of PGD, each of the length
    `2.5 eps / steps` as in ours, and the linf radius `eps` in pixels of [0, 1].
    """
    import torchattacks  # pyright: ignore

    # A compiled net would compute the gradients of all that asks for them.
    prepared = prepare(net.requires_grad_(False), variant).eval()
    pgd = torchattacks.PGD(prepared, eps=eps, alpha=2.5 * eps / steps, steps=steps)
    pixels, answers = _on_device(images, labels)

    def run() -> None:
        batches = pixels.split(batch_size), answers.split(batch_size)
        for batch, truth in zip(*batches, strict=True):
            pgd(_to_unit(batch, variant), truth)
        _wait()

    return run


def _on_device(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Images uint8 `[N, 3, H, W]`, channels last in memory; labels int64 `[N]`."""
    pixels = torch.from_numpy(images).to(device()).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(labels).to(device(), torch.int64)


def _to_unit(pixels: Tensor, variant: Variant) -> Tensor:
    return pixels.float().div_(255).contiguous(memory_format=variant.layout)


def _wait() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()
