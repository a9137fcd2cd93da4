"""Seconds from the command to the line of the first epoch, and for train and evaluate.

    python -m benchmarks.startup                          # the quickstart
    python -m benchmarks.startup --config configs/parallel_rs.py -- \
        --config.model.dtype=bfloat16 --config.dataset.data_dir=DIR

Every repeat starts with an empty compilation cache. It trains and attacks to the end,
and then trains again, with the programs in the cache, up to the line of the first
epoch. The row compares this second run with the first one.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import report, setting
from symjax.arguments import Parser

ROOT = Path(__file__).resolve().parent.parent
FIRST_LINE = "epoch 1: "
SMOKE = (
    "--config.model.name=baseline",
    "--config.model.width=0.1",
    "--config.dataset.train_images=256",
    "--config.epochs=1",
)
WARM, COLD, WHOLE = "first epoch, warm", "first epoch, cold", "train + evaluate, cold"


def main(argv: Sequence[str] | None = None) -> dict:
    arguments = _parser().parse_args(argv)
    overrides = [*(SMOKE if arguments.smoke else ()), *arguments.overrides]
    train = [sys.executable, "train.py", "--config", arguments.config, *overrides]
    evaluate = [sys.executable, "evaluate.py", "--attack", "pgd"]
    if arguments.smoke:
        evaluate += ["--n", "8", "--steps", "1", "--eps", "8/255"]
    times: dict[str, list[float]] = {WARM: [], COLD: [], WHOLE: []}
    for _ in range(arguments.repeats):
        for name, seconds in measure(train, evaluate).items():
            times[name].append(seconds)
    warm, cold, whole = (report.seconds(*item) for item in times.items())
    work = {"config": arguments.config, "overrides": overrides}
    work["repeats"] = arguments.repeats
    return report.publish("startup", work, warm, [cold], [whole], arguments.out)


def measure(train: Sequence[str], evaluate: Sequence[str]) -> dict[str, float]:
    """Seconds of one repeat, by name: `WARM`, `COLD` and `WHOLE`.

    Args:
      train: the command, without its run folder.
      evaluate: the command, without the run.
    """
    with tempfile.TemporaryDirectory(prefix="symjax-startup-") as folder:
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": f"{folder}/programs",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",  # as the commands do
        }
        first, second = Path(folder, "first"), Path(folder, "second")
        began = time.perf_counter()
        cold = first_epoch([*train, f"--workdir={first}"], environment, stop=False)
        subprocess.run(
            [*evaluate, f"--run={first}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        whole = time.perf_counter() - began
        warm = first_epoch([*train, f"--workdir={second}"], environment, stop=True)
    return {WARM: warm, COLD: cold, WHOLE: whole}


def first_epoch(
    command: Sequence[str], environment: Mapping[str, str], stop: bool
) -> float:
    """Seconds from starting a command to its line of the first epoch.

    Args:
      command: a command that prints `FIRST_LINE` after its first epoch.
      environment: the environment variables of the command.
      stop: whether to end the command then; otherwise, wait for its end.

    Raises:
      RuntimeError: if the command fails or never prints that line; the error has its
        output.
    """
    began, seconds, lines = time.perf_counter(), None, []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if seconds is None and line.startswith(FIRST_LINE):
                seconds = time.perf_counter() - began
                if stop:
                    process.terminate()
                    break
    if seconds is None or (process.returncode and not stop):
        raise RuntimeError(f"{' '.join(command)} failed:\n{''.join(lines)}")
    return seconds


def _parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("--config", default="configs/quickstart.py")
    setting.add_shared(parser, repeats=3)
    parser.add_argument("overrides", nargs="*", help="flags of train.py, after --")
    return parser


if __name__ == "__main__":
    main()
