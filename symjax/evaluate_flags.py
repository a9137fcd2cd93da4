"""The flags of `evaluate.py`, and checks of their values.

define()
check()                     # after the flags are parsed; loads no run and no data
"""

import fractions
from collections.abc import Sequence

from absl import flags

from symjax import names
from symjax.command_help import show_help
from symjax.folders import RUNS

DEFAULT_EPS = {"linf": "1/255,2/255,4/255,8/255", "l2": "0.25,0.5,1", "l1": "4,8,12"}
PUBLISHED_EPS = "0.01,0.02,0.03,0.04"  # in the published protocol's unit
ATTACKS = (  # those of symjax.evaluation.attack, without its imports; a test compares
    "none fgsm pgd deepfool cw autoattack autoattack-plus apgd apgd-ce apgd-dlr apgd-t "
    "fab fab-t square"
).split()
CORRUPTION = "corruption"
MAX_RADIUS = 1e6  # larger than any distance of two images
MAX_COUNT = 2**31 - 1  # the largest int32
METRICS = [
    "clever", CORRUPTION, "cost", "distance", "smoothing", "symmetry", "tolerance"
]  # fmt: skip
OPTIONS = ("norm", "radius", "batches", "samples", "steps", "n_restarts")  # for metrics
OF_PROTOCOL = ("step_size", "n_restarts", "random_start", "keep", "loss")
OF_ATTACK = {  # flags of an attack, and the attacks on which they have an effect
    "steps": [name for name in ATTACKS if name not in ("none", "fgsm")],
    "step_size": ["pgd"],
    "n_restarts": ["pgd"],
    "random_start": ["pgd"],
    "keep": ["pgd"],
    "loss": ["fgsm", "pgd"],
    "n_queries": ["autoattack", "autoattack-plus", "square"],
    "n_target_classes": ["autoattack", "autoattack-plus", "apgd-t", "fab-t"],
}
OF_BALL = {"norm", "eps", "eps_unit", "protocol", "switches"}
OF_AUDIT = {"norm", "eps", "eps_unit", "protocol", "steps", "step_size", "n_restarts"}
OF_AUDIT |= {"keep", "loss", "n_queries"}
OF_CORRUPTION = {"corruptions", "corruption_seed", "only"}
MINIMUM = {"n": 0, "steps": 0, "samples": 0, "seeds": 0, "corruption_seed": 0}
MINIMUM |= dict.fromkeys(
    ("n_restarts", "n_queries", "n_target_classes", "batch_size", "batches"), 1
)
POSITIVE = ("step_size", "radius")
FLAGS = flags.FLAGS

SUMMARY = """
Measures a trained run: its accuracy under an attack (--attack) or another metric
(--metric), or audits whether that accuracy can be trusted (--audit). All seeds are
measured. The results are printed as a table and written as rows to results.jsonl in the
run folder. A cell that has a row is not measured again unless --force is given.
"""
EXAMPLES = (
    "python evaluate.py --attack pgd --eps 1/255,8/255",
    "python evaluate.py --attack autoattack --norm l2 --eps 0.5 --run runs/NAME",
)
GROUPS = {
    "What is measured": ["attack", "metric", "audit"],
    "The run": ["run", "untrained", "n", "batch_size", "dtype", "force"],
    "The perturbation": ["norm", "eps", "eps_unit"],
    "The attack": [*OF_ATTACK],
    "The published protocol": ["protocol", "switches"],
    "Metrics": ["only", "seeds", "samples", "radius", "batches"],
    "Corruptions": ["corruptions", "corruption_seed"],
    "Several processes": ["distributed", "coordinator", "processes", "process"],
    "Errors": ["traceback"],
}


class _NameParser(flags.EnumParser):
    """Accepts common spellings of a name, see `symjax.names`."""

    def __init__(self, kind: str, choices: Sequence[str]):
        super().__init__(choices)
        self._kind = kind

    def parse(self, argument: str) -> str:
        return names.matched(self._kind, argument, self.enum_values)


class _NameFlag(flags.EnumFlag):
    def __init__(self, kind, name, default, help, choices):
        super().__init__(name, default, help, choices)
        self.parser = _NameParser(kind, choices)


def _define_name(name, default, choices, help, kind="") -> None:
    flags.DEFINE_flag(_NameFlag(kind or name, name, default, help, choices))


