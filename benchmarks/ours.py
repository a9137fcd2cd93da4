"""The benchmarked work in symjax: its own programs on random images.

run = ours.training(setting)
run()       # `setting.steps` steps of every seed; returns when they are done
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.setting import CLASSES, Setting
from symjax import attacks, compilation, models, seeds
from symjax.attacks.entry import unchecked
from symjax.data.augment import to_unit
from symjax.mesh import ONE_DEVICE, DeviceLayout
from symjax.seeds import over_seeds
from symjax.training import adversarial, optimizer
from symjax.training import state as states
from symjax.training.state import TrainState
from symjax.training.step import TrainSpec, train_epoch

RATE = 1e-3  # of Adam, as published
OPTIONS: dict[str, dict[str, Any]] = {"parallel_rs": {"group": "C4", "basis": "full"}}


def model(setting: Setting) -> models.Net:
    """The published net in the dtype of the setting; `parallel_rs` with C4, not C8.

    PyTorch rotates kernels under C4 without a further library.
    """
    return models.build(
        setting.net,
        setting.depth,
        CLASSES,
        "published",
        setting.width,
        dtype=setting.dtype,
        **OPTIONS.get(setting.net, {}),
    )


def recipe(setting: Setting, layout: DeviceLayout = ONE_DEVICE) -> TrainSpec:
    """Clean training with Adam, without augmentation."""
    return TrainSpec(
        model=model(setting),
        tx=optimizer.build(RATE, "constant", 1, 1, 1.0, weight_decay=0.0),
        make_batch=adversarial.batch_maker("clean", eps=0.0, steps=1, step_size=0.0),
        batch_size=setting.batch_size,
        augment=False,
        quarter_turns=False,
        label_smoothing=0.0,
        layout=layout,
    )


def fresh_state(setting: Setting, recipe: TrainSpec) -> TrainState:
    """The state of all seeds before the first step, leading axis S."""
    # The program runs once, and optimizing its random numbers would take long.
    quickly = {"xla_backend_optimization_level": 1}
    program = jax.jit(
        _creating(setting, recipe),
        compiler_options=quickly,
        out_shardings=recipe.layout.by_seed,
    )
    return program(seeds.keys(0, setting.seeds))


def shape_of_state(setting: Setting, recipe: TrainSpec) -> TrainState:
    """Shapes and dtypes of `fresh_state`."""
    return jax.eval_shape(_creating(setting, recipe), seeds.keys(0, setting.seeds))


def _creating(setting: Setting, recipe: TrainSpec) -> Callable[[jax.Array], TrainState]:
    shape = (setting.size, setting.size, 3)
    return recipe.layout.over_seeds(
        functools.partial(states.create, recipe.model, recipe.tx, image_shape=shape)
    )


def training_program(recipe: TrainSpec) -> Callable:
    """The program of `symjax.training.loop` for an epoch, all seeds in one call."""
    layout = recipe.layout
    epoch = functools.partial(train_epoch, recipe)
    outputs = layout.by_seed, layout.everywhere
    over_seeds = layout.over_seeds(epoch, (0, 0, None, None, None))
    return layout.jit(over_seeds, outputs, donate_argnums=0)


def training(setting: Setting) -> Callable[[], None]:
    """A function that trains all seeds for `setting.steps` further steps and waits.

    Raises:
      FloatingPointError: from that function, if a loss is not finite: a frozen seed
        would be timed otherwise.
    """
    return training_and_bytes(setting)[0]


def training_and_bytes(
    setting: Setting, layout: DeviceLayout = ONE_DEVICE
) -> tuple[Callable[[], None], int]:
    """As `training`, and the bytes that its program holds on each device."""
    chosen, count = recipe(setting, layout), setting.steps * setting.batch_size
    keys, split = seeds.keys(0, setting.seeds), layout.put(setting.images(count))
    if layout.by_seed:
        keys = jax.device_put(keys, layout.by_seed)
    state, epoch = fresh_state(setting, chosen), 0
    program = training_program(chosen).lower(state, keys, epoch, *split).compile()

    def run() -> None:
        nonlocal state, epoch
        state, sums = program(state, keys, epoch, *split)
        epoch += 1
        if np.any(np.asarray(state.diverged_step) != states.STILL_FINITE):
            raise FloatingPointError(f"a loss is not finite: {sums.loss}.")

    memory = program.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return run, held + memory.temp_size_in_bytes - memory.alias_size_in_bytes


def variables(setting: Setting) -> Any:
    """The variables of all seeds, leading axis S, for `models.logits_fn`."""
    return fresh_state(setting, recipe(setting)).variables


def attack(
    setting: Setting, variables: Any, images: np.ndarray, labels: np.ndarray, eps: float
) -> Callable[[], None]:
    """A function that attacks the images with PGD under all seeds and waits.

    Args:
      setting: the net, the attack's steps and its batch.
      variables: leading axis S.
      images, labels: uint8 `[N, H, W, 3]`, N a multiple of the batch size, and `[N]`.
      eps: linf radius in pixels of [0, 1].
    """
    net = model(setting)
    pgd = over_seeds(
        functools.partial(unchecked(attacks.pgd), steps=setting.steps),
        (0, None, None, 0, None),
    )

    def attack_all_seeds(variables, images, labels, keys, threat):
        logits_fns = models.logits_fn(net, variables)
        return pgd(logits_fns, to_unit(images), labels, keys, threat).robust

    program, keys = compilation.jit(attack_all_seeds), seeds.keys(0, setting.seeds)
    threat, size = attacks.Linf(eps), setting.batch_size
    images, labels = jax.device_put((images, labels))

    def run() -> None:
        # In float32 as `evaluate.py` computes: a robustness number without tf32.
        with jax.default_matmul_precision("highest"):
            robust = [
                program(
                    variables, images[i : i + size], labels[i : i + size], keys, threat
                )
                for i in range(0, len(images), size)
            ]
        jax.block_until_ready(robust)

    return run
