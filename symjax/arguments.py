"""Commands with argparse's flags: parsing, errors in one line, signals.

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
    """A parser whose errors are one line with exit code 2.

    Flags cannot be abbreviated.

    Args:
      prog: the command, as its help prints it.
      description: text for the help; its line breaks are kept.
      hint: the end of the error for an unknown flag that resembles no known flag.
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
        """As in argparse, but unknown flags are reported before all other errors."""
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
        """Prints `error: ...` in one line and exits with code 2."""
        sys.exit(terminal.fail(message))


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """The flags of a parser and of its subcommands."""
    flags = []
    for action in parser._actions:
        flags += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            flags += [flag for each in action.choices.values() for flag in _flags(each)]
    return flags


@contextlib.contextmanager
def command() -> Iterator[None]:
    """Decorates a `main` function, so that errors and signals print one line.

    The exit code is 2 for an OSError or ValueError, and 128 plus the number for a
    signal.
    """
    terminal.prepare()
    with interruptible():
        try:
            yield
        except (OSError, ValueError) as error:
            sys.exit(terminal.fail(error))
