"""The flags of `train.py`, `evaluate.py` and the audit of a net, and nothing else.

What a user can put right (a value, a missing folder) is one line; `--traceback` shows
where it came from.
"""

import datetime
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from symjax import command_help, terminal
from symjax.evaluate_flags import RUNS

FLAGS = flags.FLAGS


def train() -> None:
    """`python train.py --config configs/x.py [--config.key=value] [--workdir W]`."""
    config = config_flags.DEFINE_config_file("config", None, "An experiment's file.")
    flags.DEFINE_string("workdir", None, f"Run folder; default {RUNS}/<name>-<time>.")
    flags.DEFINE_bool("resume", True, "Go on where a run in the workdir was cut off.")
    flags.mark_flag_as_required("config")

    def main() -> int:
        import jax

        from symjax.training import loop

        if not FLAGS.workdir and jax.process_count() > 1:
            raise ValueError("--workdir: several processes need one named, and shared.")
        time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        workdir = FLAGS.workdir or f"{RUNS}/{config.value.name}-{time}"
        state = loop.train(config.value, Path(workdir), FLAGS.resume)
        return 1 if loop.is_frozen(state).all() else 0

    _run(main)


def evaluate() -> None:
    """`python evaluate.py --attack NAME|--metric NAME|--audit [--run RUN] [...]`."""
    from symjax import evaluate_command, evaluate_flags

    evaluate_flags.define()
    _run(evaluate_command.main, evaluate_flags.help_text)


def audit_net() -> None:
    """`python -m symjax.nn.audit --config configs/x.py [--config.key=value] [...]`."""
    config = config_flags.DEFINE_config_file("config", None, "An experiment's file.")
    flags.DEFINE_string("workdir", None, f"Run folder; default {RUNS}/<name>-audit.")
    flags.DEFINE_list("sizes", ["15", "16", "31", "32"], "Sides of images, in pixels.")

    def main() -> int:
        from symjax.evaluation import equivariance

        workdir = Path(FLAGS.workdir or f"{RUNS}/{config.value.name}-audit")
        sizes = [int(size) for size in FLAGS.sizes]
        equivariance.run(config.value, workdir, sizes, Console())
        return 0

    _run(main)


def _run(main: Callable[[], int], help_text: Callable[[], str] | None = None) -> None:
    terminal.prepare()
    flags.DEFINE_bool("distributed", False, "One of several processes (SLURM, ...).")
    flags.DEFINE_string("coordinator", None, "host:port of process 0, where unknown.")
    flags.DEFINE_integer("processes", None, "How many processes there are.")
    flags.DEFINE_integer("process", None, "Which one this is, from 0.")
    flags.DEFINE_bool("traceback", False, "Show where an error came from.")

    if help_text is not None:
        command_help.exit_if_asked(sys.argv, help_text())

    def guarded(argv: Sequence[str]) -> int:
        from symjax import compilation
        from symjax.data import cache
        from symjax.training import mesh

        if len(argv) > 1:
            raise app.UsageError(
                f"unexpected arguments {argv[1:]}: flags begin with --"
            )
        logging.set_verbosity(logging.ERROR)
        compilation.keep_programs(cache.default_folder() / "programs")
        try:
            if FLAGS.distributed or FLAGS.coordinator:
                mesh.connect(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
            return main()
        except (OSError, ValueError) as error:
            if FLAGS.traceback:
                raise
            print(f"error: {error}", file=sys.stderr)
            return 2

    app.run(guarded, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags; an unknown configuration key is one line, not a stack trace."""
    try:
        return FLAGS(argv)
    except AttributeError as error:  # from ml_collections, with the nearest key
        reason = str(error).strip("'\"").replace("\\'", "'").replace("\\n", ". ")
        message = f"there is no such configuration key: {reason}"
    except flags.Error as error:
        message = " ".join(str(error).split())
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
