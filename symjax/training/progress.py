"""What a person sees while a run trains: one bar, or one line an epoch in a log.

with Progress(epochs=200, done=0) as progress:
    progress.update(row)
"""

from typing import Any

import rich.progress as bars
from rich.console import Console


class Progress:
    """Loss, accuracy, images per second and time left.

    Args:
      epochs: of the whole run.
      done: epochs that are done.
      console: where to.
    """

    def __init__(self, epochs: int, done: int, console: Console | None = None):
        self.console = console or Console()
        self._bar = bars.Progress(
            bars.TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            bars.BarColumn(),
            bars.TextColumn("{task.description}"),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=epochs, completed=done)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def update(self, row: dict[str, Any]) -> None:
        """Shows a row of the journal, each figure as its mean over the seeds."""
        parts = [
            f"{name.replace('_', ' ')} {_mean(row[name]):{form}}"
            for name, form in (
                ("train_loss", ".3f"),
                ("train_accuracy", ".1%"),
                ("validation_accuracy", ".1%"),
                ("test_accuracy", ".1%"),
            )
            if name in row
        ]
        text = ", ".join([*parts, f"{row['images_per_second']:,.0f} images/s"])
        self._bar.update(self._task, completed=row["epoch"], description=text)
        if not self.console.is_terminal:
            self.console.print(f"epoch {row['epoch']}: {text}", soft_wrap=True)


def _mean(values: list[float | None]) -> float:
    alive = [value for value in values if value is not None]
    return sum(alive) / len(alive) if alive else float("nan")
