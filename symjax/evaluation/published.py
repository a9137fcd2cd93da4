"""The published attacks, and those between them and sound ones (`protocol`'s switches).

    attack = PublishedAttack.of(run, "pgd")         # as published for its net
    published.measure(run, store, attack, [attack.radius(0.01)])

Not a sound protocol: it is there so that published numbers can be made again, and taken
apart. The epsilon is in units of what the net is fed, which is clipped to a range that
is not that of valid pixels, so that images leave the ball; batch norm may look at the
batch, or at averages that the attack moves. Then an image's outcome depends on the
others and on what was attacked before, and `measure` carries the averages along.
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
    """An attack under a protocol; static in the program, called as `Attack` is.

    Attributes:
      name: one of `NAMES`.
      protocol: where the switches stand.
      mean, std: normalisation that the net was trained with, one value or one a
        channel.
      label: what a row says of the protocol.
      steps: of PGD.
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
                f"attack {self.name!r}: the published protocol has {list(NAMES)}."
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
          corrupted: on corrupted images.
          switches: those of `protocol.SWITCHES` that stand as published, the others as
            in a sound protocol; None: all.
          steps: of PGD; 40 are published.
          n_restarts: of PGD, where the switch "start" is as in a sound protocol.

        Raises:
          ValueError: if there is none for the net, or for another attack or switch.
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
        """As `of`, of a run that has this configuration."""
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
        """The host does not drive it."""
        return False

    @property
    def fed(self) -> tuple[Values, Values]:
        """Mean and standard deviation: the net is fed `(image - mean) / std`."""
        if self.protocol.fed == "raw":
            return (0.0,), (1.0,)
        return self.mean, self.std

    @property
    def in_order(self) -> "list[PublishedAttack]":
        """The attacks that are made at each epsilon on one model, in their order.

        The published code attacks the equivariant net by FGSM and then by PGD at each
        epsilon, and both move the averages. Other attacks are by themselves.
        """
        if self.protocol.batch_norm != "moved" or self.label != "published":
            return [self]
        return [dataclasses.replace(self, name=name) for name in ("fgsm", "pgd")]

    def radius(self, eps: float) -> Radius:
        """An epsilon in the protocol's unit; in pixel units one per channel where the
        normalization differs between channels."""
        unit = "pixel" if self.protocol.eps_unit == "pixel" else "normalized"
        return Radius(attacks.in_pixels(eps, unit, self.fed[1]), eps, unit)

    def __call__(
        self,
        logits_fn: LogitsFn,
        images: Array,
        labels: Array,
        key: Array,
        threat: ThreatModel,
    ) -> AttackResult:
        """Images `[B, H, W, C]` in [0, 1] to an `AttackResult` in the same units.

        Args:
          logits_fn: normalises [0, 1] images by `mean` and `std` itself, as ours do.
          images, labels: as of every attack.
          key: of the random starts.
          threat: linf; its eps in pixel units. Its bounds are not used.

        Raises:
          ValueError: for another norm, or if batch norm does not use the averages of
            training, for which there is `measure`.
        """
        if self.protocol.batch_norm != "running":
            raise ValueError(
                f"batch norm {self.protocol.batch_norm!r}: such a net is no function "
                "of an image; use evaluation.published.measure."
            )

        def forward(images, state, attacking):
            return logits_fn(images), state

        return self.attack(forward, (), images, labels, key, threat)[0]

    def attack(
        self, forward, state, images: Array, labels: Array, key: Array, threat
    ) -> tuple[AttackResult, Any]:
        """As the call, of a net with a state.

        Args:
          forward: `(images in [0, 1], state, attacking) -> (logits, state)`.
          state: of the net.

        Returns:
          The result, and the net's state after it.
        """
        if threat.norm != "linf":
            raise ValueError(f"norm {threat.norm!r}: the published attacks are linf.")
        mean, std, own_mean, own_std = map(_spread, (*self.fed, self.mean, self.std))
        eps, low, high = (
            _spread(x) for x in (threat.eps, *(self.protocol.clip or (0.0, 1.0)))
        )
        if self.protocol.clip is None:  # of valid pixels
            low, high = (low - mean) / std, (high - mean) / std
        inner = ThreatModel("linf", eps / std, (low, high))

        def of_fed(fed, state, attacking):
            return forward(fed * own_std + own_mean, state, attacking)

        start = (images - mean) / std
        found, state = self._search(of_fed, state, start, labels, key, inner)
        logits, state = of_fed(found, state, False)
        moved = jnp.where(found == start, images, found * std + mean)
        count = jnp.full(len(images), self._steps, jnp.int32)
        result = AttackResult(
            images=moved,
            robust=attacks.is_correct(logits, labels),
            distance=threat.distance(moved, images),
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
        """How often the net is evaluated: at the images, on the way, at the end."""
        best, pgd = self.protocol.keep == "best", self.name == "pgd"
        ends = self._restarts if pgd and (best or self._restarts > 1) else 0
        return (pgd and best) + self._restarts * self._steps + ends + 1

    def _search(self, forward, state, start, labels, key, threat: ThreatModel):
        """What the net is fed in the end, and its state."""

        def total(fed, state):
            logits, state = forward(fed, state, True)
            loss = jnp.sum(attacks.cross_entropy(logits, labels))
            return loss, (largest_margin(logits, labels), state)

        gradient = jax.grad(total, has_aux=True)
        if self.name == "none":
            return start, state
        if self.name == "fgsm":
            slope, (margin, state) = gradient(start, state)
            moved = threat.project(threat.ascend(start, slope, threat.eps), start)
            if self.protocol.keep == "best":
                moved = select(margin >= 0, start, moved)
            return moved, state
        return self._pgd(forward, gradient, state, start, labels, key, threat)

    def _pgd(self, forward, gradient, state, start, labels, key, threat):
        step = self.protocol.step
        if step is None:
            step = 2.5 / self.steps * threat.eps
        best_of_all = self.protocol.keep == "best"

        def move(_, carry):
            fed, best, state = carry
            slope, (margin, state) = gradient(fed, state)
            if best_of_all:
                best = larger(best, (fed, margin))
            moved = threat.ascend(fed, jnp.nan_to_num(slope), step)
            return threat.project(moved, start), best, state

        def walk(index, carry):
            best, state = carry
            fed = start
            if self.protocol.start == "uniform":
                fed = threat.start(jax.random.fold_in(key, index), start)
            walked = fed, best, state
            fed, best, state = jax.lax.fori_loop(0, self.steps, move, walked)
            if not best_of_all and self._restarts == 1:
                return (fed, best[1]), state
            logits, state = forward(fed, state, True)
            return larger(best, (fed, largest_margin(logits, labels))), state

        margin = jnp.full(len(start), -jnp.inf)
        if best_of_all:
            logits, state = forward(start, state, True)
            margin = largest_margin(logits, labels)
        carry = (start, margin), state
        (found, _), state = jax.lax.fori_loop(0, self._restarts, walk, carry)
        return found, state

    def identity(self) -> dict[str, Any]:
        """The entries of a row's identity: the attack, each switch of the protocol."""
        pgd, none, protocol = self.name == "pgd", self.name == "none", self.protocol
        mean, std = (_plain(values) for values in self.fed)
        clip = list(protocol.clip) if protocol.clip else "valid"
        step: Any = "2.5 eps / steps"
        if protocol.step is not None:
            step = _plain(tuple(protocol.step * value for value in self.fed[1]))
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
    """As `evaluation.measure`, for any protocol; test batches hold 128 images.

    Where an attack moves the averages, they are those of training before the first
    batch of the first epsilon, and a row says the epsilons that came before its own:
    all are measured again if one is missing. Under the whole published protocol FGSM
    and PGD are then both measured, in turn at each epsilon, whichever is asked for, and
    the rows of both are written.

    Args:
      run, store, n, console, tested: as in `evaluation.measure`.
      attack: of `PublishedAttack.of`.
      eps: as in `evaluation.measure`, in the order in which they are measured.

    Returns:
      One row a seed and eps, in the order of `eps`, then of the seeds.
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
    """Identities of the rows of the last radius, a seed each, after those before."""
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
    """An identity that names what was measured before, where that matters."""
    if attack.protocol.batch_norm != "moved":
        return identity
    series: dict[str, Any] = {"eps_series": [_plain(x.pixels) for x in eps]}
    if len(attack.in_order) > 1:
        series["attack_series"] = [each.name for each in attack.in_order]
    return identity | series


def _all_batches(
    run, attack, radius, stats, tested: EvalImages, part
) -> tuple[Outcome, Any]:
    """Outcomes of all images in order, and the averages after the last batch."""
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
    """A net as `PublishedAttack.attack` takes it; its state are the running averages.

    Args:
      model, params: the net.
      batch_norm: which statistics it uses, see `Protocol`.

    Returns:
      `(images [B, H, W, C] in [0, 1], averages, attacking) -> (logits [B, K],
      averages)`.
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
    """One program an attack and net, for each size of batch."""
    batch_norm = attack.protocol.batch_norm

    def one_seed(params, stats, images, labels, key, index, threat):
        key = purpose_key(key, KeyPurpose.EVALUATION_ATTACK, index)

        forward = forward_fn(model, params, batch_norm)
        call = to_unit(images), labels, key, threat
        return attack.attack(forward, stats, *call)

    axes = (0, 0, None, None, 0, None, None)
    attacked = layout.over_seeds(one_seed, axes)
    return layout.jit(attacked, layout.everywhere)


def _spread(values: Any) -> Array:
    """A scalar or `[C]` against `[B, H, W, C]`."""
    return jnp.reshape(jnp.asarray(values), (1, 1, 1, -1))


def _plain(values: Any) -> Any:
    """One number where all are equal, else a list, as rows say it."""
    if not isinstance(values, tuple | list):
        return values
    return values[0] if len(set(values)) == 1 else list(values)
