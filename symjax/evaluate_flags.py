"""The flags of `evaluate.py`: what they are, and which of them go together.

define()
check()                     # after they are parsed; nothing is loaded for it
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
LARGEST = 1e6  # of a radius; above 1e38 float32 has no number
MOST = 2**31 - 1  # of a count, as int32
METRICS = [
    "clever", CORRUPTION, "cost", "distance", "smoothing", "symmetry", "tolerance"
]  # fmt: skip
OPTIONS = ("norm", "radius", "batches", "samples", "steps", "n_restarts")  # of metrics
OF_PROTOCOL = ("step_size", "n_restarts", "random_start", "keep", "loss")
OF_ATTACK = {  # which attacks a flag has an effect on
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
LEAST = {"n": 0, "steps": 0, "samples": 0, "seeds": 0, "corruption_seed": 0}
LEAST |= dict.fromkeys(
    ("n_restarts", "n_queries", "n_target_classes", "batch_size", "batches"), 1
)
POSITIVE = ("step_size", "radius")
FLAGS = flags.FLAGS

SUMMARY = """
Measures a trained run: its accuracy under an attack (--attack), another metric
(--metric), or whether the number can be believed (--audit). All seeds are measured at
once. A table is printed, and every measured cell is a row of results.jsonl in the run's
folder; what has been measured is not measured again, unless --force is given.
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
    """Takes a name as people spell it, see `symjax.names`."""

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
    _define_name("attack", "none", ATTACKS, "The attack; none is clean accuracy.")
    _define_name(
        "metric", None, METRICS, "A metric that is measured instead of an attack."
    )
    flags.DEFINE_bool(
        "audit",
        False,
        "Puts PGD as it is set, and the net of the first seed, to the sanity audit.",
    )
    text("run", None, f"The run's folder. The default is the newest run in {RUNS}/.")
    flags.DEFINE_bool(
        "untrained", False, "Measures the nets as they were before their first step."
    )
    number(
        "n",
        0,
        "Only the first n test images are measured. With 0 all of them are, or 100 of "
        "a metric and 200 of the audit.",
    )
    number("batch_size", 250, "At most so many images are attacked at a time.")
    _define_name(
        "dtype", "float32", ["float32", "bfloat16"], "What the net computes in."
    )
    flags.DEFINE_bool(
        "force",
        False,
        "Measures again what has been measured; the new rows supersede the old ones.",
    )
    _define_name("norm", "linf", list(DEFAULT_EPS), "The norm of the perturbation.")
    text(
        "eps",
        None,
        "The radii of the ball, numbers or fractions as in 1/255,0.03. The default is "
        + "; ".join(f"{eps} in {norm}" for norm, eps in DEFAULT_EPS.items())
        + f"; and {PUBLISHED_EPS} of the published protocol.",
    )
    _define_name(
        "eps_unit",
        "pixel",
        ["pixel", "normalized"],
        "Whether --eps is in units of pixels in [0, 1], or of what the net is fed, "
        "after the division by the standard deviation.",
        "unit",
    )
    _define_attack(number, real)
    _define_name(
        "protocol",
        "sound",
        ["sound", "published"],
        "Whether the attack is a sound one, or as it was published for the net.",
    )
    flags.DEFINE_list(
        "switches",
        None,
        "Which settings are as published, with --protocol published, or none. The "
        "default is all of them.",
    )
    _define_metrics(text, number, real)


def _define_attack(number, real) -> None:
    number(
        "steps",
        0,
        "The number of steps. With 0 it is 40 for PGD, and for another attack as in "
        "its paper.",
    )
    real(
        "step_size",
        None,
        "The length of a step of PGD in pixel units. The default is 2.5 eps / steps.",
    )
    number("n_restarts", 1, "The number of restarts of PGD, or of --metric distance.")
    flags.DEFINE_bool("random_start", True, "PGD starts at a random point of the ball.")
    _define_name(
        "keep",
        "best",
        ["best", "last"],
        "Which of its iterates PGD returns.",
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
        "The number of classes that the targeted attacks of AutoAttack aim at.",
    )


