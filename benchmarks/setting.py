"""The setting of a benchmark, and the flags that all benchmarks share.

setting, arguments = read(parser, argv)
"""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from symjax.arguments import Parser

CLASSES = 10
NETS = ("parallel_rs", "equivariant")
DTYPES = ("float32", "bfloat16")
SMOKE = {
    "depth": 4,
    "width": 0.25,
    "size": 16,
    "seeds": 1,
    "batch_size": 8,
    "steps": 1,
    "repeats": 2,
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """The work that is measured.

    Attributes:
      net: a name in `symjax.models.MODELS`; the net has the published trunk.
      depth, width: of the net, as in `symjax.models.build`.
      size: side of the random images, in pixels.
      seeds: the number of seeds that run at once, S.
      batch_size: images per step and seed.
      steps: the number of steps of training, or of the attack.
      repeats: timed turns.
      dtype: of symjax's computation; parameters and statistics are float32.
    """

    net: str
    depth: int
    width: float
    size: int
    seeds: int
    batch_size: int
    steps: int
    repeats: int
    dtype: str

    def images(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Random images uint8 `[count, H, W, 3]`, and labels int32 `[count]`."""
        rng = np.random.default_rng(0)
        shape = (count, self.size, self.size, 3)
        images = rng.integers(0, 256, shape, dtype=np.uint8)
        return images, rng.integers(0, CLASSES, count, dtype=np.int32)


def parser(description: str | None, steps: int | None, repeats: int = 7):
    """The shared flags; `steps=None`: 50 on an accelerator, 4 on a CPU."""
    made = Parser(description=description)
    made.add_argument("--net", choices=NETS, default="parallel_rs")
    made.add_argument("--seeds", type=positive, default=5, metavar="S")
    made.add_argument("--batch_size", type=positive, default=128, help="of a seed")
    made.add_argument("--steps", type=positive, default=steps, help="in one call")
    made.add_argument("--dtype", choices=DTYPES, help="bfloat16 on an accelerator")
    add_shared(made, repeats)
    return made


def add_shared(parser: Parser, repeats: int | None) -> None:
    """Adds the flags of every benchmark; `--repeats` only if it has a default."""
    add = parser.add_argument
    if repeats is not None:
        add("--repeats", type=positive, default=repeats, help="timed turns")
    add("--smoke", action="store_true", help="tiny: that it runs")
    add("--out", type=Path, metavar="FILE", help="JSONL to add a row to")


def share_gpu() -> None:
    """Leaves half of a GPU to the peer; called before JAX computes anything."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")


def read(
    parser: Parser, argv: Sequence[str] | None
) -> tuple[Setting, argparse.Namespace]:
    """The setting, and all flags; flags that are not given depend on the backend."""
    arguments = parser.parse_args(argv)
    share_gpu()
    on_cpu = jax.default_backend() == "cpu"
    values: dict[str, Any] = {"depth": 10, "width": 1.0, "size": 32} | vars(arguments)
    values["steps"] = values["steps"] or (4 if on_cpu else 50)
    values["dtype"] = values["dtype"] or ("float32" if on_cpu else "bfloat16")
    if arguments.smoke:
        values |= SMOKE
    names = [field.name for field in dataclasses.fields(Setting)]
    return Setting(**{name: values[name] for name in names}), arguments


def positive(text: str) -> int:
    """Parses an integer of 1 or more."""
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of 1 or more")
    return number
