"""How far an evaluation is: a bar on a terminal, a line per finished item in a pipe.

with Progress(console, total=21) as progress:
    progress.begin("clever, l2, seed 0")     # the item before this one is finished
    progress.part(3, 10)                     # of this item
"""

import time
from collections.abc import Callable

import rich.progress as bars
from rich.console import Console

BAR = 6  # characters, at least


class Progress:
    """Items that are done, the one that runs, and the time that is left.

    The time left is estimated as if each item took as long as those before it.

    Args:
      console: where to; None: stderr.
      total: how many items there are.
      clock: seconds, from any start.
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
        self._share = 0.0  # of all items, that is done
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
        """The next item runs; the one before it is finished."""
        self._finish()
        self._name = name
        self.part(0, 1)

    def part(self, done: float, total: float, note: str = "") -> None:
        """How much of the running item is done, and what else to show of it."""
        fraction = done / total if total else 0.0
        share = (self._done + min(fraction, 1.0)) / max(self._total, 1)
        self._share = share
        several = f"{self._done} of {self._total}"
        count = several if self._total > 1 else f"{int(100 * share)}%"
        text, left = f"{self._name}: {note}" if note else self._name, self._left(share)
        room = self._console.width - len(count) - len(left) - BAR - 3
        self._bar.update(
            self._task,
            completed=share * max(self._total, 1),
            description=text if len(text) <= room else f"{text[: room - 1]}…",
            count=count,
            left=left,
        )

    def say(self, text: str) -> None:
        """A line about the running item and the time that is left, in a pipe alone."""
        if not self._console.is_terminal:
            line = f"{self._name}: {text}, {self._left(self._share)}"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _finish(self) -> None:
        if not self._name:
            return
        self._done += 1
        self.part(0, 1)
        self.say(f"{self._done} of {self._total}")
        self._name = ""

    def _left(self, share: float) -> str:
        if not share:
            return ""
        if share == 1:
            return f"done in {duration(self._clock() - self._began)}"
        seconds = (self._clock() - self._began) * (1 - share) / share
        return f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """A time for people: "40 s", "3 min", "1.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
