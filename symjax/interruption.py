"""Signals (Ctrl-C, SIGTERM): a line that names saved results, and an exit code.

    with interruptible() as signals:          # exits with 130 or 143
        signals.keeps("what was saved is in runs/x", ["--workdir", "runs/x"])
        with signals.stopping() as stop:
            train(config, workdir, stop=stop)

The line also gives the command that continues the work. The main thread cannot handle a
signal while a program of XLA runs or compiles, which may take minutes. If it does not
within some seconds, or if a second signal comes, another thread ends the process.
`install` handles signals from the start of a process, before libraries are imported.
"""

import atexit
import contextlib
import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

HANDLED = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 2.0  # seconds until the thread prints a line or ends the process
SHOW_CURSOR = b"\x1b[?25h"  # progress bars hide it


class Interrupted(BaseException):
    """A signal was received.

    It is not an `Exception`, so that `except Exception` does not catch it.

    Args:
      number: the number of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Signals:
    """The reaction to signals.

    Before the first call of `keeps`, a signal ends the process at once. After it, a
    signal raises `Interrupted` in the main thread. Within `stopping`, a signal makes
    the function `stop` return True, so that the work can save its state and end.
    """

    def __init__(self):
        self._received: int | None = None
        self._stops = self._said = self._has_begun = False
        self._kept, self._command = "no result was written", list(sys.orig_argv)

    def keeps(self, kept: str, flags: Sequence[str] = ()) -> None:
        """Sets the content of the line that a signal prints.

        Args:
          kept: which results are saved, in words that follow a colon.
          flags: flags that make the present command continue the work.
        """
        self._kept, self._command = kept, [*sys.orig_argv, *flags]
        self._has_begun = True

    @contextlib.contextmanager
    def stopping(self) -> Iterator[Callable[[], bool]]:
        """A function that returns whether a signal was received.

        From its first call to the end of the context, signals raise no exception.
        """

        def stop() -> bool:
            self._stops = True
            return self._received is not None

        try:
            yield stop
        finally:
            self._stops = False

    def leave_if_stopped(self) -> None:
        """Raises `Interrupted` if a signal was received and the work ended early."""
        if self._received is not None:
            raise Interrupted(self._received)

    def end(self) -> None:
        """Sets the line for signals that come after the end of the command."""
        self._kept, self._command = "the command had ended", []
        self._has_begun = False

    def line(self, number: int) -> str:
        """The line that a signal prints."""
        name = signal.Signals(number).name
        go_on = f". To go on: {shlex.join(self._command)}" if self._command else ""
        return f"interrupted by {name}: {self._kept}{go_on}\n"

    def say(self, number: int) -> None:
        """Prints the line, unless it was printed already."""
        if not self._said:
            self._said = True
            if os.isatty(1):
                os.write(1, SHOW_CURSOR)
            os.write(2, self.line(number).encode())

    def leave(self, number: int) -> NoReturn:
        """Prints the line and ends the process at once, from the main thread.

        Functions that are registered for the exit of Python are skipped, because
        threads of XLA that still run could crash during them.
        """
        self.say(number)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the signal may have come in a print
                stream.flush()
        os._exit(128 + number)

    @contextlib.contextmanager
    def heard_in_callbacks(self) -> Iterator[None]:
        """Ends the process when `Interrupted` is raised where Python would ignore it.

        Python prints and ignores exceptions in `__del__` and in some callbacks, such as
        the one that JAX registers with the garbage collector.
        """
        before = sys.unraisablehook

        def hook(unraisable: "sys.UnraisableHookArgs") -> None:
            if isinstance(unraisable.exc_value, Interrupted):
                self.leave(unraisable.exc_value.number)
            before(unraisable)

        sys.unraisablehook = hook
        try:
            yield
        finally:
            sys.unraisablehook = before

    def _handle(self, number: int, frame: object) -> None:
        del frame
        if not self._has_begun:  # an exception could break the import of a library
            self.leave(number)
        if self._received is None:
            self._received = number
            if not self._stops:
                raise Interrupted(number)

    def _watch(self, pipe: int) -> None:
        """Ends the process at the second signal, or if the first one is not handled."""
        first = _next(pipe, None)
        if not first:
            return
        second = _next(pipe, PATIENCE)
        if second is None and self._stops:
            os.write(2, b"stopping after this step; a second signal exits at once.\n")
            second = _next(pipe, None)
        if second == 0:  # the main thread has ended by itself
            return
        self.say(first)
        os._exit(128 + first)


def _next(pipe: int, timeout: float | None) -> int | None:
    """The number of the next signal; 0 at the end, None after the timeout."""
    while select.select([pipe], [], [], timeout)[0]:
        number = os.read(pipe, 1)[0]
        if number == 0 or number in HANDLED:
            return number
    return None


_OUTSIDE = Signals()


def install() -> None:
    """Handles signals before and after `interruptible` as well.

    It has to be the first call of a command, in the main thread, because imports take
    seconds. At its exit, when Python no longer calls handlers, signals are ignored.
    """
    _set_handlers(_OUTSIDE)
    atexit.register(_ignore)  # the first that is registered is the last that is called


def _ignore() -> None:
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


def _set_handlers(signals: Signals) -> dict[int, Any]:
    """Sets the handlers of signals that are not ignored; returns the old handlers."""
    return {
        number: signal.signal(number, signals._handle)
        for number in HANDLED
        if signal.getsignal(number) is not signal.SIG_IGN
    }


@contextlib.contextmanager
def interruptible() -> Iterator[Signals]:
    """Handles signals within the context; an interrupted process exits."""
    signals = Signals()
    with _listening(signals), signals.heard_in_callbacks():
        try:
            yield signals
        except Interrupted as error:
            signals.leave(error.number)
        finally:
            signals.end()
            _OUTSIDE.end()


@contextlib.contextmanager
def _listening(signals: Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can have handlers
        return
    pipe, wake = os.pipe()
    os.set_blocking(wake, False)
    thread = threading.Thread(target=signals._watch, args=(pipe,), daemon=True)
    thread.start()
    fd_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    before = _set_handlers(signals)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        os.write(wake, b"\0")
        thread.join()
        os.close(pipe)
        os.close(wake)
