"""What is audited: a net, images, and the PGD that measures its robustness.

subject = Subject.of(logits_fn, images, labels, key, threat, steps=40, ...)
white = subject.white                  # [B], which images the audited attack breaks
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax import compilation
from symjax.attacks.checks import check_finite, check_values
from symjax.attacks.entry import unchecked, whole_number
from symjax.attacks.gradient import Keep, pgd
from symjax.attacks.inputs import prepare
from symjax.attacks.losses import DLR_CLASSES, is_correct, largest_margin
from symjax.attacks.result import AttackResult, LogitsFn
from symjax.attacks.threat import ThreatModel
from symjax.groups import Group, as_group

SHARE = 0.01
"""Of the images, where a sound evaluation should give none: ours. Carlini et al. 2019
and Athalye et al. 2018 call any image that a weaker attack alone breaks a warning; but
attacks are random, and an image on the fence falls to one and not to the other."""


ROUNDING = 1e-12  # of differences of shares, in float64


@dataclasses.dataclass(frozen=True)
class Check:
    """One row of the audit.

    Attributes:
      name: of the check, one of `sanity.CHECKS`.
      title: what should be so.
      passed: None where the check does not apply; `detail` says why.
      figure: what was measured.
      threshold: what it has to be, like "<= 0.01".
      source: whose check it is.
      detail: what the figure is, in words.
      advice: what to do about it, one sentence; empty unless the check failed.
    """

    name: str
    title: str
    passed: bool | None
    figure: float | None
    threshold: str
    source: str
    detail: str
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check's function gives; fields as in `Check`."""

    passed: bool | None
    figure: float | None
    threshold: str
    detail: str


class DoesNotApply(Exception):  # noqa: N818 - no error: a check says it of itself
    """The check has no answer here; the message says why."""


def at_most(limit: float, figure: float, detail: str) -> Finding:
    """Passes if the figure is the limit or less; NaN is not."""
    passed = bool(figure <= limit + ROUNDING)
    return Finding(passed, float(figure), f"<= {limit:.3g}", detail)


def at_least(limit: float, figure: float, detail: str) -> Finding:
    """Passes if the figure is the limit or more; NaN is not."""
    passed = bool(figure >= limit - ROUNDING)
    return Finding(passed, float(figure), f">= {limit:.3g}", detail)


@functools.cache
def compiled(function: Callable, *static: str) -> Callable:
    """The function in one program for each shape and each value of `static`."""
    return compilation.jit(function, static_argnames=static)


@functools.cache
def attack_program(attack_fn: Callable) -> Callable:
    """An attack in one program for each shape and each value of its settings.

    Its result stands beside the margins of its path, `[Q, B]`; None if it has no
    argument `path`.
    """
    has_path = "path" in inspect.signature(attack_fn).parameters

    def run(*arguments: Any, **settings: Any) -> tuple[AttackResult, Array | None]:
        if has_path:
            return attack_fn(*arguments, **settings, path=True)
        return attack_fn(*arguments, **settings), None

    static = ("steps", "n_restarts", "loss", "keep")
    return compilation.jit(run, static_argnames=static)


def evaluate(logits_fn: Partial, images: Array) -> Array:
    """The logits, `[B, K]`."""
    return logits_fn(images)


