"""The provenance of a row: commit, command, versions, device, time.

provenance = provenance.now()
"""

import datetime
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("symjax", "jax", "flax", "optax")


def now() -> dict[str, Any]:
    """Commit, command line, versions, device and the time in UTC, for a results row."""
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {**_fixed(), "argv": _command(), "utc": time}


def _command() -> list[str]:
    """The command line, with `python -m MODULE` for a module that is run by name."""
    program, *arguments = sys.argv
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        name = spec.name.removesuffix(".__main__")
        return ["python", "-m", name, *arguments]
    return ["python", Path(program).name, *arguments]


@functools.cache
def _fixed() -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    device = jax.devices()[0]
    return {
        "commit": _commit(),
        "versions": versions,
        "device": device.device_kind,
        "platform": device.platform,
    }


def _commit() -> str:
    """The commit of the checkout, followed by "+changes" if files were changed.

    The environment variable `SYMJAX_COMMIT` names it for a copy without git.
    """
    if "SYMJAX_COMMIT" in os.environ:
        return os.environ["SYMJAX_COMMIT"]
    try:
        commit, status = (
            subprocess.run(
                ["git", *arguments],
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("+changes" if status else "")