def define() -> None:
    """Defines the flags."""
    text, number, real = flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_float
    _define_name("attack", "none", ATTACKS, "The attack. none gives clean accuracy.")
    _define_name("metric", None, METRICS, "A metric to measure instead of accuracy.")
    flags.DEFINE_bool(
        "audit",
        False,
        "Runs the sanity checks on PGD with these settings and the first seed's net.",
    )
    text("run", None, f"The run folder. The default is the newest run in {RUNS}/.")
    flags.DEFINE_bool(
        "untrained", False, "Measures the nets with their parameters before training."
    )
    number(
        "n",
        0,
        "The number of test images, the first ones. With 0 an accuracy is measured on "
        "all of them, a metric on 100, and the audit on 200.",
    )
    number("batch_size", 250, "The largest number of images attacked at a time.")
    _define_name(
        "dtype", "float32", ["float32", "bfloat16"], "The dtype of the net's values."
    )
    flags.DEFINE_bool(
        "force",
        False,
        "Measures cells again that have a row; the new rows supersede the old ones.",
    )
    _define_name("norm", "linf", list(DEFAULT_EPS), "The norm of the perturbation.")
    text(
        "eps",
        None,
        "Radii of the ball, as numbers or fractions: 1/255,0.03. The default is "
        + "; ".join(f"{eps} in {norm}" for norm, eps in DEFAULT_EPS.items())
        + f"; and {PUBLISHED_EPS} under the published protocol.",
    )
    _define_name(
        "eps_unit",
        "pixel",
        ["pixel", "normalized"],
        "The unit of --eps: pixels in [0, 1], or the net's input, which is divided by "
        "the standard deviation.",
        "unit",
    )
    _define_attack(number, real)
    _define_name(
        "protocol",
        "sound",
        ["sound", "published"],
        "A sound attack, or the attack that was published for the net.",
    )
    flags.DEFINE_list(
        "switches",
        None,
        "With --protocol published: the settings that are as published, or none; all "
        "others are sound. The default is all of them.",
    )
    _define_metrics(text, number, real)


def _define_attack(number, real) -> None:
    number(
        "steps",
        0,
        "The number of steps. With 0 it is 40 for PGD, and for another attack the "
        "number in its paper.",
    )
    real(
        "step_size",
        None,
        "The step size of PGD in pixel units. The default is 2.5 eps / steps.",
    )
    number("n_restarts", 1, "The number of restarts of PGD, or of --metric distance.")
    flags.DEFINE_bool("random_start", True, "PGD starts at a random point of the ball.")
    _define_name(
        "keep",
        "best",
        ["best", "last"],
        "The iterate that PGD returns: that with the largest margin loss, or the last.",
        "iterate",
    )
    losses = ["cross_entropy", "dlr", "margin"]
    _define_name(
        "loss", "cross_entropy", losses, "The loss that FGSM and PGD maximize."
    )
    number("n_queries", 5000, "The number of queries of the Square attack, per image.")
    number(
        "n_target_classes",
        9,
        "The number of target classes of AutoAttack's targeted attacks.",
    )


def _define_metrics(text, number, real) -> None:
    text(
        "only",
        "",
        "With --metric: measures only metrics or corruptions whose name begins with "
        "this text.",
    )
    number("seeds", 0, "With --metric: the number of seeds, the first ones. 0: all.")
    number("samples", 0, "The number of samples of a metric. 0: the metric's default.")
    real("radius", None, "The radius of the balls that CLEVER samples, in pixel units.")
    number("batches", 100, "The number of batches of samples of CLEVER.")
    _define_name(
        "corruptions",
        "auto",
        ["auto", "published", "made"],
        "The images of --metric corruption: the published files, images made by "
        "symjax, or (auto) the published files if they exist and made otherwise.",
        "source of corruptions",
    )
    number("corruption_seed", 0, "The seed of the corruptions that symjax makes.")


def help_text() -> str:
    """The text of `evaluate.py --help`."""
    return show_help(SUMMARY, EXAMPLES, GROUPS)