@dataclasses.dataclass(frozen=True)
class AuditTarget:
    """A net, its images and the attack; fields as the arguments of `sanity.audit`.

    Attributes:
      net: `logits_fn` as something that a program can take.
    """

    logits_fn: LogitsFn
    net: Partial
    images: Array
    labels: Array
    key: Array
    threat: ThreatModel
    steps: int
    n_restarts: int
    step_size: Any
    keep: Keep
    loss: str
    peers: tuple[Partial, ...]
    random_draws: int
    square_queries: int
    logits_fn_float64: LogitsFn | None
    group: Group
    attack_fn: Callable[..., Any] = pgd

    @classmethod
    def of(cls, logits_fn, images, labels, key, threat, *, peers, **settings):
        """Checks what it is given; see `sanity.audit`."""
        _refuse_a_key(logits_fn)
        for name in ("steps", "n_restarts", "random_draws", "square_queries"):
            settings[name] = whole_number("audit", name, settings[name])
        settings["attack_fn"] = unchecked(settings.get("attack_fn", pgd))
        settings["group"] = as_group(settings["group"])
        with jax.default_matmul_precision("highest"):  # as in the audit
            given, *others = (
                prepare("audit", net, images, labels, key, threat)
                for net in (logits_fn, *peers)
            )
        step = settings["step_size"]
        if step is not None:
            check_values(given.classes, given.labels, step_size=step)
        if not np.max(given.threat.eps) > 0:
            raise ValueError(f"eps={threat.eps}: expected a ball that is not empty.")
        call = logits_fn, *given[:5]
        subject = cls(*call, peers=tuple(other.net for other in others), **settings)
        check_finite(np.isfinite(subject.logits).all(axis=1))
        if not subject.correct.any():
            raise ValueError("no image is classified correctly: nothing to attack.")
        return subject

    @functools.cached_property
    def logits(self) -> Array:
        """Of the images themselves, `[B, K]`."""
        return compiled(evaluate)(self.net, self.images)

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """Which images count: `[B]`, bool."""
        return np.asarray(is_correct(self.logits, self.labels))

    @functools.cached_property
    def clean_margin(self) -> np.ndarray:
        """Of the images themselves, `[B]`."""
        return np.asarray(largest_margin(self.logits, self.labels))

    @functools.cached_property
    def _run(self) -> tuple[AttackResult, Array | None]:
        return self._attack()

    @property
    def result(self) -> AttackResult:
        """Of the audited attack."""
        return self._run[0]

    @property
    def queries(self) -> np.ndarray:
        """The margin at each point that the audited attack evaluated, `[Q, B]`.

        Raises:
          DoesNotApply: if the attack does not return its path.
        """
        margins = self._run[1]
        if margins is None:
            raise DoesNotApply("the attack takes no `path`, and so does not return it")
        return np.asarray(margins)

    @functools.cached_property
    def white(self) -> np.ndarray:
        """Which images the audited attack breaks, `[B]`."""
        return self.broken(self.result.images)

    @functools.cached_property
    def no_gradient(self) -> str:
        """Why the net cannot be differentiated; empty if it can."""
        gradient = jax.grad(lambda images: jnp.sum(self.net(images)))
        try:
            jax.eval_shape(gradient, self.images)
        except (ValueError, TypeError, NotImplementedError) as error:
            return str(error).splitlines()[0]
        return ""

    def needs_gradient(self, loss: str) -> None:
        """Raises DoesNotApply if nothing can ascend that loss of this net."""
        classes = self.logits.shape[1]
        if self.no_gradient:
            raise DoesNotApply(f"the net has no gradient: {self.no_gradient}")
        if loss == "dlr" and classes < DLR_CLASSES:
            raise DoesNotApply(f"the DLR loss is not defined for {classes} classes")

    @property
    def allowed(self) -> float:
        """The share that stands for none: `SHARE`, and one image in any case."""
        count = self.correct.sum()
        return max(SHARE * count, 1) / count

    def attack(self, **changes: Any) -> AttackResult:
        """The audited attack, or one with another net, labels, key, threat, steps or
        loss.

        The step stays the same share of eps, and, if it is the default one, of
        `1 / steps`.
        """
        return self._attack(**changes)[0]

    def _attack(
        self,
        net: Partial | None = None,
        labels: Array | None = None,
        key: Array | None = None,
        threat: ThreatModel | None = None,
        steps: int | None = None,
        loss: str | None = None,
    ) -> tuple[AttackResult, Array | None]:
        """As `attack`; and the margins of its path, `[Q, B]`, or None."""
        loss = loss or self.loss
        self.needs_gradient(loss)
        threat, steps = threat or self.threat, steps or self.steps
        if self.step_size is None:
            step = 2.5 / steps * np.asarray(threat.eps)
        else:
            wider = np.max(threat.eps) / np.max(self.threat.eps)
            step = np.asarray(self.step_size) * wider
        return attack_program(self.attack_fn)(
            net or self.net,
            self.images,
            self.labels if labels is None else labels,
            self.key if key is None else key,
            threat,
            steps=steps,
            step_size=np.asarray(step, self.images.dtype),
            n_restarts=self.n_restarts,
            loss=loss,
            keep=self.keep,
        )

    def broken(self, found: Array) -> np.ndarray:
        """Images that are classified correctly, and `found` instead of them is not."""
        logits = compiled(evaluate)(self.net, found)
        return self.correct & ~np.asarray(is_correct(logits, self.labels))

    def share(self, which: np.ndarray) -> float:
        """Of the correctly classified images, those in `which`, `[B]`."""
        return float(which[self.correct].mean())

    def ball(self, part: float) -> ThreatModel:
        """One in which every pixel can move by `part` of its range."""
        low, high = (np.asarray(bound) for bound in self.threat.bounds)
        pixels = np.prod(self.images.shape[1:])
        length = {"linf": 1.0, "l2": pixels**0.5, "l1": pixels}[self.threat.norm]
        eps = np.asarray(part * length * (high - low), self.images.dtype)
        return self.threat.replace(eps=eps)


def _refuse_a_key(logits_fn: LogitsFn) -> None:
    try:
        parameters = inspect.signature(logits_fn).parameters.values()
    except (TypeError, ValueError):
        return
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    asked = [
        p.name for p in parameters if p.kind in positional and p.default is p.empty
    ]
    if len(asked) > 1:
        raise ValueError(
            f"logits_fn takes {asked}: expected images alone. Measure a randomised "
            "defence by attacks.autoattack(version='rand'), which averages over it."
        )
