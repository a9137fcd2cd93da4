"""What is measured of each run, and the identities of the rows that say it.

    for measurement in of_training(training, size):
        measurement.identities(subject, seed)     # known before anything is trained
        for _ in measurement.take(run, store, subject, console):
            ...                                   # a part of it is written

A run is measured under the protocol that was published for its net and under a sound
one; some are taken apart, switch by switch.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from symjax import evaluation
from symjax.attacks import sanity
from symjax.evaluation import corruption, measurement
from symjax.evaluation import protocol as protocols
from symjax.evaluation._audit import identities as audit_identities
from symjax.evaluation._audit import record
from symjax.evaluation.attack import STEPS, Attack
from symjax.evaluation.measurement import Radius, run_provenance
from symjax.evaluation.metrics import base, tolerance
from symjax.evaluation.protocol import SOUND
from symjax.evaluation.published import PublishedAttack, with_series
from symjax.evaluation.published import measure as measure_published
from symjax.evaluation.results import Results
from symjax.evaluation.rows import cell_id
from symjax.evaluation.run import Run
from symjax.evaluation.run import identity as run_identity
from symjax.formatting import format_eps
from symjax.models import Net
from symjax.study import published
from symjax.study.size import Size
from symjax.study.trainings import CONTROLLED, PUBLISHED, SWITCHED, Training
from symjax.training import experiment as experiments

Identity = dict[str, Any]
Parts = Iterator[Any]

PIXELS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
"""Epsilons of the controlled comparison, in pixel units."""
LAST_WORD = (1 / 255, 2 / 255, 8 / 255)  # of AutoAttack
TAKEN_APART = (0.01, 0.03)
"""Published epsilons at which the differences of the protocols are told apart."""
AUDITED = 0.03
CORRUPTED_SOUND = (0.01,)
REDUCED_RADII = (0.01, 0.03, 0.05, 0.10)
"""Published epsilons of FGSM in the reduced size; PGD has `TAKEN_APART`."""
REDUCED_PIXELS = (2 / 255, 8 / 255)
"""Epsilons of the sound PGD and of AutoAttack in the reduced size, in pixel units."""
REDUCED_FEW = 200  # images of a switch of the protocol
REDUCED_FEWER = 100  # images of PGD on a corruption
FIGURE_5 = ("tolerance_removal_published", "tolerance_removal")


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run as its rows will name it.

    Attributes:
      training: how it is trained.
      config: its configuration, of the size that is asked for.
      model: its net, with ten classes; rows do not depend on their number.
      identity: what a row says of it.
      size: of the study.
    """

    training: Training
    config: Any
    model: Net
    identity: Identity
    size: Size

    @classmethod
    def of(cls, training: Training, size: Size) -> "PlannedRun":
        """Builds the net, which costs little, and nothing else."""
        config = training.config(size.changes(training))
        model = experiments.model(config, classes=10)
        says = run_identity(training.name, config, model, config.epochs)
        return cls(training, config, model, says, size)


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Accuracy under one attack and protocol, at some epsilons.

    Attributes:
      protocol: "sound", "published" or "switched".
      attack: by name.
      eps: in the protocol's own unit.
      switches: of "switched", those that stand as published.
      n: test images; 0: as many as the size has of this attack.
      first_seed: measure seed 0 alone.
    """

    protocol: str
    attack: str
    eps: tuple[float, ...] = (0.0,)
    switches: tuple[str, ...] = ()
    n: int = 0
    first_seed: bool = False

    def attacking(self, subject: PlannedRun) -> Attack | PublishedAttack:
        """The attack on that run's net."""
        if self.protocol == "sound":
            if self.attack == "autoattack":
                return Attack("autoattack", **subject.size.autoattack)
            if self.attack == "pgd":
                steps, n_restarts = subject.size.steps, subject.size.n_restarts
                return Attack("pgd", steps=steps, n_restarts=n_restarts)
            return Attack(self.attack)
        switches = None if self.protocol == "published" else self.switches
        call = subject.config, self.attack, False, switches, subject.size.steps
        return PublishedAttack.of_config(*call, n_restarts=subject.size.n_restarts)

    def radii(self, subject: PlannedRun) -> list[Radius]:
        """The epsilons, in the order in which they are measured."""
        eps = subject.size.some(self.eps)
        if self.protocol == "sound":
            return list(map(Radius.of, eps))
        attack = self.attacking(subject)
        return [attack.radius(x) for x in eps]  # pyright: ignore

    def identities(self, subject: PlannedRun, seed: int) -> list[Identity]:
        """One an epsilon; none of a seed that is not measured."""
        if self.first_seed and seed != 0:
            return []
        attack, radii = self.attacking(subject), self.radii(subject)
        n, found = self._images(subject.size), []
        for index, radius in enumerate(radii):
            says = measurement.identity(
                subject.identity, attack, "linf", radius, n, seed
            )
            if isinstance(attack, PublishedAttack):
                says = with_series(says, attack, radii[: index + 1])
            found.append(says)
        return found

    def take(self, run: Run, store: Results, subject: PlannedRun, console) -> Parts:
        """Measures it, of all seeds of the run: an epsilon, and another if asked."""
        attack, radii = self.attacking(subject), self.radii(subject)
        n = self._images(subject.size)
        if isinstance(attack, PublishedAttack):
            carries = attack.protocol.batch_norm == "moved"
            for some in [radii] if carries else [[radius] for radius in radii]:
                yield measure_published(run, store, attack, some, n, console)
            return
        for radius in radii:
            call = run, store, attack, "linf", [radius], n
            size = subject.size.batch_autoattack if attack.host_driven else 250
            yield evaluation.measure(*call, size, console=console)

    def command(self, folder: str, size: Size) -> str:
        """What measures it of a run in `folder`."""
        asked = f"--attack {self.attack} --n {self._images(size)}"
        parts = [f"python evaluate.py --run {folder} {asked}"]
        if self.attack != "none":
            radii = [format_eps(x) for x in size.some(self.eps)]
            parts.append(f"--eps {','.join(radii)}")
        if self.protocol != "sound":
            parts.append("--protocol published")
        if self.protocol == "switched":
            parts.append(f'--switches "{",".join(self.switches) or "none"}"')
        if self.protocol != "published" and self.attack == "pgd":
            parts.append(f"--n_restarts {size.n_restarts}")
        if self.attack == "pgd" and size.steps != STEPS["pgd"]:
            parts.append(f"--steps {size.steps}")
        if self.attack == "autoattack":
            parts += [f"--{name} {value}" for name, value in size.autoattack.items()]
        return " ".join(parts)

    def gradients(self, size: Size) -> float:
        """About how many gradients by an image one seed takes."""
        pgd = size.steps * (size.n_restarts if self.protocol == "sound" else 1)
        dear = {"none": FORWARD, "fgsm": 1.0, "pgd": pgd, "autoattack": AUTOATTACK}
        return dear[self.attack] * self._images(size) * len(size.some(self.eps))

    def _images(self, size: Size) -> int:
        most = size.n_autoattack if self.attack == "autoattack" else size.n
        return min(self.n or most, most)


