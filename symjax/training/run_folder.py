"""The run folder's configuration, and the guard against mixing two runs in one folder.

run_folder.check(config, workdir, resume=True)
"""

import json
from pathlib import Path
from typing import Any

from symjax.folders import writing
from symjax.io import atomic_write
from symjax.training import experiment, validation
from symjax.training.experiment import Config

MAY_CHANGE = (  # on resuming; all else would make another run
    "epochs",
    "checkpoint.",
    "evaluation.",
    "mesh.",
    "dataset.data_dir",
    "dataset.cache_dir",
)


class RunExistsError(FileExistsError):
    """The run folder holds a run that this one may not go on with."""


def check(config: Config, workdir: Path, resume: bool) -> None:
    """Makes sure that a run of this configuration may start or go on in `workdir`.

    Raises:
      RunExistsError: if it holds a run of another configuration, or any run where
        `resume` is False.
      ValueError: if its `config.json` cannot be read.
    """
    path = workdir / "config.json"
    if not path.exists():
        return
    if not resume:
        raise RunExistsError(
            f"{workdir} holds a run already: choose another --workdir, or resume it."
        )
    differing = _differing(_as_json(experiment.read(path)), _as_json(config))
    if differing:
        raise RunExistsError(
            f"{workdir} holds a run of another configuration: {'; '.join(differing)}. "
            "Choose another --workdir, or the same values."
        )


def write_config(config: Config, workdir: Path) -> None:
    """Writes `config.json`, whole or not at all."""
    with writing(workdir), atomic_write(workdir / "config.json") as partial:
        partial.write_text(experiment.to_json(config))


def _as_json(config: Config) -> dict[str, Any]:
    return json.loads(experiment.to_json(config))


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What keeps a run from going on, one text a key."""
    old, new = dict(validation.flat(old)), dict(validation.flat(new))
    differing = [
        f"{key} (was {old.get(key)!r}, is {new.get(key)!r})"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(MAY_CHANGE)
    ]
    if old["optimizer.schedule"] == "cosine" and old["epochs"] != new["epochs"]:
        differing.append(
            f"epochs (was {old['epochs']}, is {new['epochs']}), which the cosine "
            "schedule depends on"
        )
    return differing
