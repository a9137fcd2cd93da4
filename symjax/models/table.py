"""The table of all nets in `docs/models.md`.

python -m symjax.models.table
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from symjax import formatting, models
from symjax.arguments import Parser, command

IMAGE_SHAPE, CLASSES = (32, 32, 3), 10


def markdown() -> str:
    """A Markdown table of all nets, trunks and depths, for CIFAR-10."""
    nets = itertools.product(models.TRUNKS, models.MODELS, models.DEPTHS)
    return formatting.markdown(
        ["net", "trunk", "depth", "first layer: kernels", "then", "parameters"],
        [
            [name, trunk, str(depth), *_describe(name, trunk, depth)]
            for trunk, name, depth in nets
        ],
    )


def _describe(name: str, trunk: str, depth: int) -> tuple[str, str, str]:
    model = models.build(name, depth, CLASSES, trunk)
    images = jax.ShapeDtypeStruct((1, *IMAGE_SHAPE), jnp.float32)
    init = functools.partial(model.init, train=False)
    params = jax.eval_shape(init, jax.random.key(0), images)["params"]
    first = [
        f"{module} {'x'.join(map(str, shape))}"
        for module, tree in sorted(params.items(), key=lambda item: item[0] == "fusion")
        if not module.startswith(("block_", "head"))
        for shape in _kernel_shapes(tree)
    ]
    readout = f" ({model.readout})" if isinstance(model, models.Equivariant) else ""
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return (
        "; ".join(first) or "lifts in the first block",
        model.trunk + readout,
        (f"{count:,}"),
    )


def _kernel_shapes(tree: Mapping[str, Any]) -> Iterator[tuple[int, ...]]:
    for name, value in tree.items():
        if name == "kernel":
            yield value.shape
        elif isinstance(value, Mapping):
            yield from _kernel_shapes(value)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of all nets.

    Args:
      arguments: the arguments of the command line.
    """
    Parser("python -m symjax.models.table", __doc__).parse_args(arguments)
    print(markdown(), end="")


if __name__ == "__main__":
    main()
