"""Tables, plots and pages of measured rows; no net is run.

    python -m symjax.report runs/NAME              # a page of the run, in report.html
    python -m symjax.report summary runs/NAME      # accuracies on clean images
    python -m symjax.report statements runs/*      # metrics, nets side by side
    python -m symjax.report compare BASELINE NET   # paired differences of metrics
    python -m symjax.report corruption BASELINE NET --out heat.png
    python -m symjax.report distance_bounds NET --out bounds.png
    python -m symjax.report tolerance BASELINE NET --out tolerance.png

`COMMAND --help` has the flags of one command. A run folder that is named as a command
is given as ./NAME.
"""

import difflib
import sys
from collections.abc import Sequence
from typing import Any

from symjax.arguments import Parser, command
from symjax.folders import expand
from symjax.io import atomic_write
from symjax.report import (
    compare,
    corruption,
    distance_bounds,
    statements,
    summary,
    tolerance,
)
from symjax.report.page import render
from symjax.report.run import of_run

COMMANDS: dict[str, Any] = {
    "summary": summary,
    "statements": statements,
    "compare": compare,
    "corruption": corruption,
    "distance_bounds": distance_bounds,
    "tolerance": tolerance,
}
"""Modules with `add_flags(parser)` and `run(flags)`."""


def parser() -> Parser:
    """The parser of the sub-commands; `page` is that of a call without one."""
    made = Parser("python -m symjax.report", __doc__)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    page = commands.add_parser(
        "page", description=of_run.__doc__, help="a run as one HTML page; the default"
    )
    page.add_argument("run", type=expand, metavar="RUN", help="run folder")
    page.add_argument("--out", type=expand, help="default: RUN/report.html")
    for name, module in COMMANDS.items():
        text = module.__doc__
        each = commands.add_parser(name, description=text, help=text.splitlines()[0])
        module.add_flags(each)
    return made


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints, draws or writes what the command line asks for."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words[0] if words else ""
    if first not in ("page", "-h", "--help", *COMMANDS):
        near = difflib.get_close_matches(first, COMMANDS, 1)
        if near and not expand(first).exists():
            raise ValueError(
                f"{first}: there is no such folder or command. Did you mean {near[0]}?"
            )
        words = ["page", *words]
    flags = parser().parse_args(words)
    if flags.command != "page":
        COMMANDS[flags.command].run(flags)
        return
    out = flags.out or flags.run / "report.html"
    text = render(of_run(flags.run))
    with atomic_write(out) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"page in {out}")


if __name__ == "__main__":
    main()
