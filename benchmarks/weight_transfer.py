"""Converts the weights of a published PyTorch net to variables of ours.

    ours = models.build("weighted", 10, 10, trunk="published")
    variables = weight_transfer.variables("weighted", net, ours)

The channels of e2cnn's regular fields are ordered by field, `[C, G]`; ours are ordered
by group element, `[G, C]`. Convolutions before batch norm have a bias in PyTorch and
none here: the bias is subtracted from the running mean. Steerable kernels are converted
by `fit`, from the kernels that e2cnn expands.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from symjax import nn
from symjax.models import Net

Channels = Sequence[int] | None


def variables(
    name: str, theirs: Any, ours: Net, dtype: DTypeLike = jnp.float32
) -> dict[str, Any]:
    """The variables with which our net equals the published one.

    Args:
      name: of the net, a key of `NETS`.
      theirs: the published `torch.nn.Module`, in training mode: e2cnn expands the
        kernels of a net in evaluation mode once, before weights may change.
      ours: our net of that name, on the published trunk, published width.
      dtype: of the variables.

    Returns:
      `{"params": ..., "batch_stats": ...}`.

    Raises:
      ValueError: if ours has other variables, or kernels that are no sums of the basis.
    """
    transfer = Transfer(ours, dtype)
    NETS[name](transfer, theirs)
    found = {"params": transfer.params, "batch_stats": transfer.batch_stats}
    found = jax.tree.map(lambda x: jnp.asarray(x, dtype), found)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    expected = jax.eval_shape(ours.init, jax.random.key(0), images)
    shapes, wanted = (jax.tree.map(np.shape, tree) for tree in (found, expected))
    if shapes != wanted:
        raise ValueError(
            f"{name}: the published net gives the variables {shapes}, expected those "
            f"of ours, {wanted}."
        )
    return found


def by_element(fields: int, order: int, first: int = 0) -> list[int]:
    """The indices of e2cnn's channels of regular fields, in our order.

    Args:
      fields: number of fields, C.
      order: number of elements of the group, G.
      first: the place of the first of these channels.
    """
    return [first + c * order + g for g in range(order) for c in range(fields)]


class Transfer:
    """Collects the variables of our net, block by block.

    The arguments `name` are names of our blocks; `conv`, `norm` and `dense` are PyTorch
    modules of theirs. `inputs` and `outputs` are the indices of their channels in our
    order; None: the order is the same.

    Attributes:
      params, batch_stats: the variables that were collected so far, NumPy arrays.
    """

    def __init__(self, ours: Net, dtype: DTypeLike):
        self.ours, self.dtype = ours, dtype
        self.params: dict[str, Any] = {}
        self.batch_stats: dict[str, Any] = {}

    def convolution(self, name: str, conv: Any, inputs: Channels = None) -> None:
        """A standard convolution with a bias and no norm."""
        kernel = _kernel(conv.weight, inputs)
        self.params[name] = {"conv": {"kernel": kernel, "bias": _array(conv.bias)}}

    def block(
        self,
        name: str,
        conv: Any,
        norm: Any,
        inputs: Channels = None,
        outputs: Channels = None,
    ) -> None:
        """A standard convolution and its batch norm."""
        kernel = {"kernel": _kernel(conv.weight, inputs, outputs)}
        self._with_norm(name, kernel, norm, _array(conv.bias), outputs)

    def rotation(self, name: str, conv: Any, norm: Any = None) -> None:
        """An `e2cnn.nn.R2Conv` from images or regular fields to regular fields.

        The statistics of `norm` are shared over the group.
        """
        order = self.ours.group.order
        kernel, bias = (_array(part) for part in conv.expand_parameters())
        fields = len(conv.out_type.representations)
        lifts = conv.in_type.representations[0].size == 1
        inputs = None if lifts else by_element(kernel.shape[1] // order, order)
        make = nn.LiftingConv if lifts else nn.GroupConv
        layer = self.ours.bind_group(make)(fields, use_bias=norm is None)
        outputs = by_element(fields, order)
        plain = {"kernel": _kernel(kernel, inputs, outputs)}
        if norm is None:
            plain["bias"] = bias[outputs]
            self.params[name] = {"conv": layer.fit(plain, dtype=self.dtype)}
        else:
            fitted = layer.fit(plain, dtype=self.dtype)
            self._with_norm(name, fitted, norm, bias[::order])

    def head(self, dense: Any) -> None:
        """The last layer, a `torch.nn.Linear`."""
        kernel, bias = _array(dense.weight).T, _array(dense.bias)
        self.params["head"] = {"kernel": kernel, "bias": bias}

    def trunk(
        self, theirs: Any, numbers: Sequence[int], inputs: Channels = None
    ) -> None:
        """The blocks `conv2`, `conv3`, ... of the published net, by their numbers.

        `inputs` belongs to the first of them.
        """
        for name, number in zip(self.names(), numbers, strict=True):
            conv, norm, _ = getattr(theirs, f"conv{number}")
            self.block(name, conv, norm, inputs)
            inputs = None

    def names(self) -> list[str]:
        """The names of the blocks of our trunk."""
        items = enumerate(self.ours.trunk.split())
        return [f"block_{index}" for index, item in items if item != "P"]

    def _with_norm(self, name, conv, norm, bias, channels: Channels = None) -> None:
        scale, shift, mean, variance = (
            _array(part)[... if channels is None else list(channels)]
            for part in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        )
        bias = bias[... if channels is None else list(channels)]
        self.params[name] = {"conv": conv, "norm": {"scale": scale, "bias": shift}}
        self.batch_stats[name] = {"norm": {"mean": mean - bias, "var": variance}}


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().numpy(), np.float64)


def _kernel(weight: Any, inputs: Channels = None, outputs: Channels = None):
    """`[C_out, C_in, k, k]` to `[k, k, C_in, C_out]`, channels in our order."""
    array = weight if isinstance(weight, np.ndarray) else _array(weight)
    kernel = array.transpose(2, 3, 1, 0)
    kernel = kernel if inputs is None else kernel[:, :, list(inputs)]
    return kernel if outputs is None else kernel[..., list(outputs)]


def _baseline(transfer: Transfer, theirs: Any) -> None:
    names = ["standard", *transfer.names()]
    for number, name in enumerate(names, 1):
        conv, norm = getattr(theirs, f"conv{number}"), getattr(theirs, f"bn{number}")
        transfer.block(name, conv, norm)
    transfer.head(theirs.fc)


def _parallel_rot(transfer: Transfer, theirs: Any) -> None:
    transfer.block("standard", *theirs.conv1_standard[:2])
    transfer.rotation("rotation", theirs.conv1_group)
    inputs = [*range(16), *by_element(16, 4, first=16)]
    transfer.trunk(theirs, range(2, 11), inputs)
    transfer.head(theirs.fc)


def _parallel_rs(transfer: Transfer, theirs: Any) -> None:
    transfer.block("standard", *theirs.conv_standard[:2])
    transfer.rotation("rotation", theirs.conv_equivariant_rot)
    for index, scale in enumerate(("0_5", "1_0", "2_0")):
        conv, norm, _ = getattr(theirs, f"conv_scale_{scale}")
        transfer.block(f"scale_{index}", conv, norm)
    inputs = [*range(16), *by_element(16, 8, first=16), *range(144, 192)]
    conv, norm, _ = theirs.fusion
    transfer.block("fusion", conv, norm, inputs)
    transfer.trunk(theirs, range(2, 10))
    transfer.head(theirs.fc)


def _weighted(transfer: Transfer, theirs: Any) -> None:
    transfer.block("standard", *theirs.conv1_standard[:2])
    transfer.rotation("rotation", theirs.conv1_group)
    inputs = by_element(16, 4)
    transfer.convolution("rotation_projection", theirs.bottleneck, inputs)
    weights = theirs.weight_standard, theirs.weight_group
    transfer.params["weights"] = {"logits": np.stack([_array(x) for x in weights])}
    transfer.trunk(theirs, range(2, 10))
    transfer.head(theirs.fc)


def _cascaded(transfer: Transfer, theirs: Any) -> None:
    fields = by_element(16, 4)
    transfer.block("standard", *theirs.conv1_standard[:2], outputs=fields)
    transfer.rotation("rotation", theirs.conv1_group)
    transfer.trunk(theirs, range(2, 9), fields)
    transfer.head(theirs.fc)


def _equivariant(transfer: Transfer, theirs: Any) -> None:
    for number, name in enumerate(transfer.names(), 1):
        conv, norm, *_ = getattr(theirs, f"block{number}").children()
        (shared,) = norm.children()
        transfer.rotation(name, conv, shared)
    transfer.head(theirs.fc)
    head = transfer.params["head"]  # the field is flattened, [C, G] in theirs
    head["kernel"] = head["kernel"][by_element(256, 8)]


NETS: dict[str, Callable[[Transfer, Any], None]] = {
    "baseline": _baseline,
    "parallel_rot": _parallel_rot,
    "parallel_rs": _parallel_rs,
    "weighted": _weighted,
    "cascaded": _cascaded,
    "equivariant": _equivariant,
}
"""The functions that convert the weights of each net."""