def _define_metrics(text, number, real) -> None:
    text(
        "only",
        "",
        "Measures only what has a name that begins so, of a metric or of corruptions.",
    )
    number("seeds", 0, "Measures a metric of only the first seeds. With 0 all are.")
    number("samples", 0, "The number of samples of a metric. With 0 it is its default.")
    real("radius", None, "The radius of the balls that CLEVER samples, in pixel units.")
    number("batches", 100, "The number of batches whose maxima CLEVER takes.")
    _define_name(
        "corruptions",
        "auto",
        ["auto", "published", "made"],
        "Where the images of --metric corruption come from: the published files, made "
        "by symjax, or the published ones if they are there.",
        "source of corruptions",
    )
    number("corruption_seed", 0, "The seed of the corruptions that symjax makes.")


def help_text() -> str:
    """What `evaluate.py --help` prints."""
    return show_help(SUMMARY, EXAMPLES, GROUPS)


def check() -> None:
    """Refuses values that cannot be, and flags that do not go together.

    Raises:
      ValueError: with the flag, what was expected and the way out.
    """
    for name, least in LEAST.items():
        value = int(FLAGS[name].value or 0)
        if not least <= value <= MOST:
            raise ValueError(
                f"--{name} {value}: expected {least} or more, up to {MOST:,}."
            )
    for name in POSITIVE:
        value = FLAGS[name].value
        if value is not None and not 0 < value <= LARGEST:
            raise ValueError(
                f"--{name} {value}: expected a number above 0, up to {LARGEST:g}, in "
                "pixel units."
            )
    _check_protocol()
    what, known = _scope()
    scoped = {*OF_ATTACK, *OF_BALL, *OF_CORRUPTION, *OPTIONS, "seeds", "force"}
    for name in sorted(scoped - known):
        if FLAGS[name].present:
            raise ValueError(f"--{name}: has no effect on {what}; leave it out.")


def _scope() -> tuple[str, set[str]]:
    """What is measured, in words, and which flags have an effect on it."""
    corrupted = FLAGS.metric == CORRUPTION
    if FLAGS.audit:
        return "--audit", OF_AUDIT
    if FLAGS.metric and not corrupted:  # the metric itself refuses other options
        return f"--metric {FLAGS.metric}", {*OPTIONS, "only", "seeds", "force"}
    attack = {name for name, attacks in OF_ATTACK.items() if FLAGS.attack in attacks}
    known = attack | OF_BALL | {"force"}
    return f"--attack {FLAGS.attack}", known | (OF_CORRUPTION if corrupted else set())


def _check_protocol() -> None:
    """Refuses flags of which one excludes another."""
    published, corrupted = FLAGS.protocol == "published", FLAGS.metric == CORRUPTION
    attacked = FLAGS.attack != "none" and not corrupted
    if sum((FLAGS.audit, attacked, FLAGS.metric is not None)) > 1:
        raise ValueError(
            "--attack, --metric and --audit: ask for one of them, or for an attack on "
            f"top of --metric {CORRUPTION}."
        )
    if published and FLAGS.metric and not corrupted:
        raise ValueError(
            f"--protocol published: is of attacks, also on top of --metric "
            f"{CORRUPTION}, and of --audit; leave it out."
        )
    if FLAGS.switches is not None and not published:
        raise ValueError("--switches: are of --protocol published; add it.")
    if published and FLAGS.eps_unit != "pixel":
        raise ValueError(
            "--eps_unit: the published protocol has a unit of its own, that of what "
            "the net is fed; leave it out."
        )
    if published and FLAGS.norm != "linf":
        raise ValueError(f"--norm {FLAGS.norm}: the published attacks are linf.")
    own = [name for name in OF_PROTOCOL if published and FLAGS[name].present]
    if FLAGS.switches is not None:  # of the sound start, unless that is switched
        own = [name for name in own if name != "n_restarts"]
    if own:
        raise ValueError(
            f"--{own[0]}: the published protocol has its own; leave it out, or turn "
            "its switches on one by one with --switches."
        )


def radii() -> list[float]:
    """The numbers of --eps, in their unit; of the audit a single one.

    Raises:
      ValueError: as `parse_eps`, or for several radii of the audit.
    """
    published = FLAGS.protocol == "published"
    default = PUBLISHED_EPS if published else DEFAULT_EPS[FLAGS.norm]
    numbers = parse_eps(FLAGS.eps or default)
    if not FLAGS.audit:
        return numbers
    if FLAGS.eps and len(numbers) > 1:
        raise ValueError(f"--eps={FLAGS.eps!r}: the audit takes one radius.")
    return numbers[-1:]


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
    if max(numbers) > LARGEST:
        raise ValueError(
            f"--eps={text!r}: a radius is at most {LARGEST:g}, in pixels of [0, 1]."
        )
    return numbers
