"""The attacks of the published code, with all or some switches of `protocol` turned on.

    attack = PublishedAttack.of(run, "pgd")         # as published for its net
    published.measure(run, store, attack, [attack.radius(0.01)])

The published protocols are not sound; they are here to reproduce the published numbers
and to measure the effect of each difference. Epsilon is in units of the net's
normalized input. The input is clipped to a range other than that of valid pixels, so
that images may leave the ball. Batch norm may use the statistics of the batch, or
running averages that the attack changes: the outcome of an image then depends on the
other images and on earlier attacks, and `measure` carries the averages along.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console

from symjax import attacks, models
from symjax.attacks import AttackResult, ThreatModel
from symjax.attacks.losses import largest_margin
from symjax.attacks.result import LogitsFn, larger, select
from symjax.data.augment import to_unit
from symjax.evaluation import measurement
from symjax.evaluation.attack import NAMES as ATTACKS
from symjax.evaluation.measurement import (
    OUTCOMES,
    UNCORRUPTED,
    Eps,
    EvalImages,
    Outcome,
    Radius,
)
from symjax.evaluation.progress import Progress
from symjax.evaluation.protocol import (
    SOUND,
    TEST_BATCH,
    BatchNorm,
    Protocol,
    published,
    switched,
)
from symjax.evaluation.results import Results
from symjax.evaluation.rows import Row, cell_id
from symjax.evaluation.run import Run
from symjax.formatting import format_eps
from symjax.io import in_batches
from symjax.mesh import DeviceLayout
from symjax.names import matched
from symjax.seeds import KeyPurpose, purpose_key
from symjax.training.experiment import Config

NAMES = ("none", "fgsm", "pgd")

Values = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class PublishedAttack:
    """An attack under a `Protocol`, with the interface of `Attack`.

    Attributes:
      name: one of `NAMES`.
      protocol: the settings.
      mean, std: the normalization that the net was trained with; one value, or one per
        channel.
      label: the name of the protocol in rows.
      steps: the number of steps of PGD.
    """

    name: str
    protocol: Protocol
    mean: Values = (0.5,)
    std: Values = (0.5,)
    label: str = "published"
    steps: int = 40

    def __post_init__(self):
        object.__setattr__(self, "name", matched("attack", self.name, ATTACKS))
        if self.name not in NAMES:
            raise ValueError(
                f"attack {self.name!r}: expected one of {list(NAMES)} in the published "
                "protocol. Use --protocol sound for other attacks."
            )

    @classmethod
    def of(
        cls,
        run: Run,
        name: str,
        corrupted: bool = False,
        switches: Sequence[str] | None = None,
        steps: int = 40,
        n_restarts: int = SOUND.n_restarts,
    ) -> "PublishedAttack":
        """The attack as it was published for this run's net.

        Args:
          run: the trained run.
          name: one of `NAMES`.
          corrupted: whether the images are corrupted.
          switches: names from `protocol.SWITCHES`; these settings are as published, and
            all others are sound. None: all settings are as published.
          steps: the number of steps of PGD; 40 in the published code.
          n_restarts: restarts of PGD, if the switch "start" is sound.

        Raises:
          ValueError: if no attack was published for the net, or for an unknown attack
            or switch.
        """
        call = name, corrupted, switches, steps, n_restarts
        return cls.of_config(run.experiment.config, *call)

    @classmethod
    def of_config(
        cls,
        config: Config,
        name: str,
        corrupted: bool = False,
        switches: Sequence[str] | None = None,
        steps: int = 40,
        n_restarts: int = SOUND.n_restarts,
    ) -> "PublishedAttack":
        """As `of`, for a run with this configuration."""
        net = config.model
        protocol, label = published(net.name, corrupted), "published"
        if switches is not None:
            sound = dataclasses.replace(SOUND, n_restarts=n_restarts)
            protocol, label = switched(sound, protocol, switches), "switched"
        if name == "none":  # clean accuracy is published in evaluation mode
            protocol = dataclasses.replace(protocol, batch_norm="running")
        return cls(name, protocol, tuple(net.mean), tuple(net.std), label, steps)

    @property
    def host_driven(self) -> bool:
        """False: the steps run in one compiled program."""
        return False

    @property
    def normalization(self) -> tuple[Values, Values]:
        """Mean and standard deviation: the net's input is `(image - mean) / std`."""
        if self.protocol.input_scaling == "raw":
            return (0.0,), (1.0,)
        return self.mean, self.std

    @property
    def in_order(self) -> "list[PublishedAttack]":
        """The attacks that run one after another at each epsilon, in their order.

        The published code attacks the equivariant net by FGSM and then by PGD at each
        epsilon, and both change the running averages. Under any other protocol the
        attack runs alone.
        """
        if self.protocol.batch_norm != "moved" or self.label != "published":
            return [self]
        return [dataclasses.replace(self, name=name) for name in ("fgsm", "pgd")]

    def radius(self, eps: float) -> Radius:
        """The radius of an epsilon in the unit of the protocol.

        In pixel units it has one value per channel where the normalization differs
        between channels.
        """
        unit = "pixel" if self.protocol.eps_unit == "pixel" else "normalized"
        return Radius(attacks.in_pixels(eps, unit, self.normalization[1]), eps, unit)

    def __call__(
        self,
        logits_fn: LogitsFn,
        images: Array,
        labels: Array,
        key: Array,
        threat: ThreatModel,
    ) -> AttackResult:
        """Attacks images `[B, H, W, C]` in [0, 1]; the result is in the same units.

        Args:
          logits_fn: the net for images in [0, 1], which normalizes them by `mean` and
            `std` itself, as the nets of symjax do.
          images, labels: as for every attack.
          key: the key of the random starts.
          threat: the ball, linf, eps in pixel units. Its bounds are not used.

        Raises:
          ValueError: for another norm, or if batch norm does not use the running
            averages of training; use `measure` then.
        """
        if self.protocol.batch_norm != "running":
            raise ValueError(
                f"batch norm {self.protocol.batch_norm!r}: the logits of an image then "
                "depend on other images; use evaluation.published.measure."
            )

        def forward(images, state, attacking):
            return logits_fn(images), state

        return self.attack(forward, (), images, labels, key, threat)[0]

    def attack(
        self, forward, state, images: Array, labels: Array, key: Array, threat
    ) -> tuple[AttackResult, Any]:
        """As `__call__`, for a net with a state (the averages of batch norm).

        Args:
          forward: `(images in [0, 1], state, attacking) -> (logits, state)`, where
            `attacking` is False for the final prediction.
          state: the state of the net before the attack.
          images, labels, key, threat: as in `__call__`.

        Returns:
          The `AttackResult`, and the state of the net after the attack.

        Raises:
          ValueError: for a norm other than linf.
        """
        if threat.norm != "linf":
            raise ValueError(
                f"norm {threat.norm!r}: expected 'linf', the norm of the published "
                "attacks. Use a sound attack for other norms."
            )
        scalings = (*self.normalization, self.mean, self.std)
        mean, std, own_mean, own_std = map(_per_channel, scalings)
        eps, low, high = (
            _per_channel(x) for x in (threat.eps, *(self.protocol.clip or (0.0, 1.0)))
        )
        if self.protocol.clip is None:  # the range of valid pixels
            low, high = (low - mean) / std, (high - mean) / std
        inner = ThreatModel("linf", eps / std, (low, high))

        def of_inputs(inputs, state, attacking):
            return forward(inputs * own_std + own_mean, state, attacking)

        start = (images - mean) / std
        inputs, state = self._search(of_inputs, state, start, labels, key, inner)
        logits, state = of_inputs(inputs, state, False)
        adversarial = jnp.where(inputs == start, images, inputs * std + mean)
        count = jnp.full(len(images), self._steps, jnp.int32)
        result = AttackResult(
            images=adversarial,
            robust=attacks.is_correct(logits, labels),
            distance=threat.distance(adversarial, images),
            queries=count * self._restarts + 1,
            gradients=count * self._restarts,
        )
        return result, state

    @property
    def _steps(self) -> int:
        return {"none": 0, "fgsm": 1, "pgd": self.steps}[self.name]

    @property
    def _restarts(self) -> int:
        return self.protocol.n_restarts if self.name == "pgd" else 1

    @property
    def evaluations(self) -> int:
        """The number of forward passes: at the images, at each step and at the end."""
        best, pgd = self.protocol.keep == "best", self.name == "pgd"
        ends = self._restarts if pgd and (best or self._restarts > 1) else 0
        return (pgd and best) + self._restarts * self._steps + ends + 1

    def _search(self, forward, state, start, labels, key, threat: ThreatModel):
        """The adversarial inputs of the net, and the state of the net."""

        def total(inputs, state):
            logits, state = forward(inputs, state, True)
            loss = jnp.sum(attacks.cross_entropy(logits, labels))
            return loss, (largest_margin(logits, labels), state)

        gradient = jax.grad(total, has_aux=True)
        if self.name == "none":
            return start, state
        if self.name == "fgsm":
            slope, (margin, state) = gradient(start, state)
            inputs = threat.project(threat.ascend(start, slope, threat.eps), start)
            if self.protocol.keep == "best":
                inputs = select(margin >= 0, start, inputs)
            return inputs, state
        return self._pgd(forward, gradient, state, start, labels, key, threat)

    def _pgd(self, forward, gradient, state, start, labels, key, threat):
        step = self.protocol.step
        if step is None:
            step = 2.5 / self.steps * threat.eps
        best_of_all = self.protocol.keep == "best"

        def one_step(_, carry):
            inputs, best, state = carry
            slope, (margin, state) = gradient(inputs, state)
            if best_of_all:
                best = larger(best, (inputs, margin))
            inputs = threat.ascend(inputs, jnp.nan_to_num(slope), step)
            return threat.project(inputs, start), best, state

        def one_restart(index, carry):
            best, state = carry
            inputs = start
            if self.protocol.start == "uniform":
                inputs = threat.start(jax.random.fold_in(key, index), start)
            carry = inputs, best, state
            inputs, best, state = jax.lax.fori_loop(0, self.steps, one_step, carry)
            if not best_of_all and self._restarts == 1:
                return (inputs, best[1]), state
            logits, state = forward(inputs, state, True)
            return larger(best, (inputs, largest_margin(logits, labels))), state

        margin = jnp.full(len(start), -jnp.inf)
        if best_of_all:
            logits, state = forward(start, state, True)
            margin = largest_margin(logits, labels)
        carry = (start, margin), state
        loop = jax.lax.fori_loop(0, self._restarts, one_restart, carry)
        (inputs, _), state = loop
        return inputs, state

    def identity(self) -> dict[str, Any]:
        """Entries of a row's identity: the attack and each setting of the protocol."""
        pgd, none, protocol = self.name == "pgd", self.name == "none", self.protocol
        mean, std = (_plain(values) for values in self.normalization)
        clip = list(protocol.clip) if protocol.clip else "valid"
        step: Any = "2.5 eps / steps"
        if protocol.step is not None:
            scales = self.normalization[1]
            step = _plain(tuple(protocol.step * value for value in scales))
        entries = {
            "attack": self.name,
            "steps": None if none else self._steps,
            "step_size": step if pgd else None,
            "n_restarts": protocol.n_restarts if pgd else None,
            "start": None if none else protocol.start if pgd else "image",
            "loss": None if none else "cross_entropy",
            "keep": protocol.keep if pgd or protocol.keep == "best" else None,
            "protocol": self.label,
            "input_mean": mean,
            "input_std": std,
            "input_clip": None if none else clip,
            "batch_norm": protocol.batch_norm,
        }
        if protocol.batch_norm != "running":
            entries["test_batch"] = TEST_BATCH
        return entries


