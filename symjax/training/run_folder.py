"""The configuration in a run folder, and the check that a folder holds one run only.

run_folder.check(config, workdir, resume=True)
"""

from pathlib import Path
from typing import Any

from symjax.folders import writing
from symjax.io import atomic_write
from symjax.training import experiment, validation
from symjax.training.experiment import Config

MAY_CHANGE = (  # keys whose values may change when a run is resumed
    "epochs",
    "checkpoint.",
    "evaluation.",
    "mesh.",
    "dataset.data_dir",
    "dataset.cache_dir",
)


class RunExistsError(FileExistsError):
    """The run folder holds a run that cannot be continued with this configuration."""


def check(config: Config, workdir: Path, resume: bool) -> None:
    """Checks that a run with this configuration can start or continue in `workdir`.

    Raises:
      RunExistsError: if `workdir` holds a run with another configuration, or if it
        holds any run and `resume` is False.
      ValueError: if the `config.json` in `workdir` cannot be read.
    """
    path = workdir / "config.json"
    if not path.exists():
        return
    if not resume:
        raise RunExistsError(
            f"{workdir} holds a run already: choose another --workdir, or resume the "
            "run."
        )
    before, now = map(experiment.json_values, (experiment.read(path), config))
    differing = _differing(before, now)
    if differing:
        raise RunExistsError(
            f"{workdir} holds a run of another configuration: {'; '.join(differing)}. "
            "Choose another --workdir, or the same values."
        )


def write_config(config: Config, workdir: Path) -> None:
    """Writes `config.json` atomically."""
    with writing(workdir), atomic_write(workdir / "config.json") as partial:
        partial.write_text(experiment.to_json(config))


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The keys whose values prevent that a run is continued, one text per key."""
    old, new = dict(validation.flat(old)), dict(validation.flat(new))
    differing = [
        f"{key} (was {old.get(key)!r}, is {new.get(key)!r})"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(MAY_CHANGE)
    ]
    if old["optimizer.schedule"] == "cosine" and old["epochs"] != new["epochs"]:
        differing.append(
            f"epochs (was {old['epochs']}, is {new['epochs']}), on which the cosine "
            "schedule depends"
        )
    return differing
