"""Equivariance error of each layer of a net, before and after training.

    python -m symjax.evaluation.equivariance --config configs/equivariant.py

    audit = equivariance.audit(model, variables, size=32, dtype="float32")
    audit["block_1"]                # [G], an error for each element of the net's group

The images are smooth functions, which are rotated without interpolation. For elements
on the pixel grid, the error is `max |F(g x) - g F(x)| / max |F(x)|` over all pixels.
For other elements, g F(x) is interpolated (bicubic), and the error is the root mean
square of `F(g x) - g F(x)` over that of `g F(x)`, inside a disc. It contains the error
of the interpolation, which is large on few pixels, and is therefore an upper bound.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags
from jax import Array
from rich.console import Console

from symjax import command, command_help, compilation, folders, models, seeds
from symjax.groups import Group
from symjax.metrics.orbit import rotate
from symjax.models.net import Net
from symjax.nn import equivariance_error
from symjax.training import loop
from symjax.training.experiment import Config, Experiment

IMAGES, SEED = 4, 0
DTYPES = ("float32", "bfloat16")
Errors = Mapping[str, np.ndarray]
FLAGS = flags.FLAGS


def audit(
    model: Net, variables: Any, size: int, channels: int = 3, dtype: str = "float32"
) -> Errors:
    """The error of each layer under each element of the net's group.

    Args:
      model, variables: the net, and the variables of one seed.
      size, channels: side of the images in pixels, and number of their channels.
      dtype: dtype of the computation.

    Returns:
      Errors `[G]` by name of the layer; infinite where a rotation changes the shape of
      the output. "head" is the logits, whose error is 0 for an invariant net.

    Raises:
      ExactnessError, ValueError: if the net does not accept images of that size.
    """
    group = model.group
    net = models.layers_fn(model.clone(dtype=jnp.dtype(dtype)), variables)
    rotated = [
        equivariance_error.smooth_images(SEED, IMAGES, size, channels, matrix)
        for matrix in group.matrices
    ]
    with jax.default_matmul_precision("highest"):  # no tf32
        errors = _errors(net, np.stack(rotated), group)
    return {name: np.asarray(values) for name, values in errors.items()}


@functools.partial(compilation.jit_fast_compile, static_argnames="group")
def _errors(layers_fn, rotated: Array, group: Group) -> dict[str, Array]:
    layers = jax.lax.map(layers_fn, rotated)  # one element after the other
    errors = {}
    for name, outputs in layers.items():
        wide = outputs.astype(jnp.float32)
        each = [_error(group, g, wide[0], wide[g]) for g in range(group.order)]
        errors[name] = jnp.stack(each)
    return errors


def _error(group: Group, g: int, at_x: Array, at_gx: Array) -> Array:
    """The error of one layer under one element, from its outputs at x and at g x."""
    if at_x.ndim == 2:
        expected = at_x
    elif g not in group.grid.elements:
        expected = _act_interpolated(group, g, at_x)
        inside = _disc(at_x.shape[1]).reshape(1, -1, 1)
        flat = len(at_x), inside.size, -1
        difference = inside * (at_gx - expected).reshape(flat)
        size = jnp.sum((inside * expected.reshape(flat)) ** 2)
        return jnp.sqrt(jnp.sum(difference**2) / size)
    else:
        act = group.act_on_field if at_x.ndim == 5 else group.act
        expected = act(g, at_x)
    if expected.shape != at_gx.shape:
        return jnp.array(jnp.inf)
    return jnp.max(jnp.abs(at_gx - expected)) / jnp.max(jnp.abs(at_x))


def _act_interpolated(group: Group, g: int, x: Array) -> Array:
    """`group.act` or `group.act_on_field`, interpolated."""
    mirror, turn = divmod(g, group.rotations)
    if x.ndim == 5:
        x = jnp.take(x, group.regular.table[group.inverses[g]], axis=-2)
    flat = x.reshape(*x.shape[:3], -1)
    flat = jnp.flip(flat, axis=2) if mirror else flat
    return rotate(flat, 2 * np.pi * turn / group.rotations).reshape(x.shape)


def _disc(side: int) -> np.ndarray:
    """`[side * side]`: 1 for the pixels that stay in the image under any rotation."""
    distance = np.hypot(*equivariance_error.pixels((side, side)))
    return (distance <= max(side / 2 - 1, 1)).astype(np.float32)


def run(
    config: Config,
    workdir: Path,
    sizes: list[int],
    console: Console,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Prints the equivariance errors of a net before and after training.

    The run is trained unless `workdir` holds it; `stop` ends the training as in
    `loop.train`, and nothing is measured then. A size that the net does not accept is
    reported.
    """
    experiment = Experiment.build(config)
    trained = loop.train(config, workdir, stop=stop)
    if stop is not None and stop():
        return
    states = {"before": experiment.fresh_state(), "after": trained}
    nets = {when: seeds.of_seed(s.variables, 0) for when, s in states.items()}
    channels = experiment.dataset.image_shape[-1]
    for size in sizes:
        try:
            errors_of = {
                (dtype, when): audit(experiment.model, net, size, channels, dtype)
                for dtype in DTYPES
                for when, net in nets.items()
            }
        except ValueError as error:
            console.print(f"{size}x{size} pixels: refused. {error}", highlight=False)
            continue
        group = experiment.model.group
        for (dtype, when), errors in errors_of.items():
            title = f"{size}x{size} pixels, {dtype}, {when} training"
            lines = title, table(errors, group)
            console.print(*lines, sep="\n", soft_wrap=True, highlight=False)
        for line in summary(errors_of, group):
            console.print(line, soft_wrap=True, highlight=False)


