"""The command `evaluate.py`, after its flags are parsed and checked.

code = main()          # 0; 1 if the audit fails or rows cannot be written
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console

from symjax import command, evaluation, folders, names, terminal
from symjax.attacks import ThreatModel, in_pixels, sanity
from symjax.evaluate_flags import CORRUPTION, OF_ATTACK, OPTIONS, radii
from symjax.evaluation import corruption, metrics, protocol, published, table
from symjax.evaluation.attack import Radius
from symjax.evaluation.progress import Progress
from symjax.evaluation.published_attack import PublishedAttack
from symjax.folders import RUNS
from symjax.mesh import is_writer

AUDIT_IMAGES, METRIC_IMAGES = 200, 100
FLAGS = flags.FLAGS


def main() -> int:
    """Measures what the flags select and prints it; returns the exit code."""
    numbers = radii()
    console = Console(quiet=not is_writer())
    corrupted = FLAGS.metric == CORRUPTION
    chosen = []
    if corrupted:
        corruption.named(FLAGS.only)
    elif FLAGS.metric:
        given = {x: FLAGS[x].value for x in OPTIONS if FLAGS[x].present}
        given = {name: value for name, value in given.items() if value}
        if "norm" in given:
            given["norms"] = [given.pop("norm")]
        chosen = metrics.build(FLAGS.metric, only=FLAGS.only, **given)
    if FLAGS.switches == ["none"]:
        FLAGS.switches = []
    for name in FLAGS.switches or ():
        names.matched("switch", name, protocol.SWITCHES)
    folder = _folder()
    run = evaluation.Run.open(folder, FLAGS.dtype)
    if FLAGS.untrained:
        run = run.untrained()
    if FLAGS.audit:
        return _audit(run, numbers[0], console)
    store = evaluation.Results(folder, write=is_writer(), anew=FLAGS.force)
    if chosen:
        return _metric(run, store, chosen, console)
    return _accuracy(run, store, numbers, console)


def _folder() -> Path:
    folder = folders.expand(FLAGS.run) if FLAGS.run else evaluation.newest(RUNS)
    kept = f"the rows measured so far are in {folder}/results.jsonl"
    if FLAGS.audit:
        kept = "an unfinished audit is not saved"
    elif FLAGS.force:
        kept += ", and --force measures them again"
    command.signals().keeps(kept, [] if FLAGS.run else ["--run", str(folder)])
    return folder


def _accuracy(run, store, numbers: Sequence[float], console: Console) -> int:
    """Measures accuracy, with or without an attack, on clean or corrupted images."""
    none, attack, eps = _attacks(run, numbers)
    if FLAGS.attack != "none":
        _warn_if_wide(run, numbers, [radius.pixels for radius in eps])
    n = _count(run, FLAGS.n)
    options = {"n": n, "batch_size": FLAGS.batch_size, "console": console}
    images = None
    if FLAGS.metric == CORRUPTION:
        _refuse_if_diverged(run)
        images = corruption.source(run, FLAGS.corruptions, FLAGS.corruption_seed)

    def measure(attack, eps) -> list:
        if FLAGS.protocol == "published" and not images:
            return published.measure(run, store, attack, eps, n, console)
        return evaluation.measure(run, store, attack, FLAGS.norm, eps, **options)

    clean = measure(none, [0.0])
    if images:
        return _corruption(run, store, attack, eps, clean, images, options)
    attacked = [] if FLAGS.attack == "none" else measure(attack, eps)
    _print(console, table.heading(clean[0]))
    console.print(table.accuracy(clean, attacked))
    _print(console, table.note(clean, attacked), *table.broken_by(attacked))
    return _close(store, console)


def _attacks(run, numbers: Sequence[float]):
    """The attack "none", the attack of the flags, and its epsilons."""
    if FLAGS.protocol == "published":
        corrupted = FLAGS.metric == CORRUPTION
        settings: dict[str, Any] = {"steps": FLAGS.steps or 40}
        if FLAGS["n_restarts"].present:
            settings["n_restarts"] = FLAGS.n_restarts
        none, attack = (
            PublishedAttack.of(
                run.experiment.config, name, corrupted, FLAGS.switches, **settings
            )
            for name in ("none", FLAGS.attack)
        )
        return none, attack, [attack.radius(number) for number in numbers]
    settings = {name: FLAGS[name].value for name in OF_ATTACK}
    step_size = settings.pop("step_size")
    attack = evaluation.Attack(FLAGS.attack, step_size_pixels=step_size, **settings)
    std = run.experiment.model.std
    unit = FLAGS.eps_unit
    eps = [Radius(in_pixels(number, unit, std), number, unit) for number in numbers]
    return evaluation.Attack("none"), attack, eps


def _metric(run, store, chosen, console: Console) -> int:
    """Measures metrics for every seed and prints one line per metric."""
    _refuse_if_diverged(run)
    n = _count(run, FLAGS.n or METRIC_IMAGES)
    rows = metrics.measure(run, store, chosen, n, console, FLAGS.seeds)
    _print(console, table.heading(rows[0]))
    console.print(table.metrics(rows))
    asked = zip(run.seeds[: FLAGS.seeds or None], run.diverged, strict=False)
    if left_out := [seed for seed, diverged in asked if diverged]:
        _print(console, table.left_out(left_out))
    return _close(store, console)


def _corruption(run, store, attack, eps, clean, images, options) -> int:
    """Measures accuracy on corrupted images and prints the tables."""
    from symjax.report import corruption as report  # loads Matplotlib, which takes time

    console = options["console"]
    rows = corruption.measure(
        run,
        store,
        attack,
        FLAGS.norm,
        [0.0] if attack.name == "none" else eps,
        images,
        names=corruption.named(FLAGS.only),
        **options,
    )
    frame = report.frame({run.folder: [*rows, *clean]}, rows[0]["protocol"])
    _print(console, table.heading(clean[0]))
    _print(console, report.table_1(frame), report.mean_errors(frame))
    _print(console, table.note(clean, rows))
    return _close(store, console)


def _audit(run, eps: float, console: Console) -> int:
    """Audits PGD on the net of the first seed; returns 1 if a check fails, else 0."""
    n = _count(run, FLAGS.n or AUDIT_IMAGES)
    published = FLAGS.protocol == "published"
    if published:
        radius = PublishedAttack.of(run.experiment.config, "pgd").radius(eps).pixels
    else:
        radius = in_pixels(eps, FLAGS.eps_unit, run.experiment.model.std)
    _warn_if_wide(run, [eps], [radius])
    with Progress(console, len(sanity.CHECKS)) as progress:
        shared = {"n": n, "square_queries": FLAGS.n_queries, "report": progress.begin}
        if published:
            more = {"steps": FLAGS.steps} if FLAGS.steps else {}
            checks = evaluation.audit_published(run, "pgd", eps, **shared, **more)
        else:
            checks = evaluation.audit(
                run,
                ThreatModel(FLAGS.norm, np.asarray(radius, np.float32)),
                steps=FLAGS.steps or 40,
                n_restarts=FLAGS.n_restarts,
                step_size=FLAGS.step_size,
                keep=FLAGS.keep,
                loss=FLAGS.loss,
                **shared,
            )
    console.print(sanity.table(checks))
    failed = [check.title for check in checks if check.passed is False]
    verdict = (
        f"FAILED: {', '.join(failed)}" if failed else "every check that applies passed"
    )
    _print(console, f"audit of {run.folder.name}, seed {run.seeds[0]}: {verdict}")
    return 1 if failed else 0


def _warn_if_wide(run, numbers: Sequence[float], eps: Sequence) -> None:
    """Warns of radii above the largest distance of two images, such as 8 for 8/255."""
    pixels = run.experiment.dataset.test.images[0].size
    longest = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}[FLAGS.norm]
    for number, radius in zip(numbers, eps, strict=True):
        if np.max(radius) <= longest:
            continue
        own = FLAGS.protocol == "published" or FLAGS.eps_unit != "pixel"
        pixel = f", {np.max(radius):g} in pixel units," if own else ""
        more = ""
        if not FLAGS.audit:
            match = f"eps={json.dumps(radius, separators=(',', ':'))}"
            more = (
                " Remove its rows with `python -m symjax.evaluation.cells "
                f"{run.folder} --match {match} --remove`."
            )
        terminal.warn(
            f"--eps {number:g}{pixel} is more than any two images differ by in "
            f"{FLAGS.norm}, {longest:g}; did you mean {number:g}/255?{more}"
        )
    # The attacks issue the same warning.
    warnings.filterwarnings("ignore", message="(?is).*did you mean .*/255")


def _count(run, n: int) -> int:
    """The number of test images that are measured: n, or all if there are fewer."""
    count = len(run.experiment.dataset.test.images)
    if n <= count:
        return n
    if FLAGS.n:
        terminal.warn(
            f"--n {n}: {run.experiment.dataset.name} has "
            f"{terminal.counted(count, 'test image')}; all of them are measured."
        )
    return count


def _refuse_if_diverged(run) -> None:
    if run.diverged[: FLAGS.seeds or None].all():
        raise ValueError(
            f"every seed of {run.folder} diverged, so that nothing can be measured: "
            "choose another run with --run."
        )


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _close(store, console: Console) -> int:
    """Prints where the rows are, or that they are not saved; returns the exit code."""
    if store.failure is None:
        _print(console, f"rows in {store.path}")
        return 0
    _print(
        console,
        f"NOT SAVED: some of the rows above are not in {store.path} ({store.failure}).",
    )
    return 1
