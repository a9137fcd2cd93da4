"""The log of a training run: `metrics.jsonl` and TensorBoard events.

with MetricLogger(workdir, epoch=0) as journal:
    journal.write({"epoch": 1, "train_loss": [2.1, 2.2], ...})
"""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore

from symjax import io
from symjax.folders import expand, writing


class MetricLogger:
    """Writes one JSON object per epoch to `metrics.jsonl`, and TensorBoard scalars.

    Lines of epochs after `epoch` are removed. They remain when a run ends between
    writing a line and saving its checkpoint, and the resumed run writes them again.

    Args:
      workdir: the run folder.
      epoch: the number of finished epochs.
      write: whether this process writes to the folder.
    """

    def __init__(self, workdir: Path, epoch: int, write: bool = True):
        self._write = write
        if not write:
            return
        workdir = expand(workdir)
        self._path = workdir / "metrics.jsonl"
        kept = [row for row in read(self._path) if row["epoch"] <= epoch]
        with writing(workdir):
            io.write_rows(self._path, kept)
            self._events = _events(workdir / "tensorboard", epoch)

    def __enter__(self) -> "MetricLogger":
        return self

    def __exit__(self, *_) -> None:
        if self._write:
            with writing(self._path.parent):
                self._events.close()

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row; lists hold one value per seed, None for a frozen seed."""
        if not self._write:
            return
        with writing(self._path.parent):
            io.append_row(self._path, row)
            for name, values in row.items():
                if isinstance(values, list):
                    self._events.write_event(_scalars(name, values, row["epoch"]))
            self._events.flush()


def _events(folder: Path, epoch: int) -> EventsWriter:
    """A new event file, which makes TensorBoard drop older events after `epoch`.

    `SummaryWriter` is not used, because it writes in a thread that prints its errors.
    """
    folder.mkdir(exist_ok=True)
    events = EventsWriter(str(folder / "events"), f".{os.getpid()}.{epoch}")
    start = SessionLog(status=SessionLog.START)
    events.write_event(Event(wall_time=time.time(), step=epoch + 1, session_log=start))
    return events


def _scalars(name: str, values: Sequence[float | None], epoch: int) -> Event:
    points = [
        Summary.Value(tag=f"{name}/seed_{i}", simple_value=value)
        for i, value in enumerate(values)
        if _plots(value)
    ]
    return Event(wall_time=time.time(), step=epoch, summary=Summary(value=points))


def _plots(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file `metrics.jsonl`; a last line that was cut off is left out.

    Raises:
      ValueError: if another line is not a row; the error names the file and the line.
    """
    return io.read_rows(expand(path), _parse)


def _parse(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict) or type(row.get("epoch")) is not int:
        raise ValueError('expected a JSON object with an integer "epoch"')
    return row
