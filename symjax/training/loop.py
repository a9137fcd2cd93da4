"""The training loop: compiled calls of about a second that train all seeds at once.

train(config, workdir)          # starts a run, or continues the run in workdir
"""

import contextlib
import functools
import math
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from symjax import folders, mesh
from symjax.mesh import is_writer, to_host
from symjax.terminal import WIDTH, counted
from symjax.training import experiment as experiments
from symjax.training import position, run_folder
from symjax.training.checkpoint import Checkpoints, check_disk_space
from symjax.training.experiment import Config, Experiment
from symjax.training.journal import MetricLogger
from symjax.training.position import Position
from symjax.training.progress import Progress
from symjax.training.state import STILL_FINITE, TrainState
from symjax.training.step import Sums, evaluate_epoch, train_steps

CALL_SECONDS = 1.0
"""Approximate time of a call of the training program. Between two calls, the progress
bar is updated and a request to stop is obeyed."""


def train(
    config: Config,
    workdir: Path,
    resume: bool = True,
    console: Console | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainState:
    """Trains all seeds of a configuration, or resumes their training.

    Args:
      config: the configuration, as `configs/base.py` declares it.
      workdir: the run folder, to which `config.json`, `metrics.jsonl`, `tensorboard/`
        and `checkpoints/` are written. Only one process can train in it.
      resume: whether to continue from the newest checkpoint in `workdir`.
      console: where progress is printed.
      stop: called about once per second of training, and after every epoch. If it
        returns True in any process, a checkpoint is saved and the function returns
        early. A later call with the same arguments continues, and its result is the
        same, bit for bit on a CPU, as without the stop.

    Returns:
      The state after the last step, leading axis S.

    Raises:
      RunExistsError: if `workdir` holds a run with another configuration, other data or
        more epochs, or if it holds any run and `resume` is False.
      FolderInUseError: if another process holds `workdir`.
      DataNotFoundError, ValueError: as `Experiment.build`.
      OSError: if `workdir` cannot be written to.
    """
    console = console or Console(quiet=not is_writer())
    workdir = folders.expand(workdir)
    experiments.check(config)
    with _alone(workdir):
        run_folder.check(config, workdir, resume)
        experiment = Experiment.build(config)
        with Checkpoints(workdir, config.checkpoint.keep) as store:
            start = position.restore(experiment, store, workdir)
            check_disk_space(workdir, start.state)
            headline = _headline(experiment, start.state, workdir)
            console.print(headline, soft_wrap=True, highlight=False)
            if start.epoch or start.step:
                console.print(f"resuming after {start.text(experiment)}")
            if is_writer():
                run_folder.write_config(config, workdir)
            with MetricLogger(workdir, start.epoch, write=is_writer()) as journal:
                stop = stop or (lambda: False)
                run = _Run(experiment, store, journal, workdir, console, stop)
                return run(start)


@contextlib.contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """Locks the run folder; with several processes, process 0 locks it for all."""
    with contextlib.ExitStack() as stack:
        refused = None
        try:
            if is_writer():
                stack.enter_context(folders.hold(workdir))
        except OSError as error:
            refused = error
        if mesh.gather(refused is not None).any():
            raise refused or OSError(
                f"process 0 could not lock {workdir}: its error gives the reason."
            )
        yield


class Pace:
    """The number of steps per call, chosen so that a call takes about `CALL_SECONDS`.

    The first call has one step, because its time includes compilation. Each later call
    has at most eight times as many steps as the call before it.
    """

    def __init__(self):
        self.steps = 1

    def took(self, steps: int, seconds: float) -> None:
        """Sets the number of steps of the next call from the time of the last one."""
        fit = int(steps * CALL_SECONDS / seconds)
        self.steps = max(1, min(fit, 8 * steps))


class _Run:
    """A training run with its compiled programs, files and data on the devices."""

    def __init__(
        self,
        experiment: Experiment,
        store: Checkpoints,
        journal: MetricLogger,
        workdir: Path,
        console: Console,
        stop: Callable[[], bool],
    ):
        self.experiment, self.store, self.journal = experiment, store, journal
        self.workdir, self.console, self.stop = workdir, console, stop
        self.train_fn, self.evaluate_fn = _programs(experiment)
        self.train_split, self.held_out = _on_device(experiment)
        self.no_sums, self.pace = position.sums_of(experiment), Pace()

    def __call__(self, now: Position) -> TrainState:
        """Trains to the last epoch, or until the run is stopped."""
        config, steps = self.experiment.config, self.experiment.steps
        frozen, stopped = is_frozen(now.state), False
        done = now.epoch + now.step / steps
        with Progress(config.epochs, done, self.console) as progress:
            while now.epoch < config.epochs and not frozen.all() and not stopped:
                now = self._epoch(now, progress)
                if now.step < steps:
                    position.save(self.experiment, self.workdir, now)
                    break
                epoch, state = now.epoch + 1, now.state
                frozen = _announce_frozen(state, frozen, epoch, config, self.console)
                last = epoch == config.epochs or bool(frozen.all())
                row = _train_row(epoch, now)
                if last or epoch % config.evaluation.every_epochs == 0:
                    for split, arrays in self.held_out.items():
                        row |= _means(split, self.evaluate_fn(state, *arrays))
                self.journal.write(row)
                progress.update(row)
                stopped = self._is_to_stop()
                if last or stopped or epoch % config.checkpoint.every_epochs == 0:
                    self.store.save(epoch, state, position.meta(self.experiment))
                    position.forget(self.workdir)
                now = Position(epoch, 0, 0.0, state, self.no_sums)
        return now.state

    def _epoch(self, now: Position, progress: Progress) -> Position:
        """Trains to the end of the epoch, or until the run is stopped."""
        steps = self.experiment.steps
        while now.step < steps:
            began, last = time.perf_counter(), min(now.step + self.pace.steps, steps)
            call = self.experiment.keys, now.epoch, now.step, last, *self.train_split
            state, sums = self.train_fn(now.state, now.sums, *call)
            accuracy = _accuracy(sums)  # waits until the steps are done
            seconds = time.perf_counter() - began
            self.pace.took(last - now.step, seconds)
            now = Position(now.epoch, last, now.seconds + seconds, state, sums)
            progress.advance(now.epoch + last / steps, accuracy)
            if last < steps and self._is_to_stop():
                break
        return now

    def _is_to_stop(self) -> bool:
        """Whether any process is to stop; also makes all processes use one pace."""
        agreed = mesh.gather(self.stop(), self.pace.steps)
        self.pace.steps = int(agreed[0, 1])
        return bool(agreed[:, 0].any())


def _programs(experiment: Experiment) -> tuple[Callable, Callable]:
    """The programs for training and for evaluation; training donates the state."""
    layout = experiment.layout
    train = functools.partial(train_steps, experiment.recipe)
    size = experiment.config.evaluation.batch_size
    evaluate = functools.partial(evaluate_epoch, experiment.model, size, layout=layout)
    train_fn = layout.over_seeds(train, (0, 0, 0, None, None, None, None, None))
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


def _headline(experiment: Experiment, state: TrainState, workdir: Path) -> str:
    config, dataset = experiment.config, experiment.dataset
    net = config.model
    leaves = jax.tree.leaves(state.params)
    parameters = sum(leaf.size for leaf in leaves) // config.seeds
    images = counted(len(dataset.train.images), "training image")
    text = (
        f"{net.name}, {net.depth} layers, {net.trunk} trunk, {parameters:,} weights; "
        f"{counted(config.seeds, 'seed')} on {dataset.name}, {images}; "
        f"{experiment.layout.text}"
    )
    return f"{textwrap.fill(text, WIDTH)}\nrun folder {workdir}"


def _train_row(epoch: int, done: Position) -> dict[str, Any]:
    images = int(np.sum(done.sums.count))
    return {
        "epoch": epoch,
        "step": int(np.max(to_host(done.state.step))),
        **_means("train", done.sums),
        "seconds": round(done.seconds, 3),
        "images_per_second": round(images / done.seconds, 1),
    }


def _accuracy(sums: Sums) -> float | None:
    """The accuracy over all seeds; None if all are frozen."""
    count = int(np.sum(sums.count))
    return float(np.sum(sums.correct)) / count if count else None


def _means(split: str, sums: Sums) -> dict[str, list[float | None]]:
    """Loss and accuracy of each seed; None for a frozen seed, which has no images."""
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
            f"gradient was not finite at step {int(steps[index])}, in epoch {epoch}; "
            "it keeps its last finite state, and its rows are marked."
        )
    if frozen.all() and not before.all():
        console.print("[bold red]all seeds diverged; the run ends here.[/]")
    return frozen
