"""The commands `train.py` and `evaluate.py`."""

import contextlib
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from symjax import command, command_help, folders
from symjax.folders import RUNS

FLAGS = flags.FLAGS


def train() -> None:
    """`python train.py --config configs/x.py [--config.key=value] [--workdir W]`."""
    config = command.config_flag()
    flags.DEFINE_string(
        "workdir",
        None,
        "The run folder; a run that was stopped in it continues. The default is a new "
        f"folder {RUNS}/NAME-DATE-TIME.",
    )
    flags.DEFINE_bool(
        "resume", True, "Continue the run in the run folder, if there is one."
    )

    def main() -> int:
        from symjax.training import experiment

        experiment.check(config.value)
        if FLAGS.workdir:
            return _train(config.value, folders.expand(FLAGS.workdir))
        import jax

        if jax.process_count() > 1:
            raise ValueError(
                "--workdir is missing: several processes need one folder that all of "
                "them can write to."
            )
        workdir = folders.new(RUNS, config.value.name)
        try:
            return _train(config.value, workdir)
        finally:
            with contextlib.suppress(OSError):
                workdir.rmdir()  # fails unless the folder is empty

    command.run(main, _train_help)


def _train_help() -> str:
    groups = {
        "The experiment": ["config"],
        "The run": ["workdir", "resume"],
        "Several processes, and errors": command.SHARED,
    }
    examples = [
        "python train.py --config configs/quickstart.py",
        "python train.py --config configs/weighted.py --config.seeds=3 --noresume",
    ]
    summary = """
    Trains a net of the paper, all seeds at once, and writes a run folder. The keys of a
    configuration are in configs/base.py. Ctrl-C saves a checkpoint.
    """
    text = command_help.show_help(summary, examples, groups)
    return f"{text}\n{command.configurations()}"


def _train(config: Any, workdir: Path) -> int:
    """Trains and prints the next command; returns 1 if every seed diverged, else 0."""
    from symjax.mesh import is_writer
    from symjax.training import journal, loop
    from symjax.training.progress import closing

    signals = command.signals()
    go_on = [] if FLAGS.workdir else ["--workdir", str(workdir)]
    go_on += [] if FLAGS.resume else ["--resume"]
    signals.keeps(f"what was saved is in {workdir}", go_on)
    with signals.stopping() as stop:
        state = loop.train(config, workdir, FLAGS.resume, stop=stop)
    frozen = bool(loop.is_frozen(state).all())
    rows = journal.read(workdir / "metrics.jsonl")
    if not frozen and (not rows or rows[-1]["epoch"] < config.epochs):
        signals.keeps(f"a checkpoint of what was trained is in {workdir}", go_on)
        signals.leave_if_stopped()
    if rows and is_writer():
        console = Console()
        console.print(closing(rows, workdir), soft_wrap=True, highlight=False)
    return 1 if frozen else 0


def evaluate() -> None:
    """`python evaluate.py --attack NAME|--metric NAME|--audit [--run RUN] [...]`."""
    from symjax import evaluate_flags

    def measure() -> int:
        evaluate_flags.check()  # before JAX is imported, which takes seconds
        from symjax import evaluate_command

        return evaluate_command.main()

    evaluate_flags.define()
    command.run(measure, evaluate_flags.help_text)
