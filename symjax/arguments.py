"""How a command with argparse's flags runs: its errors as one line, its signals.

    @command()
    def main(arguments=None):
        parser = Parser("python -m symjax.report", __doc__)
        parser.add_argument("run")
        run = parser.parse_args(arguments).run

`symjax.command` does the same for a command with absl's flags.
"""

import argparse
import contextlib
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from symjax import terminal
from symjax.interruption import interruptible

FLAG = re.compile(r"-[^\d.\s]\S*")  # neither "-", nor "-1", nor "-.5"


class Parser(argparse.ArgumentParser):
    """Flags are written in full, and an error is one line and exit code 2.

    Args:
      prog: the command, for its help.
      description: for its help; line breaks stay as they are.
      hint: what an error of an unknown flag ends with, where none is near.
      **options: of `argparse.ArgumentParser`.
    """

    def __init__(
        self,
        prog: str | None = None,
        description: str | None = None,
        hint: str = "--help lists the flags.",
        **options: Any,
    ):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(prog, description=description, **options)
        self.hint = hint

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None):
        """As argparse, but an unknown flag is the first error that is reported."""
        words = list(sys.argv[1:] if args is None else args)
        known = _flags(self)
        for word in words[: words.index("--")] if "--" in words else words:
            name = word.split("=")[0]
            if FLAG.fullmatch(name) and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                more = f" Did you mean {near[0]}?" if near else f" {self.hint}"
                self.error(f"{name}: there is no such flag.{more}")
        return super().parse_args(words, namespace)

    def error(self, message: object) -> NoReturn:
        """Prints `error: ...`, one line, and exits with 2."""
        sys.exit(terminal.fail(message))


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """The flags of a parser and of its commands."""
    flags = []
    for action in parser._actions:
        flags += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            flags += [flag for each in action.choices.values() for flag in _flags(each)]
    return flags


@contextlib.contextmanager
def command() -> Iterator[None]:
    """Decorates a `main`: a signal, an OSError or a ValueError is one line.

    The exit code is 128 and the signal's number, or 2.
    """
    terminal.prepare()
    with interruptible():
        try:
            yield
        except (OSError, ValueError) as error:
            sys.exit(terminal.fail(error))
