"""Finished batches of an evaluation, kept in a folder so that a killed one goes on.

    kept = KeptBatches(folder, says, answers)
    outcome = kept.recall("01-apgd-ce-0-0003")      # None: to be done
    kept.add("01-apgd-ce-0-0003", outcome)

A batch is written aside and moved into place, so that none is ever half there. Where
the folder cannot be written, as on a full disk, there is one warning, and the
evaluation goes on without it.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symjax.folders import expand, reading
from symjax.io import read_arrays

SAME = 1e-3
"""Of the largest answer: another device rounds in another way, another net differs."""


class KeptBatches:
    """Batches of one call.

    Args:
      folder: made where it is not there; None keeps nothing.
      says: what the outcomes depend on: plain values, and "arrays", a sequence of them.
      answers: what the nets say to some images. Weights that a function closes over are
        seen in nothing else.

    Raises:
      ValueError: if the folder holds the batches of another call, or damaged ones.
    """

    def __init__(
        self, folder: Path | None, says: Mapping[str, Any], answers: np.ndarray
    ):
        folder = None if folder is None else expand(folder)
        self._folder = folder
        if folder is not None:
            try:
                self._open(folder, says, answers)
            except OSError as error:
                self._give_up(error)

    def _open(self, folder: Path, says: Mapping[str, Any], answers: np.ndarray) -> None:
        """Makes the folder, or checks that it holds the batches of this call."""
        folder.mkdir(parents=True, exist_ok=True)
        now = json.loads(json.dumps({**says, "arrays": _digest(says["arrays"])}))
        call = folder / "call.json"
        if not call.exists():
            _write(folder / "answers.npy", lambda file: np.save(file, answers))
            _write(call, lambda file: file.write(json.dumps(now, indent=1).encode()))
        way_out = "remove the folder, and the evaluation starts over"
        with reading(call, way_out):
            before = dict(json.loads(call.read_text()))
        other = [name for name in now if before.get(name) != now[name]]
        with reading(folder / "answers.npy", way_out):
            if not other and not _agree(np.load(folder / "answers.npy"), answers):
                other = ["logits_fn"]
        if other:
            raise ValueError(
                f"{folder} holds batches of another call, which differs in {other}: "
                "choose another folder, or remove this one."
            )

    def recall(self, name: str) -> dict[str, np.ndarray] | None:
        """The outcome of a batch, if it was kept."""
        path = self._folder and self._folder / f"{name}.npz"
        if path is None or not path.exists():
            return None
        return read_arrays(path, "remove it, and that batch is measured again")

    def add(self, name: str, outcome: Mapping[str, Any]) -> None:
        """Writes the outcome of a batch."""
        if self._folder is not None:
            path = self._folder / f"{name}.npz"
            try:
                _write(path, lambda file: np.savez_compressed(file, **outcome))
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        warnings.warn(
            f"{self._folder} cannot be written ({error}): finished batches are not "
            "kept, and an evaluation that is killed starts over.",
            stacklevel=4,
        )
        self._folder = None


def _digest(arrays: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _agree(before: np.ndarray, now: np.ndarray) -> bool:
    finite = np.abs(before[np.isfinite(before)])
    within = SAME * finite.max(initial=0.0)
    return np.allclose(now, before, rtol=0, atol=within, equal_nan=True)


def _write(path: Path, write: Any) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        write(file)
    os.replace(partial, path)
