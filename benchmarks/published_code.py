"""The published PyTorch nets and attacks, from a checkout of the published repository.

    code = PublishedCode(Path("Role-of-Equivariance"), "weighted")
    net = code.net()                                # with PyTorch's initialization
    adversarial = code.attack(net, "pgd", images, labels, 0.03)

This repository has none of the published code. The published files are scripts that
download CIFAR and train when they are imported. Therefore only the definitions of a
script (its classes and functions, with the imports that they need) are compiled and
run, see `definitions`. The module needs PyTorch and e2cnn.
"""

import ast
import contextlib
import copy
import dataclasses
import functools
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PACKAGES = ("torch", "e2cnn")
"""Packages that definitions can import; scripts also import torchvision for data."""
RATE, STEP, STEPS = 1e-3, 0.01, 40


@dataclasses.dataclass(frozen=True)
class Script:
    """The files that define a published net and its attacks, and its normalization.

    Attributes:
      net: the file, in the checkout, that defines the class of the net.
      name: of that class.
      attacks: the file that defines `fgsm_attack` and `pgd_attack`.
      mean, std: normalization of images in [0, 1], one value a channel.
    """

    net: str
    name: str
    attacks: str
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)


def _cifar10(file: str, name: str) -> Script:
    path = f"cifar10/{file}.py"
    return Script(path, name, path)


SCRIPTS = {
    "baseline": _cifar10("baselineCNN10layer_cifar10_test", "ExtendedCNN"),
    "parallel_rot": _cifar10(
        "parallelGCNN10layer_cifar10_no_aug", "ImprovedParallelGCNN"
    ),
    "parallel_rs": _cifar10(
        "parallelGCNNrotscale10layer_cifar10_test",
        "BaselineCNNWithParallelScaleAndRotEquivariance",
    ),
    "weighted": _cifar10(
        "weightedGCNNrotscale10layer_cifar10_test", "ImprovedParallelGCNN"
    ),
    "cascaded": _cifar10("cascadedGCNN10layer_cifar10_test", "CascadedGCNN"),
    "equivariant": Script(
        "fullyeqv/model.py",
        "FullyGEquivariantCNN10",
        "fullyeqv/test.py",
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    ),
}
TRAINS_WHILE_ATTACKED = ("parallel_rs", "equivariant")
TRAINS_WHILE_PREDICTING = ("parallel_rs",)
"""Nets that the published loops have in training mode, where batch norm uses the
statistics of the batch and moves its running averages. These loops differ in form from
script to script, so they are written anew in `PublishedCode.outcome`."""


def definitions(source: str, given: dict[str, Any]) -> dict[str, Any]:
    """The classes and functions of a script, without running the rest of it.

    Args:
      source: the text of the script.
      given: the values of global variables that the definitions read.

    Returns:
      The global variables of the script, by name.
    """
    kept = [node for node in ast.parse(source).body if _defines(node)]
    variables = dict(given)
    exec(compile(ast.Module(kept, []), "published", "exec"), variables)
    return variables


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name.split(".")[0] in PACKAGES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in PACKAGES
    return isinstance(node, ast.ClassDef | ast.FunctionDef)


@dataclasses.dataclass(frozen=True)
class PublishedCode:
    """One published net with its attacks.

    Attributes:
      checkout: folder of the published repository.
      name: of the net, a key of `SCRIPTS`.
    """

    checkout: Path
    name: str

    @property
    def script(self) -> Script:
        return SCRIPTS[self.name]

    def net(self) -> nn.Module:
        """A net for 10 classes with its first weights, float64, in training mode.

        e2cnn keeps the functions of its steerable basis in the default type of the time
        at which a layer is first made. Of float64 they can be converted to float32
        without loss, and not the other way round.
        """
        with _default_dtype(torch.float64), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of e2cnn, about newer versions of PyTorch
            return self._definitions(self.script.net)[self.script.name]()

    def fed(self, images: np.ndarray) -> Tensor:
        """Normalizes images `[B, H, W, 3]` in [0, 1] as the published script does.

        Returns:
          `[B, 3, H, W]`, of the type of the images.
        """
        tensor = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        mean, std = (
            torch.tensor(values, dtype=tensor.dtype).reshape(1, -1, 1, 1)
            for values in (self.script.mean, self.script.std)
        )
        return (tensor - mean) / std

    def attack(
        self, net: nn.Module, attack: str, fed: Tensor, labels: Tensor, eps: float
    ) -> Tensor:
        """Adversarial examples by the published function.

        Args:
          net: in the mode in which it is attacked.
          attack: "fgsm", or "pgd" with the published 40 steps of 0.01.
          fed: normalized images, `[B, 3, H, W]`.
          labels: int64 `[B]`.
          eps: radius in units of `fed`.
        """
        function = self._definitions(self.script.attacks)[f"{attack}_attack"]
        rest = (STEP, STEPS) if attack == "pgd" else ()
        return function(net, fed.clone(), labels, eps, *rest).detach()

    def outcome(
        self, net: nn.Module, attack: str, fed: Tensor, labels: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """As `attack`, and whether each prediction is still correct, `[B]`.

        The attack and the predictions run in the modes of the published loop (training
        or evaluation), which may change the running averages of the net.
        """
        net.train(self.name in TRAINS_WHILE_ATTACKED)
        adversarial = self.attack(net, attack, fed, labels, eps)
        net.train(self.name in TRAINS_WHILE_PREDICTING)
        with torch.no_grad():
            return adversarial, net(adversarial).argmax(dim=1) == labels

    def _definitions(self, file: str) -> dict[str, Any]:
        return _of_file(self.checkout / file)


@functools.cache
def _of_file(path: Path) -> dict[str, Any]:
    given = {"device": torch.device("cpu"), "criterion": nn.CrossEntropyLoss()}
    return definitions(path.read_text(), given)


def train(
    code: PublishedCode,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    batch_size: int,
) -> nn.Module:
    """A published net after a few steps of Adam at the published rate.

    It is trained in float32; the weights are then those of a net of float64.

    Args:
      code: of the net.
      images: uint8 `[N, H, W, 3]`; they are gone through in order, again and again.
      labels: int32 `[N]`.
      steps: of the optimizer.
      batch_size: images a step.
    """
    torch.manual_seed(0)
    exact = code.net()
    net = converted(exact, torch.float32)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for step in range(steps):
        batch = (np.arange(batch_size) + step * batch_size) % len(images)
        logits = net(code.fed(np.float32(images[batch]) / 255))
        loss = nn.functional.cross_entropy(logits, torch.tensor(labels[batch]).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    averages = "running_mean", "running_var"
    kept = dict(net.named_parameters())
    kept |= {k: v for k, v in net.named_buffers() if k.endswith(averages)}
    exact.load_state_dict(kept, strict=False)  # all but e2cnn's basis
    return exact.requires_grad_(False)  # attacks need the gradient of images alone


def converted(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a net in another type. Layers of e2cnn share their basis; copies do
    not share it with the original."""
    return copy.deepcopy(net).to(dtype)


def commit(checkout: Path) -> str:
    """The commit of a checkout; "unknown" if it is no git repository."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
