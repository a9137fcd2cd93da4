"""The target of an audit: a net, images, and the PGD that measures its robustness.

subject = AuditTarget.of(logits_fn, images, labels, key, threat, steps=40, ...)
white = subject.white                  # [B], whether the audited attack breaks an image
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax import compilation
from symjax.attacks.checks import check_finite, check_step_size
from symjax.attacks.entry import whole_number
from symjax.attacks.gradient import Keep
from symjax.attacks.inputs import prepare
from symjax.attacks.losses import DLR_CLASSES, is_correct, largest_margin
from symjax.attacks.result import AttackResult, LogitsFn
from symjax.attacks.threat import ThreatModel
from symjax.groups import Group

TOLERATED = 0.01
"""The tolerated fraction of images where a sound evaluation should give none: ours. For
Carlini et al. 2019 and Athalye et al. 2018 every image that only a weaker attack breaks
is a warning. But attacks are random, and an image close to the decision boundary may be
broken by one attack and not by another by chance."""
ROUNDING = 1e-12  # of differences of fractions, in float64


@dataclasses.dataclass(frozen=True)
class Check:
    """One row of the audit."""

    name: str  # from `sanity.CHECKS`
    title: str  # the property that a sound evaluation has
    passed: bool | None  # None if the check does not apply; `detail` has the reason
    value: float | None
    threshold: str  # the condition on the value, such as "<= 0.01"
    source: str  # the publication that the check is from
    detail: str  # a description of the value
    advice: str = ""  # what to do, in one sentence; empty unless the check failed


class Finding(NamedTuple):
    """The result of a check's function; its attributes are those of `Check`."""

    passed: bool | None
    value: float | None
    threshold: str
    detail: str


class DoesNotApply(Exception):  # noqa: N818 - it is raised by a check, and no error
    """The check does not apply to this net or attack; the message has the reason."""


def at_most(limit: float, value: float, detail: str) -> Finding:
    """A finding that passes if the value is at most the limit; NaN fails."""
    passed = bool(value <= limit + ROUNDING)
    return Finding(passed, float(value), f"<= {limit:.3g}", detail)


def at_least(limit: float, value: float, detail: str) -> Finding:
    """A finding that passes if the value is at least the limit; NaN fails."""
    passed = bool(value >= limit - ROUNDING)
    return Finding(passed, float(value), f">= {limit:.3g}", detail)


@functools.cache
def compiled(function: Callable, *static: str) -> Callable:
    """The function, compiled once for each shape and each value of `static`."""
    return compilation.jit(function, static_argnames=static)


@functools.cache
def attack_program(attack_fn: Callable) -> Callable:
    """The attack, compiled once for each shape and each value of its settings.

    The function returns the attack's result and the margins of its path, `[Q, B]`, or
    None in their place if the attack has no argument `path`.
    """
    has_path = "path" in inspect.signature(attack_fn).parameters

    def run(*arguments: Any, **settings: Any) -> tuple[AttackResult, Array | None]:
        if has_path:
            return attack_fn(*arguments, **settings, path=True)
        return attack_fn(*arguments, **settings), None

    static = ("steps", "n_restarts", "loss", "keep")
    return compilation.jit(run, static_argnames=static)


def evaluate(logits_fn: Partial, images: Array) -> Array:
    """The logits of the images, `[B, K]`."""
    return logits_fn(images)


