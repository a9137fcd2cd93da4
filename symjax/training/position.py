"""The position of a run in its training: finished epochs, finished steps, and state.

position = restore(experiment, store, workdir)       # position 0 of a new run
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from symjax import models
from symjax.mesh import is_writer
from symjax.training import experiment as experiments
from symjax.training.checkpoint import PARTIAL, Checkpoints
from symjax.training.experiment import Experiment
from symjax.training.run_folder import RunExistsError
from symjax.training.state import TrainState
from symjax.training.step import Sums, no_sums


@dataclasses.dataclass(frozen=True)
class Position:
    """The position of a run in its training.

    Attributes:
      epoch: the number of finished epochs.
      step: the number of finished steps of the next epoch.
      seconds: the time that these steps took.
      state: the state of all seeds, leading axis S.
      sums: sums over the images of these steps, `[S]`.
    """

    epoch: int
    step: int
    seconds: float
    state: TrainState
    sums: Sums

    def text(self, experiment: Experiment) -> str:
        """The position in words: "epoch 1 of 3 and 5 of 13 steps"."""
        within = f" and {self.step} of {experiment.steps} steps" if self.step else ""
        return f"epoch {self.epoch} of {experiment.config.epochs}{within}"


def restore(experiment: Experiment, store: Checkpoints, workdir: Path) -> Position:
    """The position at which a run was stopped, or the beginning of a new run.

    Args:
      experiment: the experiment of the run.
      store: the checkpoints after whole epochs.
      workdir: the run folder.

    Raises:
      RunExistsError: if the run was trained on other data, or for more epochs than its
        configuration now has.
    """
    whole, steps = store.latest or 0, experiment.steps
    if (workdir / PARTIAL).exists():
        with Checkpoints(workdir, read_only=True, name=PARTIAL) as partial:
            done = partial.latest or 0
            if done > whole * steps:
                _check_epochs(experiment, -(-done // steps))
                return _within(experiment, partial, *divmod(done, steps))
    _check_epochs(experiment, whole)
    if not whole:
        return Position(0, 0, 0.0, experiment.fresh_state(), sums_of(experiment))
    experiments.check_trunk(experiment.config, store.meta)
    _, state, meta = store.restore(like=experiment.state_shapes())
    _check_data(experiment, meta)
    return Position(whole, 0, 0.0, state, sums_of(experiment))


def save(experiment: Experiment, workdir: Path, position: Position) -> None:
    """Saves a position within an epoch."""
    with Checkpoints(workdir, name=PARTIAL) as partial:
        partial.save(
            position.epoch * experiment.steps + position.step,
            {"state": position.state, "sums": position.sums},
            meta(experiment) | {"seconds": position.seconds},
        )


def forget(workdir: Path) -> None:
    """Removes the checkpoint of `save`, after a whole epoch was saved."""
    if is_writer():
        shutil.rmtree(workdir / PARTIAL, ignore_errors=True)


def meta(experiment: Experiment) -> dict[str, Any]:
    """The metadata of a checkpoint: configuration, hash of the data, trunk version."""
    config = experiments.json_values(experiment.config)
    version = models.TRUNK_VERSIONS[experiment.config.model.trunk]
    data = experiment.dataset.sha256
    return {"config": config, "data": data, "trunk_version": version}


def sums_of(experiment: Experiment) -> Sums:
    """Sums over zero images, `[S]`."""

    def make() -> Sums:
        shape = (experiment.config.seeds,)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, shape), no_sums())

    return experiment.layout.jit(make, experiment.layout.everywhere)()


def _within(
    experiment: Experiment, partial: Checkpoints, epoch: int, step: int
) -> Position:
    experiments.check_trunk(experiment.config, partial.meta)
    like = {"state": experiment.state_shapes(), "sums": sums_of(experiment)}
    _, saved, meta = partial.restore(like)
    _check_data(experiment, meta)
    return Position(
        epoch, step, meta.get("seconds", 0.0), saved["state"], saved["sums"]
    )


def _check_epochs(experiment: Experiment, begun: int) -> None:
    epochs = experiment.config.epochs
    if begun > epochs:
        raise RunExistsError(
            f"epochs={epochs}: the run is already in epoch {begun}; set epochs to "
            f"{begun} or more, or choose another --workdir."
        )


def _check_data(experiment: Experiment, meta: dict[str, Any]) -> None:
    trained_on = meta.get("data")
    if trained_on != experiment.dataset.sha256:
        raise RunExistsError(
            f"the run was trained on data with hash {trained_on}, and "
            f"{experiment.dataset.name} now has {experiment.dataset.sha256} (from "
            f"{experiment.dataset.source}): restore the data, or start another run "
            "with another --workdir."
        )
