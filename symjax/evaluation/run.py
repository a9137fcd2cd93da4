"""A trained run, opened for evaluation.

run = Run.open(Path("runs/quickstart-20300101-120000"))
run.logits_fns                     # the nets of all seeds, leading axis S
"""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax import models
from symjax.folders import expand
from symjax.mesh import to_host
from symjax.models import Net
from symjax.training import experiment as experiments
from symjax.training.checkpoint import Checkpoints
from symjax.training.experiment import Config, Experiment
from symjax.training.state import STILL_FINITE, TrainState

MAKE_ONE = "train one with `python train.py --config configs/quickstart.py`"


class RunNotFoundError(FileNotFoundError):
    """A folder has no trained run."""


def newest(folder: Path) -> Path:
    """The run folder directly in `folder` that has the newest checkpoint.

    Raises:
      RunNotFoundError: if no run in `folder` has a checkpoint.
    """
    folder = expand(folder)
    trained = [path for path in folder.glob("*/checkpoints/*") if path.name.isdigit()]
    if not trained:
        raise RunNotFoundError(f"no trained run in {folder}/: {MAKE_ONE}.")
    return max(trained, key=lambda path: (path.stat().st_mtime, path)).parents[1]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder with the state of its newest checkpoint.

    Attributes:
      folder: the run folder.
      experiment: configuration, data and net; the net computes in the dtype of the
        evaluation.
      epoch: the number of epochs after which the checkpoint was saved.
      state: the state of all seeds, leading axis S.
    """

    folder: Path
    experiment: Experiment
    epoch: int
    state: TrainState

    @classmethod
    def open(cls, folder: Path, dtype: str = "float32") -> "Run":
        """Opens a run.

        Args:
          folder: the run folder.
          dtype: dtype in which the nets compute, whatever the run was trained in.

        Raises:
          RunNotFoundError: if there is no checkpoint in `folder`.
          ValueError: if `config.json` cannot be read, if the data set is not the one
            that the run was trained on, or if the trunk of the net has changed since
            the run was trained.
        """
        folder = expand(folder)
        path = folder / "config.json"
        if not path.exists() or not any(folder.glob("checkpoints/[0-9]*")):
            raise RunNotFoundError(f"no trained run in {folder}/: {MAKE_ONE}.")
        experiment = Experiment.build(experiments.read(path))
        model = experiment.model.clone(dtype=jnp.dtype(dtype))
        experiment = dataclasses.replace(experiment, model=model)
        epoch, state, meta = _restored(folder, experiment)
        if meta.get("data") != experiment.dataset.sha256:
            raise ValueError(
                f"{folder} was trained on data with hash {meta.get('data')}, but "
                f"{experiment.dataset.name} from {experiment.dataset.source} has "
                f"{experiment.dataset.sha256}: point --config.dataset.data_dir of the "
                "run's config.json at the data that it was trained on."
            )
        return cls(folder, experiment, epoch, state)

    def untrained(self) -> "Run":
        """The run at epoch 0: the nets of the same seeds before the first step."""
        return dataclasses.replace(self, epoch=0, state=self.experiment.fresh_state())

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the leading axis."""
        config = self.experiment.config
        return list(range(config.first_seed, config.first_seed + config.seeds))

    @property
    def diverged(self) -> np.ndarray:
        """Which seeds were frozen because their loss was not finite: `[S]`, bool."""
        return to_host(self.state.diverged_step) != STILL_FINITE

    @functools.cached_property
    def weights(self) -> list[str]:
        """A digest of each seed's parameters and running averages, 16 digits."""
        leaves = [np.asarray(x) for x in jax.tree.leaves(to_host(self.state.variables))]
        digests = []
        for index in range(len(self.seeds)):
            digest = hashlib.sha256()
            for leaf in leaves:
                digest.update(np.ascontiguousarray(leaf[index]).tobytes())
            digests.append(digest.hexdigest()[:16])
        return digests

    @functools.cached_property
    def logits_fns(self) -> jax.tree_util.Partial:
        """The nets of all seeds as one pytree, leading axis S; for `over_seeds`."""
        return models.logits_fn(self.experiment.model, self.state.variables)

    @functools.cached_property
    def layers_fns(self) -> jax.tree_util.Partial:
        """As `logits_fns`; a call returns the outputs of all layers."""
        return models.layers_fn(self.experiment.model, self.state.variables)

    def identity(self) -> dict[str, Any]:
        """The entries of a row's identity that describe the run."""
        config, model = self.experiment.config, self.experiment.model
        return identity(self.folder.name, config, model, self.epoch)


def identity(name: str, config: Config, model: Net, epoch: int) -> dict[str, Any]:
    """The entries of a row's identity that describe a run, trained or not.

    Args:
      name: name of the run, which is that of its folder.
      config, model: the configuration, as `configs/base.py` declares it, and its net.
      epoch: the number of trained epochs.
    """
    return {
        "run": name,
        "model": config.model.name,
        "depth": config.model.depth,
        "width": config.model.width,
        "trunk": config.model.trunk,
        "trunk_version": models.TRUNK_VERSIONS[config.model.trunk],
        "group": str(model.group),
        "basis": model.basis,
        "training": config.training.mode,
        "epoch": epoch,
        "dataset": config.dataset.name,
        "dtype": jnp.dtype(model.dtype).name,
    }


def _restored(folder: Path, experiment: Experiment) -> tuple[int, Any, dict[str, Any]]:
    """Epoch, state and metadata of the newest checkpoint.

    A training that runs at the same time may remove the checkpoint while it is read;
    then a newer one exists and is read instead.
    """
    for last in (False, False, True):
        with Checkpoints(folder, read_only=True) as store:
            newest = store.latest
            try:
                experiments.check_trunk(experiment.config, store.meta)
                return store.restore(like=experiment.state_shapes())
            except (OSError, ValueError):
                exists = (folder / "checkpoints" / str(newest)).exists()
                if last or exists:
                    raise
    raise AssertionError
