"""The published attacks and the attacks between them and sound ones.

    attack = PublishedAttack.of(run.experiment.config, "pgd")
    attack.radius(0.01)                          # in the unit of its protocol

`symjax.evaluation.published` measures accuracy under them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from symjax import attacks
from symjax.attacks import AttackResult, ThreatModel
from symjax.attacks.losses import largest_margin
from symjax.attacks.result import LogitsFn, larger, select
from symjax.evaluation.attack import NAMES as ATTACKS
from symjax.evaluation.attack import Radius
from symjax.evaluation.protocol import SOUND, TEST_BATCH, Protocol, published, switched
from symjax.names import matched
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
        config: Config,
        name: str,
        corrupted: bool = False,
        switches: Sequence[str] | None = None,
        steps: int = 40,
        n_restarts: int = SOUND.n_restarts,
    ) -> "PublishedAttack":
        """The attack as it was published for the net of a run.

        Args:
          config: the configuration of the run, see `Run.experiment`.
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
        net = config.model
        protocol, label = published(net.name, corrupted), "published"
        if switches is not None:
            sound = dataclasses.replace(SOUND, n_restarts=n_restarts)
            protocol, label = switched(sound, protocol, switches), "switched"
        if name == "none":  # clean accuracy is published in evaluation mode
            protocol = dataclasses.replace(protocol, batch_norm="running")
        return cls(name, protocol, tuple(net.mean), tuple(net.std), label, steps)

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
        self, logits_fn: LogitsFn, images: Array, labels: Array, key: Array, threat
    ) -> AttackResult:
        """Attacks images `[B, H, W, C]` in [0, 1]; the result is in the same units.

        Args:
          logits_fn: the net for images in [0, 1], which normalizes them by `mean` and
            `std` itself, as the nets of symjax do.
          images, labels, key: as for every attack.
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

        Returns:
          The `AttackResult`, and the state of the net after the attack.
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
        mean, std = (plain(values) for values in self.normalization)
        clip = list(protocol.clip) if protocol.clip else "valid"
        step: Any = "2.5 eps / steps"
        if protocol.step is not None:
            scales = self.normalization[1]
            step = plain(tuple(protocol.step * value for value in scales))
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


def _per_channel(values: Any) -> Array:
    """A scalar or `[C]`, in a shape that broadcasts against `[B, H, W, C]`."""
    return jnp.reshape(jnp.asarray(values), (1, 1, 1, -1))


def plain(values: Any) -> Any:
    """Values per channel as a row holds them: one number if all are equal."""
    if not isinstance(values, tuple | list):
        return values
    return values[0] if len(set(values)) == 1 else list(values)
