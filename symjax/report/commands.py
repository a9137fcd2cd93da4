"""The commands that make rows, put together from what the rows say.

    command(Path("runs/baseline"), rows)         # "python evaluate.py --run ..."

Flags that stand at their default are left out.
"""

import inspect
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symjax.evaluation import metrics
from symjax.evaluation.rows import Row

AUDIT = "audit"
MADE = "made, seed "
DEFAULTS = {  # of the flags of evaluate.py, by the row's name for what they set
    "restarts": 1,
    "keep": "best",
    "loss": "cross_entropy",
    "queries": 5000,
    "target_classes": 9,
}
OPTIONS = ("radius", "batches", "samples", "steps", "restarts")  # of metrics
STEPS = {"fgsm": 1, "pgd": 40, "deepfool": 50, "cw": 10_000}  # of others 100


def command(folder: Path, rows: Sequence[Row]) -> str:
    """The call of `evaluate.py` that makes rows of one kind.

    Args:
      folder: the run folder.
      rows: that differ in seed, eps, corruption and severity at most.
    """
    first = rows[0]
    parts: list[Any] = ["python", "evaluate.py", "--run", folder]
    if first["metric"].startswith(AUDIT):
        parts += ["--audit"]
    elif first["metric"] != "accuracy":
        parts += _metric(first)
    else:
        parts += _accuracy(rows)
    parts += ["--n", first["n"]]
    if first.get("dtype", "float32") != "float32":
        parts += ["--dtype", first["dtype"]]
    if first.get("epoch") == 0:
        parts += ["--untrained"]
    return shlex.join(str(part) for part in parts)


def _accuracy(rows: Sequence[Row]) -> list[Any]:
    first, parts = rows[0], []
    if first.get("corruption") is not None or any(x.get("corruption") for x in rows):
        parts += ["--metric", "corruption"]
        images = str(first.get("images", ""))
        made = images.startswith(MADE)
        parts += ["--corruptions", "made" if made else "published"]
        if made and images != MADE + "0":
            parts += ["--corruption_seed", images.removeprefix(MADE)]
    sound = first["protocol"] == "sound"
    if not sound:
        parts += ["--protocol", "published"]
    if first["protocol"] not in ("sound", "published"):
        parts += ["--switches", "..."]  # which ones, no row says by their names
    if first["attack"] == "none":
        return parts or ["--attack", "none"]
    parts += ["--attack", first["attack"], "--norm", first["norm"]]
    parts += ["--eps", ",".join(dict.fromkeys(_eps(row, sound) for row in rows))]
    return parts + (_settings(first) if sound else [])


def _settings(row: Row) -> list[Any]:
    """Flags of an attack that are not at their default."""
    parts: list[Any] = []
    if row.get("steps") not in (None, STEPS.get(row["attack"], 100)):
        parts += ["--steps", row["steps"]]
    for name, default in DEFAULTS.items():
        if row.get(name) not in (None, default):
            parts += [f"--{name}", row[name]]
    if isinstance(row.get("step_size"), float | int):
        parts += ["--step_size", row["step_size"]]
    if row["attack"] == "pgd" and row.get("start") == "image":
        parts += ["--norandom_start"]
    return parts


def _eps(row: Row, sound: bool) -> str:
    """A radius as the flag takes it: in pixels, or in the published protocol's unit."""
    eps, std = row["eps"], 1 if sound else row.get("input_std", 1)
    if isinstance(eps, list | tuple):  # of one number, after the channels' std
        return f"{eps[0] / (std[0] if isinstance(std, list) else std):.6g}"
    if sound and abs(eps * 255 - round(eps * 255)) < 1e-6 and 0 < eps < 100 / 255:
        return f"{round(eps * 255)}/255"
    return f"{eps / (std[0] if isinstance(std, list) else std):.6g}"


def _metric(row: Row) -> list[Any]:
    """The metric that has such a figure, and its options that are not at default."""
    for name, figures in metrics.METRICS.items():
        all_says = [figure.says for figure in figures()]
        named = [says for says in all_says if says["metric"] == row["metric"]]
        if not named:
            continue
        parts = ["--metric", name]
        if len({says["metric"] for says in all_says}) > 1:
            parts += ["--only", row["metric"]]
        known = inspect.signature(figures).parameters
        if "norms" in known and row.get("norm") is not None:
            parts += ["--norm", row["norm"]]
        alike = [says for says in named if says.get("norm") == row.get("norm")]
        default = (alike or named)[0]
        for option in OPTIONS:
            if option in known and row.get(option) not in (None, default.get(option)):
                parts += [f"--{option}", row[option]]
        return parts
    return ["--metric", row["metric"]]
