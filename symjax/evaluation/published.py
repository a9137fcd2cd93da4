"""The attacks of the published code, with all or some switches of `protocol` turned on.

    attack = PublishedAttack.of(run.experiment.config, "pgd")
    published.measure(run, store, attack, [attack.radius(0.01)])

The published protocols are not sound; they are here to reproduce the published numbers
and to measure the effect of each difference. Epsilon is in units of the net's
normalized input. The input is clipped to a range other than that of valid pixels, so
that images may leave the ball. Batch norm may use the statistics of the batch, or
running averages that the attack changes: the outcome of an image then depends on the
other images and on earlier attacks, and `measure` carries the averages along.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console

from symjax import models
from symjax.attacks import ThreatModel
from symjax.data.augment import to_unit
from symjax.evaluation import measurement
from symjax.evaluation.attack import Eps, Radius
from symjax.evaluation.measurement import OUTCOMES, Outcome
from symjax.evaluation.progress import Progress
from symjax.evaluation.protocol import TEST_BATCH, BatchNorm
from symjax.evaluation.published_attack import PublishedAttack, plain
from symjax.evaluation.results import Results
from symjax.evaluation.rows import Row, cell_id
from symjax.evaluation.run import Run
from symjax.formatting import format_eps
from symjax.io import in_batches
from symjax.mesh import DeviceLayout
from symjax.seeds import KeyPurpose, purpose_key


def measure(
    run: Run,
    store: Results,
    attack: PublishedAttack,
    eps: Sequence[Eps],
    n: int = 0,
    console: Console | None = None,
) -> list[Row]:
    """As `evaluation.measure`, for any protocol, in batches of 128 images.

    An attack that changes the running averages starts from those of training, before
    the first batch of the first epsilon. A row then names the epsilons that came before
    its own (`eps_series`), and if one row is missing, all epsilons are measured again.
    Under the whole published protocol such a net is attacked by both FGSM and PGD at
    each epsilon, whichever of them is `attack`, and the rows of both are written.

    Args:
      run, store, n, console: as in `evaluation.measure`.
      attack: the attack, see `PublishedAttack.of`.
      eps: as in `evaluation.measure`; they are measured in this order.

    Returns:
      One row per seed and eps, in the order of `eps`, then of the seeds.
    """
    if attack.protocol.batch_norm == "running":
        call = run, store, attack, "linf", eps, n
        return measurement.measure(*call, console=console)
    store.drop_stale(run)
    images, labels = measurement.first_images(run, n)
    radii = [Radius.of(each) for each in eps]
    passes = []
    for index, radius in enumerate(radii):
        for each in attack.in_order:
            call = run.identity(), each, "linf", radius, len(images)
            cells = [
                with_series(measurement.identity(*call, seed), each, radii[: index + 1])
                for seed in run.seeds
            ]
            passes.append((each, radius, cells))
    asked = [cell for each, _, cells in passes if each == attack for cell in cells]
    stats, carries = run.state.batch_stats, attack.protocol.batch_norm == "moved"
    due = [x for x in passes if not store.holds(asked if carries else x[2])]
    with Progress(console, len(due)) as progress:
        for each, radius, cells in due:
            progress.begin(f"{each.name}, eps {format_eps(radius.pixels)}")
            call = run, each, radius.pixels, stats, images, labels, progress.part
            outcome, after = _all_batches(*call)
            stats = after if carries else stats
            measurement.write(store, run, cells, outcome)
    return [store.rows[cell_id(cell)] for cell in asked]


def with_series(
    identity: dict[str, Any], attack: PublishedAttack, eps: Sequence[Radius]
) -> dict[str, Any]:
    """Adds the earlier epsilons and attacks to an identity, if the result depends on
    them."""
    if attack.protocol.batch_norm != "moved":
        return identity
    series: dict[str, Any] = {"eps_series": [plain(x.pixels) for x in eps]}
    if len(attack.in_order) > 1:
        series["attack_series"] = [each.name for each in attack.in_order]
    return identity | series


def _all_batches(
    run, attack, radius, stats, images, labels, part
) -> tuple[Outcome, Any]:
    """The outcomes of all images, and the running averages after the last batch."""
    layout = run.experiment.layout
    program = _program(attack, run.experiment.model, layout)
    threat = ThreatModel("linf", np.asarray(radius, np.float32))
    collected = measurement.OutcomeAccumulator(run, threat)
    batches = in_batches(len(images), TEST_BATCH, pad=False)
    for index, batch in enumerate(batches):
        given = layout.put((images[batch], labels[batch]))
        with jax.default_matmul_precision("highest"):  # no tf32
            call = run.state.params, stats, *given, run.experiment.keys, index, threat
            result, stats = program(*call)
        names = ("images", *OUTCOMES)
        fields = {name: np.asarray(getattr(result, name)) for name in names}
        collected.add(fields, np.asarray(to_unit(images[batch])))
        part(int(batch[-1]) + 1, len(images))
    return collected.outcome(TEST_BATCH), stats


def forward_fn(model: models.Net, params: Any, batch_norm: BatchNorm):
    """The argument `forward` of `PublishedAttack.attack` for a net.

    Args:
      model, params: the net.
      batch_norm: the statistics that the net uses, see `Protocol`.

    Returns:
      `(images [B, H, W, C] in [0, 1], averages, attacking) -> (logits [B, K],
      averages)`; the running averages are the state of the net.
    """

    def forward(images, stats, attacking):
        variables = {"params": params, "batch_stats": stats}
        if batch_norm == "running" or (batch_norm == "moved" and not attacking):
            return models.logits_fn(model, variables)(images), stats
        logits, moved = models.training_fn(model, variables)(images)
        return logits, moved if batch_norm == "moved" else stats

    return forward


@functools.cache
def _program(attack: PublishedAttack, model: models.Net, layout: DeviceLayout):
    """The program of an attack on a net; each size of batch is compiled once."""
    batch_norm = attack.protocol.batch_norm

    def one_seed(params, stats, images, labels, key, index, threat):
        key = purpose_key(key, KeyPurpose.EVALUATION_ATTACK, index)

        forward = forward_fn(model, params, batch_norm)
        call = to_unit(images), labels, key, threat
        return attack.attack(forward, stats, *call)

    axes = (0, 0, None, None, 0, None, None)
    attacked = layout.over_seeds(one_seed, axes)
    return layout.jit(attacked, layout.everywhere)
