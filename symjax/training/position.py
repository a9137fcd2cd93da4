"""Where a run is: its state after whole epochs, and after some steps of the next.

position = restore(experiment, store, workdir)       # fresh where nothing is saved
"""

import dataclasses
import json
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
    """Where a run is.

    Attributes:
      epoch: epochs that are done.
      step: steps of the next epoch that are done.
      seconds: that these steps took.
      state: of all seeds, leading axis S.
      sums: over the images of these steps, `[S]`.
    """

    epoch: int
    step: int
    seconds: float
    state: TrainState
    sums: Sums

    def text(self, experiment: Experiment) -> str:
        """For people: "epoch 1 of 3 and 5 of 13 steps"."""
        within = f" and {self.step} of {experiment.steps} steps" if self.step else ""
        return f"epoch {self.epoch} of {experiment.config.epochs}{within}"


def restore(experiment: Experiment, store: Checkpoints, workdir: Path) -> Position:
    """Where the run in a folder was stopped, or where a new one begins.

    Args:
      experiment: of the run.
      store: its checkpoints after whole epochs.
      workdir: the run folder.

    Raises:
      RunExistsError: if it was trained on other data, or for longer than is asked.
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
    """Saves the steps of an epoch that is not done."""
    with Checkpoints(workdir, name=PARTIAL) as partial:
        partial.save(
            position.epoch * experiment.steps + position.step,
            {"state": position.state, "sums": position.sums},
            meta(experiment) | {"seconds": position.seconds},
        )


def forget(workdir: Path) -> None:
    """Removes what `save` wrote, once a whole epoch is saved."""
    if is_writer():
        shutil.rmtree(workdir / PARTIAL, ignore_errors=True)


def meta(experiment: Experiment) -> dict[str, Any]:
    """What a checkpoint holds beside arrays."""
    config = json.loads(experiments.to_json(experiment.config))
    version = models.TRUNK_VERSIONS[experiment.config.model.trunk]
    data = experiment.dataset.sha256
    return {"config": config, "data": data, "trunk_version": version}


def sums_of(experiment: Experiment) -> Sums:
    """Sums of each seed over no image, `[S]`."""

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
            f"epochs={epochs}: the run has begun epoch {begun} already; ask for "
            f"{begun} epochs or more, or choose another --workdir."
        )


def _check_data(experiment: Experiment, meta: dict[str, Any]) -> None:
    trained_on = meta.get("data")
    if trained_on != experiment.dataset.sha256:
        raise RunExistsError(
            f"the run was trained on data with hash {trained_on}, and "
            f"{experiment.dataset.name} now has {experiment.dataset.sha256} (from "
            f"{experiment.dataset.source}): bring the data back, or start another run "
            "with another --workdir."
        )
