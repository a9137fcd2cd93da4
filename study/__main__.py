"""The command line of the study: list, run, build.

python -m study run --size smoke --minutes 30
"""

import argparse
import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging

from study import status
from study.run import Folders, part_of, run_missing
from study.runs import SIZES
from symjax import compilation, terminal
from symjax.arguments import Parser
from symjax.data import cache
from symjax.folders import expand
from symjax.interruption import interruptible

RESULTS, RUNS = Path("results/study"), Path("runs/study")


def _parser() -> Parser:
    parser = Parser("python -m study", __doc__)
    help = f"of the rows; default: {RESULTS}"
    parser.add_argument("--results", type=expand, help=help)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("list", help="what is measured and what is missing")
    run = commands.add_parser("run", help="train and measure what is missing")
    timing = commands.add_parser("time", help="measure the speed of each run")
    build = commands.add_parser("build", help="tables, figures and page, from rows")
    for each in (show, run, timing):
        each.add_argument("--size", choices=list(SIZES), default="full")
        each.add_argument("--only", default="", metavar="i/n", help="one of n parts")
    show.add_argument("--commands", action="store_true", help="how each run is trained")
    run.add_argument(
        "--trial", action="store_true", help="on a few images, to see it run"
    )
    run.add_argument(
        "--minutes", type=_count(float), help="stop then; default: when done"
    )
    run.add_argument("--runs", type=expand, default=RUNS, help="of the run folders")
    run.add_argument("--together", type=_count(int), default=0, help="seeds at once")
    for each in (run, timing):
        each.add_argument("--data_dir", help="folder of the data sets")
        dtypes = ["float32", "bfloat16"]
        each.add_argument("--dtype", choices=dtypes, default="float32", help="of nets")
    build.add_argument("--out", type=expand, default=Path("docs"), help="of the page")
    return parser


def _count(kind: type[float]) -> Callable[[str], float]:
    """Reads a flag's number, which is finite and not negative."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if 0 <= (number := kind(text)) < math.inf:
                return number
        whole = "whole " * (kind is int)
        raise argparse.ArgumentTypeError(f"{text}: expected a {whole}number from 0 on")

    return read


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    terminal.prepare()
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.results is None:
        args.results = RESULTS
    elif args.command != "run" and not args.results.is_dir():
        parser.error(f"--results {args.results}: there is no such folder.")
    logging.set_verbosity(logging.ERROR)
    try:
        if args.command == "build":
            from study.build import build

            build(args.results, args.out)
            return
        size = SIZES[args.size]
        if args.command == "run" and args.trial:
            size = size.trial()
        results = args.results / size.name
        trainings = part_of(size, args.only)
        if args.command == "list":
            status.show(trainings, size, args.results, args.commands)
            return
        more = {"model.dtype": args.dtype}
        if args.data_dir:
            more["dataset.data_dir"] = args.data_dir
        compilation.keep_programs(cache.default_folder() / "programs")
        if args.command == "time":
            status.measure(trainings, size, results, more)
            return
        kept = args.results.parent / "nets" / size.name if size.reduced else None
        folders = Folders(results, args.runs / size.name, kept)
        _run(trainings, size, folders, more, args)
    except (OSError, ValueError) as error:
        parser.error(error)


def _run(trainings, size, folders: Folders, more, args: argparse.Namespace) -> None:
    """Runs until nothing is missing, the time is up or a signal comes."""
    with interruptible() as signals:
        signals.keeps(f"what was done is in {folders.results} and {folders.runs}")
        with signals.stopping() as stop:
            minutes, together = args.minutes, args.together
            call = trainings, size, folders, minutes, together, more
            run_missing(*call, stop=stop)
        signals.leave_if_stopped()


if __name__ == "__main__":
    main()
