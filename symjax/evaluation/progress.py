"""The progress of an evaluation: a bar on a terminal, one line per item in a pipe.

with Progress(console, total=21) as progress:
    progress.begin("clever, l2, seed 0")     # finishes the item before this one
    progress.part(3, 10)                     # 3 of 10 parts of this item are done
"""

import time
from collections.abc import Callable

import rich.progress as bars
from rich.console import Console

BAR = 6  # characters, at least


class Progress:
    """Shows the number of finished items, the running item and the remaining time.

    The remaining time is estimated from the mean time of the finished items.

    Args:
      console: where progress is printed; None: stderr.
      total: the number of items.
      clock: returns seconds, counted from any moment.
    """

    def __init__(
        self,
        console: Console | None,
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._console = console or Console(stderr=True)
        self._total, self._clock = total, clock
        self._done, self._name, self._began = 0, "", clock()
        self._fraction = 0.0  # of the whole work that is done
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=None),
            bars.TextColumn("{task.fields[count]}"),
            bars.TextColumn("{task.fields[left]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("", total=max(total, 1), count="", left="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self._finish()
        self._bar.stop()

    def begin(self, name: str) -> None:
        """Starts the next item and finishes the item before it."""
        self._finish()
        self._name = name
        self.part(0, 1)

    def part(self, done: float, total: float, note: str = "") -> None:
        """Updates the bar within the running item.

        Args:
          done, total: the finished part of the item, and the whole item.
          note: text that is shown after the name of the item.
        """
        of_item = done / total if total else 0.0
        fraction = (self._done + min(of_item, 1.0)) / max(self._total, 1)
        self._fraction = fraction
        several = f"{self._done} of {self._total}"
        count = several if self._total > 1 else f"{int(100 * fraction)}%"
        text = f"{self._name}: {note}" if note else self._name
        left = self._left(fraction)
        room = self._console.width - len(count) - len(left) - BAR - 3
        self._bar.update(
            self._task,
            completed=fraction * max(self._total, 1),
            description=text if len(text) <= room else f"{text[: room - 1]}…",
            count=count,
            left=left,
        )

    def say(self, text: str) -> None:
        """Prints a line about the running item, unless the console is a terminal."""
        if not self._console.is_terminal:
            line = f"{self._name}: {text}, {self._left(self._fraction)}"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _finish(self) -> None:
        if not self._name:
            return
        self._done += 1
        self.part(0, 1)
        self.say(f"{self._done} of {self._total}")
        self._name = ""

    def _left(self, fraction: float) -> str:
        if not fraction:
            return ""
        if fraction == 1:
            return f"done in {duration(self._clock() - self._began)}"
        seconds = (self._clock() - self._began) * (1 - fraction) / fraction
        return f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """A time for people: "40 s", "3 min", "1.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
