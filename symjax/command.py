"""Commands with absl's flags: help, errors in one line, signals.

    run(main, help_text)            # main() returns the exit code

Errors that a user can correct (a value, a missing folder) are printed in one line, with
exit code 2; `--traceback` prints the traceback as well.
"""

import ast
import difflib
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from symjax import command_help, interruption, terminal

FLAGS = flags.FLAGS
CONFIGS = Path("configs")
SHARED = ["distributed", "coordinator", "processes", "process", "traceback"]
"""Flags that every command has; the last group of its help."""

_SIGNALS = interruption.Signals()


def signals() -> interruption.Signals:
    """The signal handling of the running command."""
    return _SIGNALS


def config_flag() -> flags.FlagHolder:
    """Defines the flags `--config FILE` and `--config.KEY=VALUE`."""
    return config_flags.DEFINE_config_file(
        "config", None, "The file of the experiment. --config.KEY=VALUE changes a key."
    )


def run(main: Callable[[], int], help_text: Callable[[], str] | None = None) -> None:
    """Parses the flags, runs a command and exits with its code.

    Args:
      main: the command; it returns the exit code.
      help_text: returns the text of `--help`; it is called after all flags are defined.
    """
    global _SIGNALS
    terminal.prepare()
    flags.DEFINE_bool(
        "distributed",
        False,
        "This process is one of several, which the cluster knows (SLURM, Kubernetes).",
    )
    flags.DEFINE_string(
        "coordinator", None, "The address host:port of process 0, without a cluster."
    )
    flags.DEFINE_integer("processes", None, "The number of processes.")
    flags.DEFINE_integer("process", None, "The number of this process, from 0.")
    flags.DEFINE_bool("traceback", False, "Print the traceback of an error.")
    if help_text is not None:
        command_help.exit_if_asked(sys.argv, help_text())

    def start(argv: Sequence[str]) -> int:
        if len(argv) > 1:
            return terminal.fail(
                f"arguments {argv[1:]}: expected only flags, which begin with --."
            )
        return _guarded(main)

    with interruption.interruptible() as _SIGNALS:
        app.run(start, flags_parser=_parse)


def _guarded(main: Callable[[], int]) -> int:
    from symjax import compilation, mesh
    from symjax.data import cache

    logging.set_verbosity(logging.ERROR)
    compilation.keep_programs(cache.default_folder() / "programs")
    try:
        several = FLAGS.processes is not None or FLAGS.process is not None
        if several and not (FLAGS.distributed or FLAGS.coordinator):
            raise ValueError(
                "--processes and --process: add --coordinator=host:port, or give "
                "--distributed alone on a cluster."
            )
        if FLAGS.distributed or FLAGS.coordinator:
            mesh.connect(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
        return main()
    except interruption.Interrupted:
        mesh.disconnect()
        raise
    except (OSError, ValueError) as error:
        if FLAGS.traceback:
            raise
        return terminal.fail(error)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags; an error in them or in a configuration is printed."""
    try:
        if "config" in FLAGS:
            _find_config(argv)
        left = FLAGS(argv)
        _refuse_empty()
        return left
    except Exception as error:  # a configuration is a program, and may raise anything
        if "--traceback" in argv:
            raise
        sys.exit(terminal.fail(_reason(error)))


def _find_config(argv: Sequence[str]) -> None:
    """Checks that `--config` names a file; otherwise later errors would be obscure."""
    given = _configs(argv)
    if not given:
        terminal.fail("--config is missing: name one of these configurations.")
        print(configurations(), end="", file=sys.stderr)
        sys.exit(2)
    if len(given) > 1:
        raise flags.Error(
            f"--config: {' and '.join(given)} are given; expected one configuration. "
            "--config.KEY=VALUE changes a key."
        )
    if not given[0]:
        raise flags.Error(
            "--config='': expected a file, such as configs/quickstart.py. Without "
            "--config all are listed."
        )
    path = _path(given[0])
    if not path.is_file():
        near = _nearest(path)
        hint = f" Did you mean {near}?" if near else " Without --config all are listed."
        raise flags.Error(f"--config={path}: there is no such file.{hint}")


def _configs(argv: Sequence[str]) -> list[str]:
    """The values of `--config`."""
    values = []
    for index, word in enumerate(argv):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name == "config":
            values.append(value if equals else "".join(argv[index + 1 : index + 2]))
    return values


def _path(config: str) -> Path:
    """The file in a value of `--config`, without the argument after a colon."""
    return Path(config.split(":")[0])


def _nearest(path: Path) -> Path | None:
    """The configuration with the nearest name, in `configs/` or the same folder."""
    folders = Path(sys.argv[0]).parent / CONFIGS, CONFIGS, path.parent
    known = {file.stem: file for folder in folders for file in _files(folder)}
    near = difflib.get_close_matches(path.stem, known, 1)
    return known[near[0]] if near else None


def _refuse_empty() -> None:
    """Refuses flags with an empty value, which would silently mean the default."""
    for name in FLAGS:
        flag, is_key = FLAGS[name], name.startswith("config.")
        value: Any = flag.value if flag.present and not is_key else None
        if isinstance(value, str | list) and not "".join(value).strip():
            raise flags.Error(
                f"--{name}='': expected a value. Leave the flag out for its default."
            )


def configurations() -> str:
    """A list of the files in `configs/`, each with the first line of its docstring."""
    lines = ["Configurations:"]
    for path in _files():
        text = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        text = f"  {path}  {text}"
        lines += textwrap.wrap(text, terminal.WIDTH, subsequent_indent=6 * " ")
    return "\n".join(lines) + "\n" if _files() else ""


def _files(folder: Path = CONFIGS) -> list[Path]:
    """The configurations in a folder, without base.py, which declares the keys."""
    paths = sorted(folder.glob("*.py"))
    return [path for path in paths if path.stem not in ("__init__", "base")]


def _reason(error: Exception) -> str:
    """The reason of an error, in one line."""
    if isinstance(error, flags.Error):
        return str(error)
    given = "".join(_configs(sys.argv)[:1])
    config = _path(given)
    others = r"Other fields present: .*?(?=Did you mean|$)"
    text = re.sub(others, "", str(error), flags=re.DOTALL)
    text = text.strip("'\" ").replace("\\'", "'").replace("\\n", ". ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if given and Path(frame.filename).name == config.name:
            return f"{config}, line {frame.lineno}: {type(error).__name__}: {text}"
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    if "get_config" in text:
        return f"{config} defines no function get_config."
    unknown = _unknown_key(given, sys.argv)
    return unknown or f"{config}: {type(error).__name__}: {text}"


def _unknown_key(config: str, argv: Sequence[str]) -> str | None:
    """The error for a flag that changes an unknown key; None if there is none."""
    from symjax.training import validation

    try:
        parser: Any = FLAGS["config"].parser
        known = dict(validation.flat(parser.parse(config).to_dict()))
    except Exception:  # the error is in the file
        return None
    for word in argv:
        match = re.match(r"--?(?:no)?config\.([^=]+)", word)
        if match and match[1] not in known:
            near = difflib.get_close_matches(match[1], known, 1, cutoff=0.5)
            hint = f'Did you mean "{near[0]}"?' if near else f"It has {list(known)}."
            return f"--config.{match[1]}: {_path(config)} has no such key. {hint}"
    return None