@dataclasses.dataclass(frozen=True)
class Corrupted(Accuracy):
    """The same on corrupted images, made with seed 0."""

    def attacking(self, subject: PlannedRun) -> Attack | PublishedAttack:
        if self.protocol == "sound":
            return super().attacking(subject)
        call = subject.config, self.attack, True
        return PublishedAttack.of_config(*call, steps=subject.size.steps)

    def identities(self, subject: PlannedRun, seed: int) -> list[Identity]:
        if self.first_seed and seed != 0:
            return []
        size, images = subject.size, corruption.GeneratedCorruptions()
        attack, n = self.attacking(subject), self._images(size)
        return [
            measurement.identity(subject.identity, attack, "linf", radius, n, seed)
            | corruption.identity(name, severity, images)
            for name in size.corruptions
            for severity in size.severities
            for radius in self.radii(subject)
        ]

    def take(self, run: Run, store: Results, subject: PlannedRun, console) -> Parts:
        size, attack = subject.size, self.attacking(subject)
        for name in size.corruptions:
            yield corruption.measure(
                run,
                store,
                attack,
                "linf",
                self.radii(subject),
                corruption.GeneratedCorruptions(),
                self._images(size),
                [name],
                size.severities,
                console=console,
            )

    def command(self, folder: str, size: Size) -> str:
        whole = super().command(folder, size)
        return f"{whole} --metric corruption --corruptions made"

    def gradients(self, size: Size) -> float:
        cells = len(size.corruptions) * len(size.severities)
        return cells * super().gradients(size)

    def _images(self, size: Size) -> int:
        return min(self.n or size.n_corrupted, size.n_corrupted)


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """Figure 5; and soundly: fed as trained, several draws, levels in their order."""

    metric: str
    protocol: str = "sound"
    attack: str = "none"

    def _figures(self) -> list[base.Metric]:
        found = tolerance.build()
        return [each for each in found if each.identity["metric"] == self.metric]

    def identities(self, subject: PlannedRun, seed: int) -> list[Identity]:
        """One."""
        n = subject.size.n_tolerance
        figures = self._figures()
        return [base.identity_of(subject.identity, each, n, seed) for each in figures]

    def take(self, run: Run, store: Results, subject: PlannedRun, console) -> Parts:
        """Measures it, of all seeds of the run."""
        n = subject.size.n_tolerance
        yield base.measure(run, store, self._figures(), n, console)
        for index, seed in enumerate(run.seeds):
            diverged = run.diverged[index]
            for cell in self.identities(subject, seed) if diverged else ():
                if cell_id(cell) not in store.rows:  # or it would always be missing
                    store.add(
                        cell, None, {}, {"diverged": True}, run_provenance(run, index)
                    )

    def gradients(self, size: Size) -> float:
        """About how many gradients by an image one seed takes."""
        return FORWARD * TOLERANCE * size.n_tolerance

    def command(self, folder: str, size: Size) -> str:
        """What measures it of a run in `folder`."""
        asked = f'--metric tolerance --only "{self.metric}" --n {size.n_tolerance}'
        return f"python evaluate.py --run {folder} {asked}"