@dataclasses.dataclass(frozen=True)
class AuditTarget:
    """A net, its images and the attack; most attributes are arguments of `audit`."""

    logits_fn: LogitsFn
    net: Partial  # `logits_fn` as a pytree, an argument of compiled programs
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
    attack_fn: Callable[..., Any]

    @classmethod
    def of(cls, logits_fn, images, labels, key, threat, *, peers, **settings):
        """The target for the arguments of `sanity.audit`, which are checked."""
        for name in ("steps", "n_restarts", "random_draws", "square_queries"):
            settings[name] = whole_number("audit", name, settings[name])
        with jax.default_matmul_precision("highest"):  # as in the audit
            given, *others = (
                prepare("audit", net, images, labels, key, threat)
                for net in (logits_fn, *peers)
            )
        check_step_size(settings["step_size"])
        if not np.max(given.threat.eps) > 0:
            raise ValueError(f"eps={threat.eps}: expected a positive radius.")
        call = logits_fn, *given[:5]
        subject = cls(*call, peers=tuple(other.net for other in others), **settings)
        check_finite(np.isfinite(subject.logits).all(axis=1))
        if not subject.correct.any():
            raise ValueError(
                f"no image is classified correctly, of {len(subject.images)}: expected "
                "at least one; give more images, or another net."
            )
        return subject

    @functools.cached_property
    def logits(self) -> Array:
        """The logits of the clean images, `[B, K]`."""
        return compiled(evaluate)(self.net, self.images)

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """Whether each clean image is classified correctly, `[B]`; only these count."""
        return np.asarray(is_correct(self.logits, self.labels))

    @functools.cached_property
    def clean_margin(self) -> np.ndarray:
        """The margins of the clean images, `[B]`."""
        return np.asarray(largest_margin(self.logits, self.labels))

    @functools.cached_property
    def _run(self) -> tuple[AttackResult, Array | None]:
        return self._attack()

    @property
    def result(self) -> AttackResult:
        """The result of the audited attack."""
        return self._run[0]

    @property
    def queries(self) -> np.ndarray:
        """The margin at each point that the audited attack evaluated, `[Q, B]`.

        Raises:
          DoesNotApply: if the attack does not return its path.
        """
        margins = self._run[1]
        if margins is None:
            raise DoesNotApply("the attack takes no `path`, so its path is not known")
        return np.asarray(margins)

    @functools.cached_property
    def white(self) -> np.ndarray:
        """Whether the audited attack breaks each image, `[B]`."""
        return self.broken(self.result.images)

    @functools.cached_property
    def no_gradient(self) -> str:
        """The reason why the net cannot be differentiated; empty if it can."""
        gradient = jax.grad(lambda images: jnp.sum(self.net(images)))
        try:
            jax.eval_shape(gradient, self.images)
        except (ValueError, TypeError, NotImplementedError) as error:
            return str(error).splitlines()[0]
        return ""

    def needs_gradient(self, loss: str) -> None:
        """Raises DoesNotApply if the gradient of this loss does not exist."""
        classes = self.logits.shape[1]
        if self.no_gradient:
            raise DoesNotApply(f"the net has no gradient: {self.no_gradient}")
        if loss == "dlr" and classes < DLR_CLASSES:
            raise DoesNotApply(f"the DLR loss is not defined for {classes} classes")

    @property
    def allowed(self) -> float:
        """The fraction that counts as zero: `TOLERATED`, and one image in any case."""
        count = self.correct.sum()
        return max(TOLERATED * count, 1) / count

    def attack(self, **changes: Any) -> AttackResult:
        """The result of the audited attack with some arguments changed.

        The net, labels, key, threat, steps and loss can be changed. The step size is
        scaled with eps, and, if it is the default one, with `1 / steps`.
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
        """The result as in `attack`, and the margins of its path, `[Q, B]`, or None."""
        loss = loss or self.loss
        self.needs_gradient(loss)
        threat, steps = threat or self.threat, steps or self.steps
        if self.step_size is None:
            step = 2.5 / steps * np.asarray(threat.eps)
        else:
            scale = np.max(threat.eps) / np.max(self.threat.eps)
            step = np.asarray(self.step_size) * scale
        return attack_program(self.attack_fn)(
            net or self.net,
            self.images,
            self.labels if labels is None else labels,
            self.key if key is None else key,
            threat,
            steps=steps,
            step_size=np.asarray(step, self.images.dtype),
            loss=loss,
            n_restarts=self.n_restarts,
            keep=self.keep,
        )

    def broken(self, perturbed: Array) -> np.ndarray:
        """Whether a clean image is correct and the perturbed one is not, `[B]`."""
        logits = compiled(evaluate)(self.net, perturbed)
        return self.correct & ~np.asarray(is_correct(logits, self.labels))

    def fraction(self, which: np.ndarray) -> float:
        """The fraction of correctly classified images that are in `which`, `[B]`."""
        return float(which[self.correct].mean())

    def ball(self, fraction: float) -> ThreatModel:
        """A ball in which all pixels can change by this fraction of their range."""
        low, high = (np.asarray(bound) for bound in self.threat.bounds)
        pixels = np.prod(self.images.shape[1:])
        length = {"linf": 1.0, "l2": pixels**0.5, "l1": pixels}[self.threat.norm]
        eps = np.asarray(fraction * length * (high - low), self.images.dtype)
        return self.threat.replace(eps=eps)
