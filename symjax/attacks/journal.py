"""Finished batches of an evaluation, kept in a folder so that a killed one goes on.

    with Journal(folder, says) as journal:
        outcome = journal.recall("01-apgd-ce-0-0003")    # None: to be done
        journal.keep("01-apgd-ce-0-0003", outcome)

A batch is written aside and moved into place, so that none is ever half there.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Journal:
    """Batches of one call.

    Args:
      folder: made where it is not there; None keeps nothing.
      says: what the outcome depends on: plain values, and "arrays", a sequence of them.

    Raises:
      ValueError: if the folder holds the batches of another call.
    """

    def __init__(self, folder: Path | None, says: Mapping[str, Any]):
        self._folder = folder
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_digested(says), indent=1)
        path = folder / "call.json"
        if not path.exists():
            _write(path, lambda file: file.write(text.encode()))
        kept, now = json.loads(path.read_text()), json.loads(text)
        if kept != now:
            other = [name for name in now if kept.get(name) != now[name]]
            raise ValueError(
                f"{folder} holds batches of another call, which differs in {other}: "
                "choose another folder, or remove this one."
            )

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def recall(self, name: str) -> dict[str, np.ndarray] | None:
        """The outcome of a batch, if it was kept."""
        path = self._folder and self._folder / f"{name}.npz"
        if path is None or not path.exists():
            return None
        with np.load(path) as arrays:
            return dict(arrays)

    def keep(self, name: str, outcome: Mapping[str, np.ndarray]) -> None:
        """Writes the outcome of a batch."""
        if self._folder is not None:
            path = self._folder / f"{name}.npz"
            _write(path, lambda file: _save(file, outcome))


def _digested(says: Mapping[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for array in says["arrays"]:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return {**says, "arrays": digest.hexdigest()}


def _save(file: Any, outcome: Mapping[str, Any]) -> None:
    np.savez_compressed(file, **outcome)


def _write(path: Path, write: Any) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        write(file)
    os.replace(partial, path)
