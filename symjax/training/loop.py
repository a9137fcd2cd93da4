"""The training loop: one jitted call an epoch, all seeds at once; the host only logs.

train(config, workdir)          # makes the run folder, or goes on with it
"""

import functools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from symjax import models
from symjax.training import experiment as experiments
from symjax.training import run_folder
from symjax.training.checkpoint import Checkpoints
from symjax.training.experiment import Config, Experiment
from symjax.training.journal import Journal
from symjax.training.mesh import is_writer, to_host
from symjax.training.progress import Progress
from symjax.training.run_folder import RunExistsError
from symjax.training.state import STILL_FINITE, TrainState
from symjax.training.step import Sums, evaluate_epoch, train_epoch


def train(
    config: Config,
    workdir: Path,
    resume: bool = True,
    console: Console | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainState:
    """Trains all seeds of a configuration, and resumes exactly where it was cut off.

    Args:
      config: as `configs/base.py` declares it.
      workdir: the run folder: `config.json`, `metrics.jsonl`, `tensorboard/`,
        `checkpoints/`.
      resume: go on from the newest checkpoint in `workdir`, if there is one.
      console: where progress goes.
      stop: asked after every epoch. Where it says True, a checkpoint of what is done is
        saved, if this epoch has none yet, and the run ends early. The same call goes on
        later, and ends bit for bit as it would have without a stop. Of several
        processes, all have to be told the same.

    Returns:
      The state after the last epoch that was trained, leading axis S.

    Raises:
      RunExistsError: if `workdir` holds a run of another configuration or other data,
        or any run where `resume` is False.
      DataNotFoundError, ValueError: as `Experiment.build`.
    """
    console = console or Console(quiet=not is_writer())
    workdir = Path(workdir)
    run_folder.check(config, workdir, resume)
    experiment = Experiment.build(config)
    with Checkpoints(workdir, config.checkpoint.keep) as store:
        epoch, state = _start(experiment, store)
        headline = _headline(experiment, state, workdir)
        console.print(headline, soft_wrap=True, highlight=False)
        if epoch:
            console.print(f"resuming after epoch {epoch} of {config.epochs}")
        if is_writer():
            run_folder.write_config(config, workdir)
        with Journal(workdir, epoch, write=is_writer()) as journal:
            stop = stop or (lambda: False)
            return _run(experiment, store, journal, epoch, state, console, stop)


def _run(
    experiment: Experiment,
    store: Checkpoints,
    journal: Journal,
    epoch: int,
    state: TrainState,
    console: Console,
    stop: Callable[[], bool],
) -> TrainState:
    config = experiment.config
    train_fn, evaluate_fn = _programs(experiment)
    train_split, held_out = _on_device(experiment)
    keys, frozen, stopped = experiment.keys, is_frozen(state), False
    with Progress(config.epochs, epoch, console) as progress:
        while epoch < config.epochs and not frozen.all() and not stopped:
            began = time.perf_counter()
            state, sums = train_fn(state, keys, epoch, *train_split)
            row = _train_row(epoch + 1, state, sums, began)
            epoch += 1
            frozen = _announce_frozen(state, frozen, epoch, config, console)
            last = epoch == config.epochs or bool(frozen.all())
            if last or epoch % config.evaluation.every_epochs == 0:
                for split, arrays in held_out.items():
                    row |= _means(split, evaluate_fn(state, *arrays))
            journal.write(row)
            progress.update(row)
            stopped = stop()
            if last or stopped or epoch % config.checkpoint.every_epochs == 0:
                store.save(epoch, state, _meta(experiment))
    return state


def _programs(experiment: Experiment) -> tuple[Callable, Callable]:
    """The two programs of a run; the state is donated, since nothing else holds it."""
    layout = experiment.layout
    train = functools.partial(train_epoch, experiment.recipe)
    size = experiment.config.evaluation.batch_size
    evaluate = functools.partial(evaluate_epoch, experiment.model, size, layout=layout)
    train_fn = layout.over_seeds(train, (0, 0, None, None, None))
    evaluate_fn = layout.over_seeds(evaluate, (0, None, None))
    outputs = layout.by_seed, layout.everywhere
    return (
        layout.jit(train_fn, outputs, donate_argnums=0),
        layout.jit(evaluate_fn, layout.everywhere),
    )


def _on_device(experiment: Experiment) -> tuple[tuple, dict[str, tuple]]:
    dataset, put = experiment.dataset, experiment.layout.put
    held_out = {"test": dataset.test}
    if dataset.validation is not None:
        held_out["validation"] = dataset.validation
    arrays = {
        name: put((split.images, split.labels)) for name, split in held_out.items()
    }
    return put((dataset.train.images, dataset.train.labels)), arrays


def _start(experiment: Experiment, store: Checkpoints) -> tuple[int, TrainState]:
    """Epochs done and the state after them."""
    if store.latest is None:
        return 0, experiment.fresh_state()
    experiments.check_trunk(experiment.config, store.meta)
    epoch, state, meta = store.restore(like=experiment.state_shapes())
    if meta["data"] != experiment.dataset.sha256:
        raise RunExistsError(
            f"the run was trained on data with hash {meta['data']}, and "
            f"{experiment.dataset.name} now has {experiment.dataset.sha256} (from "
            f"{experiment.dataset.source}): bring the data back, or start another run "
            "with another --workdir."
        )
    return epoch, state


def _meta(experiment: Experiment) -> dict[str, Any]:
    config = json.loads(experiments.to_json(experiment.config))
    version = models.TRUNK_VERSIONS[experiment.config.model.trunk]
    data = experiment.dataset.sha256
    return {"config": config, "data": data, "trunk_version": version}


def _headline(experiment: Experiment, state: TrainState, workdir: Path) -> str:
    config, dataset = experiment.config, experiment.dataset
    net = config.model
    leaves = jax.tree.leaves(state.params)
    parameters = sum(leaf.size for leaf in leaves) // config.seeds
    return (
        f"{net.name}, {net.depth} layers, {net.trunk} trunk, {parameters:,} weights; "
        f"{config.seeds} seeds on {dataset.name}, {len(dataset.train.images):,} "
        f"training images; {experiment.layout.text}; {workdir}"
    )


def _train_row(
    epoch: int, state: TrainState, sums: Sums, began: float
) -> dict[str, Any]:
    means = _means("train", sums)
    seconds = time.perf_counter() - began  # the sums are on the host: the epoch is done
    images = int(np.sum(sums.count))
    return {
        "epoch": epoch,
        "step": int(np.max(to_host(state.step))),
        **means,
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1),
    }