@dataclasses.dataclass(frozen=True)
class Audit:
    """Every sanity check of seed 0's net and of PGD, under one protocol."""

    protocol: str
    attack: str = "pgd"

    def identities(self, subject: PlannedRun, seed: int) -> list[Identity]:
        """One a check, of seed 0."""
        if seed != 0:
            return []
        names = list(subject.size.audit.get("only", sanity.CHECKS))
        own = Accuracy(self.protocol, "pgd", (AUDITED,))
        call = subject.identity, own.attacking(subject), "linf", own.radii(subject)[0]
        says = measurement.identity(*call, subject.size.n_audit, seed)
        return audit_identities(says, self.protocol, names)

    def take(self, run: Run, store: Results, subject: PlannedRun, console) -> Parts:
        """Audits the first seed, if it is seed 0."""
        cells = self.identities(subject, run.seeds[0])
        yield record(
            run,
            store,
            cells,
            self.protocol,
            AUDITED,
            subject.size.n_audit,
            n_restarts=subject.size.n_restarts,
            steps=subject.size.steps,
            **subject.size.audit,
        )

    def gradients(self, size: Size) -> float:
        """About how many gradients by an image the first seed takes."""
        return AUDIT * size.n_audit

    def command(self, folder: str, size: Size) -> str:
        """What shows it of a run in `folder`."""
        asked = f"--audit --eps {AUDITED} --n {size.n_audit}"
        asked += (
            " --protocol published"
            if self.protocol == "published"
            else f" --n_restarts {size.n_restarts}"
        )
        return f"python evaluate.py --run {folder} {asked}"


FORWARD = 1 / 3  # of the cost of a gradient by an image
AUTOATTACK, TOLERANCE, AUDIT = 600, 100, 1000
"""Gradients (of tolerance: forward passes) for an image, about; for estimates."""
Measurement = Accuracy | Corrupted | Tolerance | Audit


