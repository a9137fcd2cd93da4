"""The progress of a training: a bar on a terminal, and one line per epoch.

with Progress(epochs=200, done=0) as progress:
    progress.advance(0.25, accuracy=0.4)        # a quarter of the first epoch
    progress.update(row)                        # the first epoch is done
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich.progress as bars
from rich.console import Console

from symjax.terminal import counted

LONGEST_CALL = 3600.0  # seconds; the speed is estimated from updates in this period


class Progress:
    """Shows the epoch, a bar, the remaining time and the training accuracy.

    Args:
      epochs: the number of epochs of the whole run.
      done: the number of finished epochs, with the finished fraction of the next one.
      console: where progress is printed.
    """

    def __init__(self, epochs: int, done: float, console: Console | None = None):
        self.console = console or Console()
        self._epochs = epochs
        self._bar = bars.Progress(
            bars.TextColumn("epoch {task.fields[epoch]}/{task.total:.0f}"),
            bars.BarColumn(bar_width=24),
            bars.TaskProgressColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("left, {task.description}"),
            console=self.console,
            speed_estimate_period=LONGEST_CALL,
            disable=not self.console.is_terminal,
        )
        epoch = min(int(done) + 1, epochs)
        self._task = self._bar.add_task("compiling", total=epochs, epoch=epoch)
        self._bar.update(self._task, completed=done)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def advance(self, done: float, accuracy: float | None) -> None:
        """Updates the bar within an epoch.

        Args:
          done: the number of finished epochs, with the finished fraction of the next.
          accuracy: training accuracy in this epoch so far; None if all seeds diverged.
        """
        text = "" if accuracy is None else f"train {accuracy:.1%}"
        self._bar.update(self._task, completed=done, description=text)

    def update(self, row: dict[str, Any]) -> None:
        """Prints the row of an epoch, each metric as its mean over the seeds."""
        parts = [
            f"{name} {mean(row[key]):{form}}"
            for key, name, form in (
                ("train_loss", "loss", ".3f"),
                ("train_accuracy", "train", ".1%"),
                ("validation_accuracy", "validation", ".1%"),
                ("test_accuracy", "test", ".1%"),
            )
            if key in row
        ]
        text = ", ".join([*parts, f"{row['images_per_second']:,.0f} images/s"])
        epoch = row["epoch"]
        now = min(epoch + 1, self._epochs)
        # Refreshed first; otherwise the old bar is drawn again below the line.
        self._bar.update(self._task, completed=epoch, epoch=now, refresh=True)
        self.console.print(f"epoch {epoch}: {text}", soft_wrap=True, highlight=False)


def closing(rows: Sequence[dict[str, Any]], workdir: Path) -> str:
    """The last message of a training: test accuracy, run folder and next command.

    Args:
      rows: rows of `metrics.jsonl`, at least one.
      workdir: the run folder.
    """
    last = rows[-1]
    seeds = counted(len(last["train_loss"]), "seed")
    text = f"trained {counted(last['epoch'], 'epoch')} of {seeds}"
    if "test_accuracy" in last:
        text += f": test accuracy {mean(last['test_accuracy']):.1%} on average"
    return (
        f"{text}\nThe run is in {workdir}. Next:\n"
        f"    python evaluate.py --attack pgd --run {shlex.quote(str(workdir))}"
    )


def mean(values: Sequence[float | None]) -> float:
    """The mean over the seeds that are not frozen; NaN if all are frozen."""
    alive = [value for value in values if value is not None]
    return sum(alive) / len(alive) if alive else float("nan")
