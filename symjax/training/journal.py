"""What a run leaves behind as it goes: `metrics.jsonl` and TensorBoard events.

with Journal(workdir, epoch=0) as journal:
    journal.write({"epoch": 1, "train_loss": [2.1, 2.2], ...})
"""

import json
import math
import os
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from symjax.folders import expand


class Journal:
    """One JSON object a line in `metrics.jsonl`, and the same as TensorBoard scalars.

    Lines after `epoch`, left by a run that was cut off between a line and its
    checkpoint, are dropped: the resumed run writes them again.

    Args:
      workdir: the run folder.
      epoch: epochs that are done.
      write: False for a process that is to leave the folder alone.
    """

    def __init__(self, workdir: Path, epoch: int, write: bool = True):
        self._write = write
        if not write:
            return
        workdir = expand(workdir)
        self._path = workdir / "metrics.jsonl"
        kept = [row for row in read(self._path) if row["epoch"] <= epoch]
        partial = self._path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        os.replace(partial, self._path)
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=epoch + 1)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        if self._write:
            self._events.close()

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row; lists hold one value a seed, None where a seed is frozen."""
        if not self._write:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, values in row.items():
            if isinstance(values, list):
                scalars = {f"seed_{i}": v for i, v in enumerate(values) if _plots(v)}
                for seed, value in scalars.items():
                    self._events.add_scalar(f"{name}/{seed}", value, row["epoch"])
        self._events.flush()


def _plots(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last line that was cut off is left out."""
    path = expand(path)
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]