def check() -> None:
    """Checks the values of the flags, and that they can be combined.

    Raises:
      ValueError: names the flag, the expected value and the way out.
    """
    for name, minimum in MINIMUM.items():
        value = int(FLAGS[name].value or 0)
        if not minimum <= value <= MAX_COUNT:
            raise ValueError(
                f"--{name} {value}: expected {minimum} or more, up to {MAX_COUNT:,}."
            )
    for name in POSITIVE:
        value = FLAGS[name].value
        if value is not None and not 0 < value <= MAX_RADIUS:
            raise ValueError(
                f"--{name} {value}: expected a number above 0, up to {MAX_RADIUS:g}, "
                "in pixel units."
            )
    _check_protocol()
    what, known = _scope()
    scoped = {*OF_ATTACK, *OF_BALL, *OF_CORRUPTION, *OPTIONS, "seeds", "force"}
    for name in sorted(scoped - known):
        if FLAGS[name].present:
            raise ValueError(f"--{name} has no effect on {what}; leave it out.")


def _scope() -> tuple[str, set[str]]:
    """The flag that selects what is measured, and the flags that affect it."""
    corrupted = FLAGS.metric == CORRUPTION
    if FLAGS.audit:
        return "--audit", OF_AUDIT
    if FLAGS.metric and not corrupted:  # `metrics.build` refuses further options
        return f"--metric {FLAGS.metric}", {*OPTIONS, "only", "seeds", "force"}
    attack = {name for name, attacks in OF_ATTACK.items() if FLAGS.attack in attacks}
    known = attack | OF_BALL | {"force"}
    return f"--attack {FLAGS.attack}", known | (OF_CORRUPTION if corrupted else set())


def _check_protocol() -> None:
    """Refuses flags that exclude each other."""
    published, corrupted = FLAGS.protocol == "published", FLAGS.metric == CORRUPTION
    attacked = FLAGS.attack != "none" and not corrupted
    if sum((FLAGS.audit, attacked, FLAGS.metric is not None)) > 1:
        raise ValueError(
            "--attack, --metric and --audit: expected one of them, or --attack with "
            f"--metric {CORRUPTION}."
        )
    if published and FLAGS.metric and not corrupted:
        raise ValueError(
            f"--protocol published applies to --attack, --metric {CORRUPTION} and "
            "--audit; leave it out."
        )
    if FLAGS.switches is not None and not published:
        raise ValueError("--switches needs --protocol published; add it.")
    if published and FLAGS.eps_unit != "pixel":
        raise ValueError(
            "--eps_unit: the published protocol has its own unit of epsilon, that of "
            "the net's input; leave the flag out."
        )
    if published and FLAGS.norm != "linf":
        raise ValueError(
            f"--norm {FLAGS.norm}: expected linf, the norm of the published attacks."
        )
    own = [name for name in OF_PROTOCOL if published and FLAGS[name].present]
    if FLAGS.switches is not None:  # restarts have an effect if the start is sound
        own = [name for name in own if name != "n_restarts"]
    if own:
        raise ValueError(
            f"--{own[0]}: the published protocol sets it; leave it out, or select "
            "published settings with --switches."
        )


def radii() -> list[float]:
    """The numbers of --eps, in their unit; a single one for the audit.

    Raises:
      ValueError: as `parse_eps`, or for several radii with --audit.
    """
    published = FLAGS.protocol == "published"
    default = PUBLISHED_EPS if published else DEFAULT_EPS[FLAGS.norm]
    numbers = parse_eps(FLAGS.eps or default)
    if not FLAGS.audit:
        return numbers
    if FLAGS.eps and len(numbers) > 1:
        raise ValueError(f"--eps={FLAGS.eps!r}: expected one radius with --audit.")
    return numbers[-1:]


def parse_eps(text: str) -> list[float]:
    """Radii from a comma-separated list of numbers and fractions, such as "1/255,0.03".

    Raises:
      ValueError: if the list is empty, or if a radius is not a number, is negative or
        is too large.
    """
    try:
        numbers = [float(fractions.Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(
            f"--eps={text!r}: expected numbers or fractions separated by commas, such "
            "as 1/255,8/255 or 0.01,0.02."
        ) from None
    if min(numbers) < 0:
        raise ValueError(f"--eps={text!r}: expected radii of 0 or more.")
    if max(numbers) > MAX_RADIUS:
        raise ValueError(
            f"--eps={text!r}: expected radii of at most {MAX_RADIUS:g}, in pixels of "
            "[0, 1]."
        )
    return numbers