def measure(
    run: Run,
    store: Results,
    attack: PublishedAttack,
    eps: Sequence[Eps],
    n: int = 0,
    console: Console | None = None,
    tested: EvalImages | None = None,
) -> list[Row]:
    """As `evaluation.measure`, for any protocol, in batches of 128 images.

    An attack that changes the running averages starts from those of training, before
    the first batch of the first epsilon. A row then names the epsilons that came before
    its own (`eps_series`), and if one row is missing, all epsilons are measured again.
    Under the whole published protocol such a net is attacked by both FGSM and PGD at
    each epsilon, whichever of them is `attack`, and the rows of both are written.

    Args:
      run, store, n, console, tested: as in `evaluation.measure`.
      attack: the attack, see `PublishedAttack.of`.
      eps: as in `evaluation.measure`; they are measured in this order.

    Returns:
      One row per seed and eps, in the order of `eps`, then of the seeds.
    """
    radii = [Radius.of(each) for each in eps]
    if attack.protocol.batch_norm == "running":
        call = run, store, attack, "linf", eps, n
        return measurement.measure(*call, console=console, tested=tested)
    store.drop_stale(run)
    if tested is None:
        first = measurement.first_images(run, n)
        tested = EvalImages(UNCORRUPTED, lambda: first, len(first[0]))
    passes = [
        (each, radius, cells_of(run, each, radii[: index + 1], tested))
        for index, radius in enumerate(radii)
        for each in attack.in_order
    ]
    asked = [cell for each, _, cells in passes if each == attack for cell in cells]
    missing = {cell_id(cell) for cell in asked} - store.rows.keys()
    carries = attack.protocol.batch_norm == "moved"
    stats = run.state.batch_stats
    done = missing.isdisjoint
    due = [
        (each, radius, cells)
        for each, radius, cells in passes
        if missing and (carries or not done(map(cell_id, cells)))
    ]
    with Progress(console, len(due)) as progress:
        for each, radius, cells in due:
            progress.begin(f"{each.name}, eps {format_eps(radius.pixels)}")
            call = run, each, radius.pixels, stats, tested, progress.part
            outcome, after = _all_batches(*call)
            stats = after if carries else stats
            measurement.write(store, run, cells, outcome)
    return [store.rows[cell_id(cell)] for cell in asked]