def of_training(training: Training, size: Size) -> Iterator[Measurement]:
    """All that is measured of a run, in order: what answers the paper first.

    Args:
      training: the run.
      size: of the study. The reduced one has fewer epsilons, images and seeds, and
        measures more kinds of runs.
    """
    yield from _reduced(training) if size.reduced else _full(training)


def _full(training: Training) -> Iterator[Measurement]:
    radii = _published_radii(training.name) or TAKEN_APART
    moves = protocols.published(net_of(training)).batch_norm == "moved"
    published_radii = protocols.SERIES if moves else radii
    for attack in ("none", "fgsm", "pgd"):
        eps = (0.0,) if attack == "none" else published_radii
        yield Accuracy("published", attack, eps)
    if training.kind != SWITCHED:
        yield Audit("sound")
        yield Audit("published")
    sound = PIXELS if training.kind == CONTROLLED else radii
    for attack in ("none", "fgsm", "pgd"):
        yield Accuracy("sound", attack, (0.0,) if attack == "none" else sound)
    last = LAST_WORD if training.kind == CONTROLLED else TAKEN_APART
    yield Accuracy("sound", "autoattack", last)
    if training.name.startswith("cifar10-10-") and training.name.endswith("-published"):
        yield from taken_apart(training)
    if training.name in published.tolerances():
        yield from (Tolerance(metric) for metric in FIGURE_5)
    if any(cell.corruption for cell in _cells(training.name)):
        for attack in ("fgsm", "pgd"):
            yield Corrupted("published", attack, (0.01, 0.02, 0.03, 0.04))
        yield Corrupted("sound", "none")
        yield Corrupted("sound", "pgd", CORRUPTED_SOUND)


def _reduced(training: Training) -> Iterator[Measurement]:
    moves = protocols.published(net_of(training)).batch_norm == "moved"
    yield Accuracy("published", "none")
    # Where the attack moves the averages, FGSM and PGD are measured in one pass.
    yield Accuracy("published", "fgsm", TAKEN_APART if moves else REDUCED_RADII)
    yield Accuracy("published", "pgd", TAKEN_APART)
    yield Accuracy("sound", "none")
    yield Accuracy("sound", "fgsm", tuple(sorted((*PIXELS, *REDUCED_RADII))))
    yield Accuracy("sound", "pgd", REDUCED_PIXELS)
    yield Accuracy("sound", "autoattack", REDUCED_PIXELS, first_seed=True)
    if training.kind == PUBLISHED and training.changes["dataset.name"] == "cifar10":
        for each in taken_apart(training, ends=True):
            yield dataclasses.replace(each, n=REDUCED_FEW, first_seed=True)
        yield from (Tolerance(metric) for metric in FIGURE_5)
        names = [published.run("cifar10", 10, net) for net in published.TABLE_1_NETS]
        if training.name.replace("-4-", "-10-") in names:
            yield Corrupted("sound", "none")
            yield Corrupted("published", "fgsm", CORRUPTED_SOUND)
            if training.name in names:
                few = {"n": REDUCED_FEWER, "first_seed": True}
                yield Corrupted("published", "pgd", CORRUPTED_SOUND, **few)
    yield Audit("sound")
    yield Audit("published")


def taken_apart(training: Training, ends: bool = False) -> Iterator[Accuracy]:
    """Every switch by itself, and one more at a time.

    Args:
      training: the run.
      ends: also no switch and all of them, where these are not measured otherwise.
    """
    end = protocols.published(net_of(training))
    for attack in ("fgsm", "pgd"):
        names = protocols.differing(SOUND, end, attack)
        alone = [(name,) for name in names]
        together = [tuple(names[:count]) for count in range(2, len(names) + ends)]
        for switches in (*([()] if ends else []), *alone, *together):
            yield Accuracy("switched", attack, TAKEN_APART, switches)


def net_of(training: Training) -> str:
    """The net of the paper that a run trains."""
    return str(training.config().model.name)


def _published_radii(name: str) -> tuple[float, ...]:
    return tuple(sorted({cell.eps for cell in _cells(name) if not cell.corruption}))


def _cells(name: str) -> Sequence[published.Cell]:
    return [cell for cell in published.cells() if cell.training == name]