def table(errors: Errors, group: Group) -> str:
    """The errors as text, one line per layer and one column per element of the group.

    `~` marks elements that are not on the pixel grid.
    """
    on_grid = group.grid.elements
    names = [("~", "")[g in on_grid] + group.name(g) for g in range(group.order)]
    by_layer = pd.DataFrame(errors, index=names).T.iloc[:, 1:]  # without the identity
    return by_layer.map("{:.1e}".format).to_string()


def summary(errors_of: Mapping[tuple[str, str], Errors], group: Group) -> list[str]:
    """The largest errors, on the grid and off it: a line per dtype and state."""
    on_grid = np.isin(np.arange(group.order), group.grid.elements)
    lines = []
    for (dtype, when), errors in errors_of.items():
        parts = []
        for kind, chosen in (("on the grid", on_grid), ("between pixels", ~on_grid)):
            if chosen.any():
                worst = {name: values[chosen].max() for name, values in errors.items()}
                name = max(worst, key=lambda name: worst[name])
                parts.append(f"{kind} {worst[name]:.1e} ({name})")
        lines.append(f"{dtype}, {when} training: largest {', '.join(parts)}")
    return lines


def main() -> None:
    """`python -m symjax.evaluation.equivariance --config configs/x.py [...]`."""
    config = command.config_flag()
    flags.DEFINE_string(
        "workdir",
        None,
        f"The run folder of the training. The default is {folders.RUNS}/NAME-audit.",
    )
    flags.DEFINE_list("sizes", ["15", "16", "31", "32"], "Sides of images, in pixels.")

    def measure() -> int:
        default = folders.RUNS / f"{config.value.name}-audit"
        workdir = folders.expand(FLAGS.workdir or default)
        sizes = _sizes(FLAGS.sizes)
        signals = command.signals()
        signals.keeps(f"what was saved is in {workdir}")
        with signals.stopping() as stop:
            run(config.value, workdir, sizes, Console(), stop)
        signals.leave_if_stopped()
        return 0

    command.run(measure, _help)


def _help() -> str:
    groups = {
        "The net": ["config", "workdir"],
        "The images": ["sizes"],
        "Several processes, and errors": command.SHARED,
    }
    example = (
        "python -m symjax.evaluation.equivariance --config configs/parallel_rot.py"
    )
    summary = """
    Measures by how much each layer of a net fails to commute with each element of its
    group, before and after training. The net is trained unless the run folder holds it.
    `python -m symjax.nn.audit` measures single layers of the library.
    """
    examples = [example, f"{example} --config.model.group=C8 --sizes 31,32"]
    text = command_help.show_help(summary, examples, groups)
    return f"{text}\n{command.configurations()}"


def _sizes(words: Sequence[str]) -> list[int]:
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(
            f"--sizes={','.join(words)!r}: expected sides of images in pixels, with "
            "commas between them, as in 31,32."
        )
    return [int(word) for word in words]


if __name__ == "__main__":
    main()
