"""The flags of `train.py`, `evaluate.py` and the audit of a net, and nothing else."""

import contextlib
import fractions
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from symjax import command, command_help, folders

RUNS = "runs"
DEFAULT_EPS = {"linf": "1/255,2/255,4/255,8/255", "l2": "0.25,0.5,1", "l1": "4,8,12"}
PUBLISHED_EPS = "0.01,0.02,0.03,0.04"  # in the published protocol's unit
ATTACKS = (  # those of symjax.evaluation.attack, without its imports; a test compares
    "none fgsm pgd deepfool cw autoattack autoattack-plus apgd apgd-ce apgd-dlr apgd-t "
    "fab fab-t square"
).split()
AUDIT_IMAGES = 200
CORRUPTION = "corruption"
METRICS = [
    "clever", CORRUPTION, "cost", "distance", "smoothing", "symmetry", "tolerance"
]  # fmt: skip
METRIC_IMAGES = 100
OF_PROTOCOL = ("step_size", "restarts", "random_start", "keep", "loss")
OPTIONS = ("norm", "radius", "batches", "samples", "steps", "restarts")  # of metrics
FLAGS = flags.FLAGS


def train() -> None:
    """`python train.py --config configs/x.py [--config.key=value] [--workdir W]`."""
    config = config_flags.DEFINE_config_file(
        "config", None, "The file of the experiment. --config.KEY=VALUE changes a key."
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "The run folder, in which a run that was stopped goes on. Without it a new one "
        f"is made, {RUNS}/NAME-DATE-TIME.",
    )
    flags.DEFINE_bool(
        "resume", True, "Go on with the run in the run folder, if there is one."
    )

    def main() -> int:
        from symjax.training import experiment

        experiment.check(config.value)
        if FLAGS.workdir:
            return _train(config.value, folders.expand(FLAGS.workdir))
        import jax

        if jax.process_count() > 1:
            raise ValueError("--workdir: several processes need one named, and shared.")
        workdir = folders.new(Path(RUNS), config.value.name)
        try:
            return _train(config.value, workdir)
        finally:
            with contextlib.suppress(OSError):
                workdir.rmdir()  # it is empty if nothing could be trained

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
    """Trains, and prints what comes next; 1 if every seed diverged."""
    from symjax.training import journal, loop
    from symjax.training.mesh import is_writer
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
    flags.DEFINE_enum("attack", "none", ATTACKS, "The attack.")
    flags.DEFINE_enum("metric", None, METRICS, "Measured instead of an attack.")
    sources = ["auto", "published", "made"]
    flags.DEFINE_enum("corruptions", "auto", sources, "Of --metric corruption.")
    flags.DEFINE_integer("corruption_seed", 0, "Of corruptions that are made.")
    protocols = ["sound", "reference"]
    flags.DEFINE_enum("protocol", "sound", protocols, "Or as published for the net.")
    flags.DEFINE_list("switches", None, "Of the published protocol; default: all.")
    flags.DEFINE_bool("audit", False, "Put PGD and the nets to a sanity audit instead.")
    flags.DEFINE_string("run", None, f"Run folder; default: the newest in {RUNS}/.")
    flags.DEFINE_bool("untrained", False, "The nets before their first step.")
    flags.DEFINE_enum("norm", "linf", list(DEFAULT_EPS), "Norm of the perturbation.")
    flags.DEFINE_string("eps", None, f"Radii, as in 1/255,0.03. Default {DEFAULT_EPS}.")
    flags.DEFINE_enum(
        "eps_unit", "pixel", ["pixel", "normalized"], "Of [0, 1] images, or after std."
    )
    flags.DEFINE_integer("n", 0, "The first n test images; 0: all.")
    flags.DEFINE_integer("steps", 0, "Of the attack; 0: 40 of PGD, or its paper's.")
    flags.DEFINE_float("step_size", None, "Of PGD, in pixels; default 2.5 eps / steps.")
    flags.DEFINE_integer("restarts", 1, "Restarts of PGD, or of FAB.")
    flags.DEFINE_bool("random_start", True, "PGD starts uniformly in the ball.")
    flags.DEFINE_enum("keep", "best", ["best", "last"], "Iterate that PGD returns.")
    losses = ["cross_entropy", "dlr", "margin"]
    flags.DEFINE_enum("loss", "cross_entropy", losses, "Ascended by FGSM and PGD.")
    flags.DEFINE_integer("queries", 5000, "Of the Square attack.")
    flags.DEFINE_float("radius", None, "Of the balls that CLEVER samples, in pixels.")
    flags.DEFINE_integer("batches", 100, "Maxima that CLEVER takes.")
    flags.DEFINE_string("only", "", "Of a metric: figures whose name begins so.")
    flags.DEFINE_integer("seeds", 0, "Of a metric: the first so many; 0: all.")
    flags.DEFINE_integer("samples", 0, "Of a metric; 0: its default.")
    flags.DEFINE_integer("target_classes", 9, "Of the targeted attacks of AutoAttack.")
    flags.DEFINE_integer("batch_size", 250, "Most images at a time, a seed.")
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of computation.")
    command.run(_evaluate)