def _means(split: str, sums: Sums) -> dict[str, list[float | None]]:
    """Loss and accuracy of each seed; None where a frozen seed saw no image."""
    loss, correct, count = (
        np.asarray(x, np.float64).tolist()
        for x in (sums.loss, sums.correct, sums.count)
    )
    return {
        f"{split}_{name}": [
            total / n if n and math.isfinite(total) else None
            for total, n in zip(totals, count, strict=True)
        ]
        for name, totals in (("loss", loss), ("accuracy", correct))
    }


def is_frozen(state: TrainState) -> np.ndarray:
    """Which seeds were frozen because their loss was not finite: `[S]`, bool."""
    return to_host(state.diverged_step) != STILL_FINITE


def _announce_frozen(
    state: TrainState,
    before: np.ndarray,
    epoch: int,
    config: Config,
    console: Console,
) -> np.ndarray:
    frozen, steps = is_frozen(state), to_host(state.diverged_step)
    for index in np.flatnonzero(frozen & ~before).tolist():
        console.print(
            f"[bold red]seed {config.first_seed + index} diverged[/]: its loss or "
            f"gradient was not finite at step {int(steps[index])}, in "
            f"epoch {epoch}; it is frozen as it was before, and its rows will say so."
        )
    if frozen.all() and not before.all():
        console.print("[bold red]no seed is left; the run ends here.[/]")
    return frozen
