"""Ctrl-C and SIGTERM: one line, what is kept, the command that goes on, an exit code.

    with interruptible() as signals:          # exits with 130 or 143
        signals.keeps("what was saved is in runs/x", ["--workdir", "runs/x"])
        with signals.stopping() as stop:
            train(config, workdir, stop=stop)

A second signal, or one that the main thread cannot hear for some seconds, is answered
by a thread of its own: a program of XLA may run or compile for minutes. `install` is
for the start of a process, before the libraries are imported.
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
PATIENCE = 2.0  # seconds until something is said, or done, by the thread
SHOW_CURSOR = b"\x1b[?25h"  # progress bars hide it


class Interrupted(BaseException):
    """A signal came; not an `Exception`, so that nothing but the command catches it.

    Args:
      number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Signals:
    """What to do when a signal comes.

    Before the first call of `keeps` a signal ends the process at once. Then it raises
    `Interrupted` in the main thread; but within `stopping`, once there is something to
    save, the work is asked to end by itself.
    """

    def __init__(self):
        self._received: int | None = None
        self._stops = self._said = self._has_begun = False
        self._kept, self._command = "no result was written", list(sys.orig_argv)

    def keeps(self, kept: str, flags: Sequence[str] = ()) -> None:
        """Sets what the line says.

        Args:
          kept: what is not lost, in words that follow a colon.
          flags: added to the present command, so that it goes on.
        """
        self._kept, self._command = kept, [*sys.orig_argv, *flags]
        self._has_begun = True

    @contextlib.contextmanager
    def stopping(self) -> Iterator[Callable[[], bool]]:
        """A function that says whether a signal has come.

        From its first call to the end of the context none is raised.
        """

        def stop() -> bool:
            self._stops = True
            return self._received is not None

        try:
            yield stop
        finally:
            self._stops = False

    def leave_if_stopped(self) -> None:
        """Raises `Interrupted` if a signal has come, for work that ended early."""
        if self._received is not None:
            raise Interrupted(self._received)

    def end(self) -> None:
        """Sets the line of a signal that comes after the end of the command."""
        self._kept, self._command = "the command had ended", []
        self._has_begun = False

    def line(self, number: int) -> str:
        """What is printed at the end."""
        name = signal.Signals(number).name
        go_on = f". To go on: {shlex.join(self._command)}" if self._command else ""
        return f"interrupted by {name}: {self._kept}{go_on}\n"

    def say(self, number: int) -> None:
        """Prints the line, once."""
        if not self._said:
            self._said = True
            if os.isatty(1):
                os.write(1, SHOW_CURSOR)
            os.write(2, self.line(number).encode())

    def leave(self, number: int) -> NoReturn:
        """Prints the line and ends the process at once, from the main thread.

        Nothing runs that is registered for the exit of Python, where threads of XLA
        that still compute could crash.
        """
        self.say(number)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the signal may have come in a print
                stream.flush()
        os._exit(128 + number)

    @contextlib.contextmanager
    def heard_in_callbacks(self) -> Iterator[None]:
        """Leaves where Python would print and forget an `Interrupted`.

        That is what it does with an exception in `__del__` or a callback, such as the
        one that JAX has the garbage collector call.
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
        if not self._has_begun:  # libraries are loaded, which an exception could break
            self.leave(number)
        if self._received is None:
            self._received = number
            if not self._stops:
                raise Interrupted(number)

    def _watch(self, pipe: int) -> None:
        """Leaves at the second signal, or where the first one is not heard."""
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
    """The next signal's number; 0 at the end, None if there is none for so long."""
    while select.select([pipe], [], [], timeout)[0]:
        number = os.read(pipe, 1)[0]
        if number == 0 or number in HANDLED:
            return number
    return None


_OUTSIDE = Signals()


def install() -> None:
    """Answers signals before and after `interruptible` as well.

    It is the first call of a command, in the main thread: imports take seconds. What is
    left once Python cannot call handlers any more, at its very end, is not interrupted.
    """
    _set_handlers(_OUTSIDE)
    atexit.register(_ignore)  # the first that is registered is the last that is called


def _ignore() -> None:
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


def _set_handlers(signals: Signals) -> dict[int, Any]:
    """Sets the handlers of all signals that are not ignored; returns those before."""
    return {
        number: signal.signal(number, signals._handle)
        for number in HANDLED
        if signal.getsignal(number) is not signal.SIG_IGN
    }


@contextlib.contextmanager
def interruptible() -> Iterator[Signals]:
    """Answers signals while it is open."""
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
        yield  # Python lets the main thread alone have handlers
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