def audit_net() -> None:
    """`python -m symjax.nn.audit --config configs/x.py [--config.key=value] [...]`."""
    config = config_flags.DEFINE_config_file(
        "config", None, "The file of the experiment. --config.KEY=VALUE changes a key."
    )
    flags.DEFINE_string(
        "workdir",
        None,
        f"The run folder of the training; without it {RUNS}/NAME-audit.",
    )
    flags.DEFINE_list("sizes", ["15", "16", "31", "32"], "Sides of images, in pixels.")

    def main() -> int:
        from symjax.evaluation import equivariance

        workdir = folders.expand(FLAGS.workdir or f"{RUNS}/{config.value.name}-audit")
        sizes = _sizes(FLAGS.sizes)
        signals = command.signals()
        signals.keeps(f"what was saved is in {workdir}")
        with signals.stopping() as stop:
            equivariance.run(config.value, workdir, sizes, Console(), stop)
        signals.leave_if_stopped()
        return 0

    command.run(main, _audit_help)


def _audit_help() -> str:
    groups = {
        "The net": ["config", "workdir"],
        "The images": ["sizes"],
        "Several processes, and errors": command.SHARED,
    }
    example = "python -m symjax.nn.audit --config configs/parallel_rot.py"
    summary = """
    Trains a net, and measures by how much each of its layers fails to commute with each
    element of its group, before and after. Without any flag the layers of the library
    are measured by themselves.
    """
    examples = [example, f"{example} --config.model.group=C8 --sizes 31,32"]
    text = command_help.show_help(summary, examples, groups)
    return f"{text}\n{command.configurations()}"


def _sizes(words: Sequence[str]) -> list[int]:
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(
            f"--sizes={','.join(words)!r}: expected sides of images in pixels, with "
            "commas between them, as in 31,32."
        )
    return [int(word) for word in words]


def _evaluate() -> int:
    from symjax import evaluation
    from symjax.attacks import in_pixels
    from symjax.evaluation import table
    from symjax.evaluation.reference import Reference
    from symjax.training.mesh import is_writer

    console = Console(quiet=not is_writer())
    _check()
    published, corrupted = FLAGS.protocol == "reference", FLAGS.metric == CORRUPTION
    default = PUBLISHED_EPS if published else DEFAULT_EPS[FLAGS.norm]
    numbers = parse_eps(FLAGS.eps or default)
    folder = folders.expand(FLAGS.run) if FLAGS.run else evaluation.newest(Path(RUNS))
    command.signals().keeps(
        f"the rows measured so far are in {folder}/results.jsonl",
        [] if FLAGS.run else ["--run", str(folder)],
    )
    run = evaluation.Run.open(folder, FLAGS.dtype)
    if FLAGS.untrained:
        run = run.untrained()
    std = run.experiment.model.std
    eps = [in_pixels(number, FLAGS.eps_unit, std) for number in numbers]
    if FLAGS.audit:
        return _audit(run, numbers[-1], console)
    if FLAGS.metric and not corrupted:
        return _metric(run, console)
    attack = evaluation.Attack(
        FLAGS.attack,
        steps=FLAGS.steps,
        step_size_pixels=FLAGS.step_size,
        restarts=FLAGS.restarts,
        random_start=FLAGS.random_start,
        keep=FLAGS.keep,
        loss=FLAGS.loss,
        queries=FLAGS.queries,
        target_classes=FLAGS.target_classes,
    )
    none = evaluation.Attack("none")
    if published:
        none, attack = (
            Reference.of(run, name, corrupted, FLAGS.switches, FLAGS.steps or 40)
            for name in ("none", FLAGS.attack)
        )
        eps = [attack.in_pixels(number) for number in numbers]
    store = evaluation.Results(folder, write=is_writer())
    options = {"n": FLAGS.n, "batch_size": FLAGS.batch_size, "console": console}
    measure = evaluation.measure
    if published and not corrupted:
        measure = _measure_published
    clean = measure(run, store, none, FLAGS.norm, [0.0], **options)
    if corrupted:
        return _corruption(run, store, attack, eps, clean, options)
    attacked = []
    if FLAGS.attack != "none":
        attacked = measure(run, store, attack, FLAGS.norm, eps, **options)
    console.print(table.heading(clean), soft_wrap=True, highlight=False)
    console.print(table.accuracy(clean, attacked))
    console.print(table.note(clean, attacked), soft_wrap=True, highlight=False)
    for line in table.broken_by(attacked):
        console.print(line, soft_wrap=True, highlight=False)
    console.print(f"rows in {store.path}", soft_wrap=True, highlight=False)
    return 0


