"""The fraction of the roofline that a training step reaches on this machine.

    python -m benchmarks.roofline

    fraction = max(operations / peak operations per second,
                   bytes / peak bytes per second) / seconds of a step

Both peaks are measured in the same run, alternately with the steps, and the fastest
repeat counts: a large matrix product in the compute dtype, and a large addition.
Operations are counted in the traced program (products with zeros of the padding
included), because the compiled program hides the operations of library calls. Bytes are
those that the compiled program reads and writes, also from a cache. If small tensors
stay in the cache, as with `--smoke`, the fraction may exceed 1.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import ours, report, setting
from benchmarks.setting import Setting
from symjax import compilation, seeds
from symjax.metrics import operations

PRODUCTS = 8  # matrix products in one call: dispatching costs nothing beside them


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one training step of all seeds.

    Attributes:
      operations: floating-point, of the traced program, by `symjax.metrics.operations`.
      compiled_operations: as XLA counts them after compiling; library calls count 0.
      bytes: read and written by the compiled program, each operand of each fusion once.
    """

    operations: float
    compiled_operations: float
    bytes: float


def main(argv: Sequence[str] | None = None) -> dict:
    parser = setting.parser(__doc__, steps=None)
    asked, arguments = setting.read(parser, argv)
    product, multiplied = matrix_product(asked.dtype, _sides(arguments.smoke)[0])
    addition, moved = large_addition(_sides(arguments.smoke)[1])
    contestants = {"step": ours.training(asked), "product": product, "add": addition}
    times = report.alternate(contestants, asked.repeats)
    peaks = {
        "operations_per_second": multiplied / min(times["product"]),
        "bytes_per_second": moved / min(times["add"]),
    }
    needed = cost_of_step(asked)
    bounds = {
        "operations": needed.operations / peaks["operations_per_second"],
        "bytes": needed.bytes / peaks["bytes_per_second"],
    }
    limit = max(bounds, key=lambda name: bounds[name])
    step = report.seconds("step", [each / asked.steps for each in times["step"]])
    fraction = bounds[limit] / step.value
    work = vars(asked) | dataclasses.asdict(needed) | peaks | {"limit": limit}
    print(f"{fraction:.1%} of the roofline; {limit} limit it")
    roof = report.seconds(f"roofline: {limit}", [bounds[limit]])
    return report.publish("roofline", work, step, [roof], out=arguments.out)


def cost_of_step(asked: Setting) -> Cost:
    """The `Cost` of a step of all seeds."""
    traced, factor = traced_step(asked)
    compiled = traced.lower().compile().cost_analysis()
    return Cost(
        operations=float(factor * operations.count(traced.jaxpr).flops),
        compiled_operations=factor * _entry(compiled, "flops"),
        bytes=factor * _entry(compiled, "bytes accessed"),
    )


def traced_step(asked: Setting) -> tuple[Any, int]:
    """A program of one step, and how often it runs per step of all seeds.

    One batch of images makes an epoch of one round, no loop. A CPU takes the seeds in
    turn, in a loop whose body XLA counts once: there, it is one seed's step, S times.
    """
    in_turn = jax.default_backend() == "cpu"
    some = dataclasses.replace(asked, seeds=1) if in_turn else asked
    recipe = ours.recipe(asked)
    state = ours.shape_of_state(some, recipe)
    keys = seeds.keys(0, some.seeds)
    program = ours.training_program(recipe)
    traced = program.trace(state, keys, 0, *asked.images(asked.batch_size))
    return traced, asked.seeds // some.seeds


def _entry(analysis: Any, name: str) -> float:
    if not analysis or name not in analysis:
        raise ValueError(f"XLA's cost analysis of this backend has no {name!r}.")
    return float(analysis[name])


def matrix_product(dtype: str, side: int) -> tuple[Callable[[], Any], float]:
    """A function that multiplies `[side, side]` matrices, and its operations."""
    # Random, since a chip multiplies constants faster than what nets hold.
    left = jax.random.normal(jax.random.key(0), (side, side), dtype) / side**0.5

    def products(left):
        return functools.reduce(lambda x, _: left @ x, range(PRODUCTS), left)

    program = compilation.jit(products)
    return lambda: jax.block_until_ready(program(left)), 2.0 * PRODUCTS * side**3


def large_addition(count: int) -> tuple[Callable[[], Any], float]:
    """A function that adds 1 to `count` float32 numbers, and the bytes it moves."""
    numbers = jnp.zeros(count)
    program = compilation.jit(lambda x: x + 1)
    return lambda: jax.block_until_ready(program(numbers)), 2.0 * numbers.nbytes


def _sides(smoke: bool) -> tuple[int, int]:
    """Side of the matrices, and length of the vector: beyond every cache."""
    if smoke:
        return 128, 2**16
    return (2048, 2**26) if jax.default_backend() == "cpu" else (8192, 2**28)


if __name__ == "__main__":
    main()
