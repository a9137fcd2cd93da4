"""The sanity audit: checks of whether a measured robustness can be trusted.

    checks = sanity.audit(logits_fn, images, labels, key, attacks.Linf(8 / 255))
    console.print(sanity.table(checks))

A net with masked gradients or an attack with bad settings can look like a robust net.
Each check is a test whose result is known for a sound net and a sound attack. Passing
all checks is necessary, not sufficient. The checks are from Carlini et al. 2019,
Athalye et al. 2018 (Section 3.1), Croce and Hein 2020 with their public implementation,
Pintor et al. 2022 and Zimmermann et al. 2022.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array
from jax.typing import ArrayLike
from rich.markup import escape
from rich.table import Table

from symjax.attacks.entry import unchecked
from symjax.attacks.gradient import Keep, pgd
from symjax.attacks.result import LogitsFn
from symjax.attacks.sanity.questions import CHECKS
from symjax.attacks.sanity.subject import AuditTarget, Check, DoesNotApply, Finding
from symjax.attacks.threat import ThreatModel
from symjax.groups import C4, Group, as_group

__all__ = ["CHECKS", "NOTE", "Check", "audit", "table"]

NOTE = "Passing every check is necessary for a robustness number, not sufficient."


def audit(
    logits_fn: LogitsFn,
    images: ArrayLike,
    labels: ArrayLike,
    key: Array,
    threat: ThreatModel,
    *,
    steps: int = 40,
    n_restarts: int = 1,
    step_size: ArrayLike | None = None,
    keep: Keep = "best",
    loss: str = "cross_entropy",
    peers: Sequence[LogitsFn] = (),
    random_draws: int = 10_000,
    square_queries: int = 1000,
    logits_fn_float64: LogitsFn | None = None,
    group: Group | str = C4,
    attack: Callable[..., Any] = pgd,
    only: Sequence[str] = tuple(CHECKS),
    report: Callable[[str], None] = lambda name: None,
) -> list[Check]:
    """Checks a net and the PGD that measures its robustness; a host driver.

    Fractions refer to the images that are classified correctly. Where a fraction should
    be zero, 1 % of the images is tolerated, and one image in any case: an image close
    to the decision boundary may be broken by one attack and not by another by chance.
    A few hundred images are enough.

    Args:
      logits_fn: `[B, H, W, C] -> [B, K]`. Weights in a `jax.tree_util.Partial` are
        traced, so that the same net with other weights needs little new compilation.
      images: `[B, H, W, C]`, float, within the threat's bounds; they form one batch.
      labels: `[B]`, integers in [0, K).
      key: random key of all checks.
      threat: ball and bounds of the evaluation.
      steps, n_restarts, step_size, keep, loss: the arguments of `attacks.pgd` in the
        evaluation.
      peers: nets of other seeds, whose adversarial examples are tried on this net.
      random_draws: the number of random points in the ball that are tried for each
        image that PGD did not break.
      square_queries: the number of queries of the Square attack on these images.
      logits_fn_float64: the net in float64, called with x64 enabled; None: `logits_fn`.
        The leaves of a `Partial` are converted to float64 in either case.
      group: the group under which the net may be invariant.
      attack: the attack that is audited instead of PGD, with the arguments of PGD. If
        it has the argument `path`, it is called with path=True, and must return its
        result and the margins `[Q, B]` of all points that it evaluated, in order;
        otherwise, the checks of the path do not apply.
      only: the names of the checks to run, from `CHECKS`.
      report: called with the name of each check before it runs.

    Returns:
      One `Check` for each name, in the order of `CHECKS`.

    Raises:
      ValueError: for a net that takes a key, eps 0, an unknown check, invalid settings,
        images or labels, or if no image is classified correctly.

    References:
      Carlini et al., On Evaluating Adversarial Robustness, 2019.
      Athalye et al., Obfuscated Gradients Give a False Sense of Security, ICML 2018.
      Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
      Diverse Parameter-free Attacks, ICML 2020.
      Pintor et al., Indicators of Attack Failure, NeurIPS 2022.
      Zimmermann et al., Increasing Confidence in Adversarial Robustness Evaluations,
      NeurIPS 2022.
    """
    if unknown := set(only) - set(CHECKS):
        raise ValueError(f"checks {sorted(unknown)}: expected some of {list(CHECKS)}.")
    subject = AuditTarget.of(
        logits_fn,
        images,
        labels,
        key,
        threat,
        steps=steps,
        n_restarts=n_restarts,
        step_size=step_size,
        keep=keep,
        loss=loss,
        peers=peers,
        random_draws=random_draws,
        square_queries=square_queries,
        logits_fn_float64=logits_fn_float64,
        group=as_group(group),
        attack_fn=unchecked(attack),
    )
    checks = []
    with jax.default_matmul_precision("highest"):  # as in the evaluation: no tf32
        for name in CHECKS:
            if name in only:
                report(name)
                checks.append(_run(name, subject))
    return checks


def _run(name: str, subject: AuditTarget) -> Check:
    title, compute, source, advice = CHECKS[name]
    try:
        passed, value, threshold, detail = compute(subject)
    except DoesNotApply as reason:
        passed, value, threshold, detail = Finding(None, None, "", str(reason))
    more = {"steps": 2 * subject.steps, "n_restarts": 4 * subject.n_restarts}
    advice = advice.format(**more) if passed is False else ""
    return Check(name, title, passed, value, threshold, source, detail, advice)


def table(checks: Sequence[Check]) -> Table:
    """A table of the checks, one per row, with the advice for those that fail."""
    words = {True: "[green]pass", False: "[bold red]FAIL", None: "[dim]n/a"}
    printed = Table(caption=NOTE)
    for column in ("check", "", "value", "threshold", "source", "detail"):
        printed.add_column(column, justify="right" if column == "value" else "left")
    for check in checks:
        value = "-" if check.value is None else f"{check.value:.3g}"
        printed.add_row(
            check.title,
            words[check.passed],
            value,
            check.threshold or "-",
            check.source,
            escape(check.detail) + (check.advice and f"\n[bold]{escape(check.advice)}"),
        )
    return printed