def cells_of(
    run: Run, attack: PublishedAttack, eps: Sequence[Radius], tested: EvalImages
) -> list[dict[str, Any]]:
    """Identities of the rows of the last radius, one per seed.

    Args:
      run: the trained run.
      attack: the attack.
      eps: the radius of the rows, after the radii that are measured before it.
      tested: the images.
    """
    return [
        with_series(
            measurement.identity(
                run.identity(), attack, "linf", eps[-1], tested.n, seed
            )
            | dict(tested.identity),
            attack,
            eps,
        )
        for seed in run.seeds
    ]


def with_series(
    identity: dict[str, Any], attack: PublishedAttack, eps: Sequence[Radius]
) -> dict[str, Any]:
    """Adds the earlier epsilons and attacks to an identity, if the result depends on
    them."""
    if attack.protocol.batch_norm != "moved":
        return identity
    series: dict[str, Any] = {"eps_series": [_plain(x.pixels) for x in eps]}
    if len(attack.in_order) > 1:
        series["attack_series"] = [each.name for each in attack.in_order]
    return identity | series


def _all_batches(
    run, attack, radius, stats, tested: EvalImages, part
) -> tuple[Outcome, Any]:
    """The outcomes of all images, and the running averages after the last batch."""
    images, labels = tested.load()
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


def _per_channel(values: Any) -> Array:
    """A scalar or `[C]`, in a shape that broadcasts against `[B, H, W, C]`."""
    return jnp.reshape(jnp.asarray(values), (1, 1, 1, -1))


def _plain(values: Any) -> Any:
    """Values per channel as a row holds them: one number if all are equal."""
    if not isinstance(values, tuple | list):
        return values
    return values[0] if len(set(values)) == 1 else list(values)