def _check() -> None:
    """Refuses flags of which one excludes another."""
    published, corrupted = FLAGS.protocol == "reference", FLAGS.metric == CORRUPTION
    attacked = FLAGS.attack != "none" and not corrupted
    if sum((FLAGS.audit, attacked, FLAGS.metric is not None)) > 1:
        raise ValueError(
            "--attack, --metric and --audit: ask for one of them, or for an attack on "
            f"top of --metric {CORRUPTION}."
        )
    if published and FLAGS.metric and not corrupted:
        raise ValueError(
            f"--protocol reference: is of attacks, also on top of --metric "
            f"{CORRUPTION}, and of --audit; leave it out."
        )
    if FLAGS.switches is not None and not published:
        raise ValueError("--switches: are of --protocol reference; add it.")
    if published and FLAGS.eps_unit != "pixel":
        raise ValueError(
            "--eps_unit: the reference protocol has a unit of its own, that of what "
            "the net is fed; leave it out."
        )
    own = [name for name in OF_PROTOCOL if published and FLAGS[name].present]
    if own:
        raise ValueError(
            f"--{own[0]}: the reference protocol has its own; leave it out, or turn "
            "its switches on one by one with --switches."
        )


def _measure_published(run, store, attack, norm, eps, n, batch_size, console) -> list:
    """As `evaluation.measure`; the norm is linf, test batches are as published."""
    from symjax.evaluation import reference

    del batch_size
    if norm != "linf":
        raise ValueError(f"--norm {norm}: the published attacks are linf.")
    return reference.measure(run, store, attack, eps, n, console)


def _metric(run, console) -> int:
    """Measures a metric of every seed, and prints a line a figure."""
    from symjax import evaluation
    from symjax.evaluation import metrics, table
    from symjax.training.mesh import is_writer

    given = {name: FLAGS[name].value for name in OPTIONS if FLAGS[name].present}
    if "norm" in given:
        given["norms"] = [given.pop("norm")]
    figures = metrics.figures(FLAGS.metric, only=FLAGS.only, **given)
    store = evaluation.Results(run.folder, write=is_writer())
    n = FLAGS.n or METRIC_IMAGES
    rows = metrics.measure(run, store, figures, n, console, FLAGS.seeds)
    console.print(table.heading(rows), soft_wrap=True, highlight=False)
    console.print(table.figures(rows))
    console.print(f"rows in {store.path}", soft_wrap=True, highlight=False)
    return 0


def _corruption(run, store, attack, eps, clean, options) -> int:
    """Measures an attack, or none, on corrupted images, and prints the tables."""
    from symjax.evaluation import corruption, table
    from symjax.report import corruption as report

    console = options["console"]
    images = corruption.source(run, FLAGS.corruptions, FLAGS.corruption_seed)
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
    found = report.frame({run.folder: [*rows, *clean]}, rows[0]["protocol"])
    console.print(table.heading(clean), soft_wrap=True, highlight=False)
    for text in (report.table_1(found), report.mean_errors(found)):
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    console.print(f"rows in {store.path}", soft_wrap=True, highlight=False)
    return 0


def _audit(run, eps: float, console) -> int:
    """Puts PGD as it is set, and the first seed's net, to the audit; 1 if one fails."""
    import numpy as np

    from symjax import evaluation
    from symjax.attacks import ThreatModel, in_pixels, sanity

    shared = {"n": FLAGS.n or AUDIT_IMAGES, "square_queries": FLAGS.queries}
    with console.status("") as status:
        shared["report"] = lambda name: status.update(name)
        if FLAGS.protocol == "reference":
            checks = evaluation.audit_published(run, "pgd", eps, **shared)
        else:
            radius = in_pixels(eps, FLAGS.eps_unit, run.experiment.model.std)
            checks = evaluation.audit(
                run,
                ThreatModel(FLAGS.norm, np.asarray(radius, np.float32)),
                steps=FLAGS.steps or 40,
                restarts=FLAGS.restarts,
                step_size=FLAGS.step_size,
                keep=FLAGS.keep,
                loss=FLAGS.loss,
                **shared,
            )
    console.print(sanity.table(checks))
    failed = [check.name for check in checks if check.passed is False]
    verdict = (
        f"FAILED: {', '.join(failed)}" if failed else "every check that applies passed"
    )
    console.print(
        f"audit of {run.folder.name}, seed {run.seeds[0]}: {verdict}",
        soft_wrap=True,
        highlight=False,
    )
    return 1 if failed else 0


def parse_eps(text: str) -> list[float]:
    """Radii from a comma-separated list of numbers and fractions, as in "1/255,0.03".

    Raises:
      ValueError: if one is not a number, negative or not finite, or there is none.
    """
    try:
        numbers = [float(fractions.Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(
            f"--eps={text!r}: expected numbers or fractions with commas between them, "
            "as in 1/255,8/255 or 0.01,0.02."
        ) from None
    if min(numbers) < 0:
        raise ValueError(f"--eps={text!r}: a radius cannot be negative.")
    return numbers
