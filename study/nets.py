"""The final weights of the study's nets: one safetensors file per run and seed.

path = save(run, 0, Path("results/nets/reduced"), half=False)
net = load(path)
net.logits_fn(images)                       # [B, H, W, C] -> [B, K]
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
from flax import traverse_util
from jax.tree_util import Partial
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from symjax import models
from symjax.evaluation.run import Run
from symjax.io import atomic_write
from symjax.seeds import of_seed
from symjax.training import experiment as experiments
from symjax.training.experiment import Config

NEEDED = ("run", "seed", "epoch", "classes", "config", "data", "diverged")
NEEDED += ("trunk_version",)


@dataclasses.dataclass(frozen=True)
class Net:
    """A trained net.

    Attributes:
      run: the name of its run.
      seed: its seed.
      epoch: epochs trained.
      config: the configuration of its training.
      data: SHA-256 hash of the data set.
      diverged: whether its training stopped at a loss that was not finite.
      logits_fn: images `[B, H, W, C]` in [0, 1] to logits `[B, K]`, float32.
    """

    run: str
    seed: int
    epoch: int
    config: Config
    data: str
    diverged: bool
    logits_fn: Partial


def save(run: Run, index: int, folder: Path, half: bool) -> Path:
    """Writes the weights and running averages of one seed.

    Args:
      run: the trained run.
      index: of the seed, along the leading axis of the run's state.
      folder: where `RUN-seed-SEED.safetensors` is written, whole or not at all.
      half: store float16, which rounds each value to 11 bits; else float32.

    Returns:
      The file.
    """
    dtype = np.float16 if half else np.float32
    variables = of_seed(run.state.variables, index)
    arrays = {
        name: np.ascontiguousarray(array, dtype)
        for name, array in traverse_util.flatten_dict(variables, sep="/").items()
    }
    about = {
        "run": run.folder.name,
        "seed": str(run.seeds[index]),
        "epoch": str(run.epoch),
        "classes": str(run.experiment.dataset.classes),
        "config": experiments.to_json(_elsewhere(run.experiment.config)),
        "trunk_version": str(models.TRUNK_VERSIONS[run.experiment.config.model.trunk]),
        "data": run.experiment.dataset.sha256,
        "diverged": str(bool(run.diverged[index])),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.folder.name}-seed-{run.seeds[index]}.safetensors"
    with atomic_write(path) as partial:
        save_file(arrays, partial, about)
    return path


def _elsewhere(config: Config) -> Config:
    """The configuration without the folders of this machine."""
    values = config.to_dict()
    values["dataset"] |= {"data_dir": "~/tensorflow_datasets", "cache_dir": ""}
    return experiments.from_json(json.dumps(values))


def load(path: Path) -> Net:
    """Reads a file that `save` wrote.

    Raises:
      ValueError: if it is not such a file, or if this version of symjax builds another
        net from its configuration.
    """
    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): train the run "
            "again, or restore the file."
        ) from None
    if missing := [name for name in NEEDED if name not in about]:
        raise ValueError(
            f"{path} has no {missing} in its metadata: expected a file of "
            "study.nets.save."
        )
    config = experiments.from_json(about["config"])
    experiments.check_trunk(config, {"trunk_version": int(about["trunk_version"])})
    model = experiments.model(config, int(about["classes"]))
    variables = traverse_util.unflatten_dict(
        {name: array.astype(np.float32) for name, array in arrays.items()}, sep="/"
    )
    return Net(
        about["run"],
        int(about["seed"]),
        int(about["epoch"]),
        config,
        about["data"],
        about["diverged"] == "True",
        models.logits_fn(model, variables),
    )
