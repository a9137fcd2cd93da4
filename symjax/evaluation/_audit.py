"""The sanity audit of a trained run: its first seed's net and the attack on it.

checks = audit(run, attacks.Linf(8 / 255), n=200)                 # PGD
checks = audit_published(run, "pgd", 0.01)                        # the published PGD
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from symjax import models, seeds
from symjax.attacks import AttackResult, ThreatModel, sanity
from symjax.attacks.losses import largest_margin
from symjax.data.augment import to_unit
from symjax.evaluation.measurement import first_images, run_provenance
from symjax.evaluation.published_attack import PublishedAttack
from symjax.evaluation.results import Results
from symjax.evaluation.rows import AUDIT
from symjax.evaluation.run import Run
from symjax.seeds import KeyPurpose, purpose_key

UNIT = "epsilon_unit"
UNIT_ADVICE = (
    "Report the radius in pixel units, or measure with --protocol sound: the published "
    "epsilon is in units of normalized images, in which it is larger than in pixel "
    "units."
)
NO_ANSWER = ("no image is classified correctly", "NaN or infinite")
"""Texts in the errors of `sanity.audit` for a net that cannot be audited."""


def audit(
    run: Run, threat: ThreatModel, n: int = 200, **options: Any
) -> list[sanity.Check]:
    """Runs every sanity check on the net of the first seed.

    Args:
      run: the trained run. Adversarial images of the other seeds are transferred to the
        first seed.
      threat: ball and bounds of the evaluation.
      n: the number of test images, the first ones of the test split.
      **options: of `attacks.sanity.audit`, such as the settings of PGD.

    Returns:
      The results of the checks, in the order of `attacks.sanity.CHECKS`.

    Raises:
      ValueError: as `attacks.sanity.audit`; if the test split has fewer than n images;
        or if the first seed diverged.
    """
    model = run.experiment.model
    variables = seeds.of_seed(run.state.variables, 0)
    wide = models.logits_fn(model.clone(dtype=jnp.float64), variables)
    options = {"logits_fn_float64": wide, "group": model.group.grid.group, **options}
    return _audit(run, run.logits_fns, threat, n, options)


def audit_published(
    run: Run, name: str, eps: float, n: int = 200, **options: Any
) -> list[sanity.Check]:
    """Runs every sanity check on a published attack, and one check on its epsilon.

    If the published protocol uses the batch's own statistics in batch norm, during the
    attack at least, so does the net that is audited.

    Args:
      run, n, **options: as in `audit`.
      name: "pgd" or "fgsm".
      eps: epsilon in the published unit.

    Returns:
      The check of the epsilon, and then those of `audit`.

    Raises:
      ValueError: as `audit` and `PublishedAttack.of`.
    """
    attack = PublishedAttack.of(run.experiment.config, name)
    nets = run.logits_fns
    if attack.protocol.batch_norm != "running":
        inner = models.training_fn(run.experiment.model, run.state.variables)
        nets = Partial(_logits_alone, inner)
        running = dataclasses.replace(attack.protocol, batch_norm="running")
        attack = dataclasses.replace(attack, protocol=running)
    radius = attack.radius(eps).pixels
    threat = ThreatModel("linf", np.asarray(radius, np.float32))
    settings = {"steps": attack.steps, "keep": attack.protocol.keep}
    options = {"attack": _AsPublished(attack), **settings, **options}
    return [_unit(eps, radius), *_audit(run, nets, threat, n, options)]


def _audit(run: Run, nets: Partial, threat, n: int, options) -> list[sanity.Check]:
    """Audits the net of the first seed; the others that did not diverge are peers."""
    if run.diverged[0]:
        raise ValueError(
            f"{run.folder}: seed {run.seeds[0]} diverged, and the audit needs its net: "
            "audit another run."
        )
    alive = np.flatnonzero(~run.diverged).tolist()
    net, *peers = (seeds.of_seed(nets, index) for index in alive)
    images, labels = first_images(run, n)
    key = seeds.of_seed(run.experiment.keys, 0)
    key = purpose_key(key, KeyPurpose.EVALUATION_ATTACK)
    pixels = np.asarray(to_unit(images))
    return sanity.audit(net, pixels, labels, key, threat, peers=peers, **options)


def identities(
    cell: Mapping[str, Any], protocol: str, names: Sequence[str] = tuple(sanity.CHECKS)
) -> list[dict[str, Any]]:
    """Identities of the rows of an audit, one per check, in the order of the checks.

    Args:
      cell: identity of a row of the audited attack, see `measurement.identity`.
      protocol: "sound" or "published".
      names: names of the checks.
    """
    first = [UNIT] if protocol == "published" else []
    return [{**cell, "kind": AUDIT, "check": name} for name in (*first, *names)]


def record(
    run: Run,
    store: Results,
    cells: Sequence[Mapping[str, Any]],
    protocol: str,
    eps: float,
    n: int,
    n_restarts: int = 1,
    **options: Any,
) -> None:
    """Audits a run and writes one row per check.

    The value of a row is 1 if the check passes, 0 if it fails, and None if it does not
    apply. Nothing is done if the store holds all rows already.

    Args:
      run: the trained run.
      store: where the rows are written.
      cells: identities of the rows, in the order of the checks, see `identities`.
      protocol: "sound" (linf in pixel units) or "published".
      eps: epsilon in the unit of the protocol.
      n: the number of test images, the first ones of the test split.
      n_restarts: restarts of the sound PGD.
      **options: of `attacks.sanity.audit`.
    """
    store.drop_stale(run)
    if store.holds(cells):
        return
    checks = _checks(run, protocol, eps, n, n_restarts, options)
    if isinstance(checks, str):  # the reason why there are none
        nothing = sanity.Check("", "", None, None, "", "symjax", checks)
        checks = [nothing] * len(cells)
    for cell, check in zip(cells, checks, strict=True):
        if not store.holds([cell]):
            passed = None if check.passed is None else float(check.passed)
            facts = {
                "diverged": bool(run.diverged[0]),
                "measured": check.value,
                "literature": check.source,
                "threshold": check.threshold,
                "detail": check.detail,
                "advice": check.advice,
                "peers": max(int(np.sum(~run.diverged)) - 1, 0),
            }
            store.add(cell, passed, {}, facts, run_provenance(run, 0))


def _checks(run, protocol, eps, n, n_restarts, options) -> list[sanity.Check] | str:
    """The checks under one protocol, or the reason why the net cannot be audited."""
    if run.diverged[0]:
        return "the seed diverged"
    try:
        if protocol == "published":
            return audit_published(run, "pgd", eps, n, **options)
        threat = ThreatModel("linf", np.float32(eps))
        return audit(run, threat, n, n_restarts=n_restarts, **options)
    except ValueError as error:
        if not any(reason in str(error) for reason in NO_ANSWER):
            raise
        return str(error)


def _unit(eps: float, radius: float | tuple[float, ...]) -> sanity.Check:
    """Checks that the radius in pixel units is not smaller than the stated epsilon."""
    ratio = float(np.min(radius)) / eps
    detail = f"the radius in pixel units, as a fraction of the stated epsilon {eps:g}"
    passed = ratio >= 1
    advice = "" if passed else UNIT_ADVICE
    title = "epsilon in pixel units"
    return sanity.Check(UNIT, title, passed, ratio, ">= 1", "symjax", detail, advice)


@dataclasses.dataclass(frozen=True)
class _AsPublished:
    """A published attack with the arguments of PGD, of which it uses `steps` alone."""

    attack: PublishedAttack

    def __call__(
        self, logits_fn, images, labels, key, threat, steps, step_size, n_restarts,
        loss, keep, path,
    ) -> tuple[AttackResult, Array]:  # fmt: skip
        attack = dataclasses.replace(self.attack, steps=steps)

        def forward(images, state, attacking):  # the state holds the margins so far
            logits, (margins, count) = logits_fn(images), state
            now = largest_margin(logits, labels)
            return logits, (margins.at[count].set(now), count + 1)

        margins = jnp.full((attack.evaluations, len(images)), jnp.nan)
        call = images, labels, key, threat
        result, (margins, _) = attack.attack(forward, (margins, 0), *call)
        return result, margins


def _logits_alone(net: Partial, images: Array) -> Array:
    return net(images)[0]
