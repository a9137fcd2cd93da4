"""What is measured of each run, and the identities of its rows.

    planned = PlannedRun.of(training, size)
    for measurement in planned.measurements():
        measurement.identities(planned, seed)      # known before anything is trained
        for _ in measurement.measure(run, store, planned, console):
            ...                                    # a part of the rows is written

A run is measured under the protocol that was published for its net and under a sound
one; for some runs every difference of the two protocols is measured by itself.
"""

import dataclasses
from collections.abc import Container, Iterator
from typing import Any

from study import paper
from study.runs import (
    CONTROLLED,
    PUBLISHED,
    REPRODUCTION_TARGETS,
    SWITCHED,
    Size,
    Training,
)
from symjax import evaluation
from symjax.attacks import sanity
from symjax.evaluation import corruption, measurement
from symjax.evaluation import protocol as protocols
from symjax.evaluation._audit import identities as audit_identities
from symjax.evaluation._audit import record
from symjax.evaluation.attack import Attack
from symjax.evaluation.measurement import Radius, run_provenance
from symjax.evaluation.metrics import base, tolerance
from symjax.evaluation.protocol import SOUND
from symjax.evaluation.published import measure as measure_published
from symjax.evaluation.published import with_series
from symjax.evaluation.published_attack import PublishedAttack
from symjax.evaluation.results import Results
from symjax.evaluation.rows import Identity, cell_id
from symjax.evaluation.run import Run
from symjax.evaluation.run import identity as run_identity
from symjax.models import Net
from symjax.training import experiment as experiments

ATTACKS = ("fgsm", "pgd")
PIXEL_EPS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
"""Epsilons of the controlled comparison, in pixel units."""
AUTOATTACK_EPS = (1 / 255, 2 / 255, 8 / 255)
ABLATION_EPS = (0.01, 0.03)
"""Published epsilons at which the differences of the protocols are measured."""
AUDIT_EPS = 0.03
CORRUPTED_EPS = (0.01, 0.02, 0.03, 0.04)
SOUND_CORRUPTED_EPS = (0.01,)
REDUCED_EPS = (0.01, 0.03, 0.05, 0.10)
"""Published epsilons of FGSM in the reduced size; PGD has `ABLATION_EPS`."""
REDUCED_PIXEL_EPS = (2 / 255, 8 / 255)
"""Epsilons of the sound PGD and of AutoAttack in the reduced size, in pixel units."""
REDUCED_ABLATION_N = 200  # images
REDUCED_CORRUPTED_PGD_N = 100
TOLERANCES = {"published": "tolerance_removal_published", "sound": "tolerance_removal"}
"""The metric of Figure 5 under each protocol. The sound one normalizes the images as in
training, takes several draws, and looks at the levels in their order."""
FORWARD = 1 / 3  # of the cost of a gradient by an image
AUTOATTACK_COST, TOLERANCE_COST, AUDIT_COST = 600, 100, 1000
"""Gradients (of tolerance: forward passes) for an image, about; for estimates."""

Parts = Iterator[Any]


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Accuracy under one attack and protocol, at some epsilons.

    Attributes:
      protocol: "sound", "published" or "switched".
      attack: by name.
      eps: in the protocol's own unit.
      switches: of "switched", the differences that are as published.
      corrupted: on the images of Table 1 in place of the clean ones.
      n: test images; 0: as many as the size has of this attack.
      first_seed: measure only seed 0.
    """

    protocol: str
    attack: str
    eps: tuple[float, ...] = (0.0,)
    switches: tuple[str, ...] = ()
    corrupted: bool = False
    n: int = 0
    first_seed: bool = False

    def attack_on(self, planned: "PlannedRun") -> Attack | PublishedAttack:
        """The attack on that run's net."""
        size = planned.size
        if self.protocol != "sound":
            switches = self.switches if self.protocol == "switched" else None
            call = planned.config, self.attack, self.corrupted, switches, size.steps
            return PublishedAttack.of(*call, n_restarts=size.n_restarts)
        if self.attack == "autoattack":
            return Attack("autoattack", **size.autoattack)
        if self.attack == "pgd":
            return Attack("pgd", steps=size.steps, n_restarts=size.n_restarts)
        return Attack(self.attack)

    def radii(self, planned: "PlannedRun") -> list[Radius]:
        """The epsilons, in the order in which they are measured."""
        eps, attack = planned.size.some(self.eps), self.attack_on(planned)
        if isinstance(attack, PublishedAttack):
            return [attack.radius(x) for x in eps]
        return list(map(Radius.of, eps))

    def images(self, size: Size) -> int:
        """How many test images."""
        most = size.n_autoattack if self.attack == "autoattack" else size.n
        most = size.n_corrupted if self.corrupted else most
        return min(self.n or most, most)

    def identities(self, planned: "PlannedRun", seed: int) -> list[Identity]:
        """One for each corruption, severity and epsilon; none if the seed is not
        measured."""
        if self.first_seed and seed != 0:
            return []
        attack, radii, size = self.attack_on(planned), self.radii(planned), planned.size
        made, images = corruption.GeneratedCorruptions(), [{}]
        if self.corrupted:
            images = [
                corruption.identity(name, severity, made)
                for name in size.corruptions
                for severity in size.severities
            ]
        cells = []
        for index, radius in enumerate(radii):
            call = attack, "linf", radius, self.images(size), seed
            cell = measurement.identity(planned.identity, *call)
            if isinstance(attack, PublishedAttack):
                cell = with_series(cell, attack, radii[: index + 1])
            cells.append(cell)
        return [cell | image for image in images for cell in cells]

    def measure(
        self, run: Run, store: Results, planned: "PlannedRun", console
    ) -> Parts:
        """Measures all seeds of the run; after each part the caller may stop."""
        attack, radii, size = self.attack_on(planned), self.radii(planned), planned.size
        n = self.images(size)
        if self.corrupted:
            made = corruption.GeneratedCorruptions()
            for name in size.corruptions:
                call = run, store, attack, "linf", radii, made, n, [name]
                yield corruption.measure(*call, size.severities, console=console)
        elif isinstance(attack, PublishedAttack):
            carries = attack.protocol.batch_norm == "moved"
            for some in [radii] if carries else [[radius] for radius in radii]:
                yield measure_published(run, store, attack, some, n, console)
        else:
            batch = size.batch_autoattack if attack.host_driven else 250
            for radius in radii:
                call = run, store, attack, "linf", [radius], n, batch
                yield evaluation.measure(*call, console=console)

    def gradients(self, size: Size) -> float:
        """About how many gradients by an image one seed takes."""
        pgd = size.steps * (size.n_restarts if self.protocol == "sound" else 1)
        of = {"none": FORWARD, "fgsm": 1.0, "pgd": pgd, "autoattack": AUTOATTACK_COST}
        count = of[self.attack] * self.images(size) * len(size.some(self.eps))
        if self.corrupted:
            count *= len(size.corruptions) * len(size.severities)
        return count


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How many values of an image may be removed (Figure 5)."""

    protocol: str
    attack: str = "none"

    def _metrics(self) -> list[base.Metric]:
        wanted = TOLERANCES[self.protocol]
        return [x for x in tolerance.build() if x.identity["metric"] == wanted]

    def identities(self, planned: "PlannedRun", seed: int) -> list[Identity]:
        """One."""
        call = self._metrics()[0], planned.size.n_tolerance, seed
        return [base.identity_of(planned.identity, *call)]

    def measure(
        self, run: Run, store: Results, planned: "PlannedRun", console
    ) -> Parts:
        """Measures all seeds of the run."""
        n = planned.size.n_tolerance
        yield base.measure(run, store, self._metrics(), n, console)
        for index, seed in enumerate(run.seeds):
            for cell in self.identities(planned, seed) if run.diverged[index] else ():
                if cell_id(cell) not in store.rows:  # or it would always be missing
                    where = run_provenance(run, index)
                    store.add(cell, None, {}, {"diverged": True}, where)

    def gradients(self, size: Size) -> float:
        """About how many gradients by an image one seed takes."""
        return FORWARD * TOLERANCE_COST * size.n_tolerance


@dataclasses.dataclass(frozen=True)
class Audit:
    """Every sanity check of seed 0's net and of PGD, under one protocol."""

    protocol: str
    attack: str = "pgd"

    def identities(self, planned: "PlannedRun", seed: int) -> list[Identity]:
        """One per check, of seed 0."""
        if seed != 0:
            return []
        names = list(planned.size.audit.get("only", sanity.CHECKS))
        audited = Accuracy(self.protocol, "pgd", (AUDIT_EPS,))
        call = audited.attack_on(planned), "linf", audited.radii(planned)[0]
        cell = measurement.identity(planned.identity, *call, planned.size.n_audit, seed)
        return audit_identities(cell, self.protocol, names)

    def measure(
        self, run: Run, store: Results, planned: "PlannedRun", console
    ) -> Parts:
        """Audits the first seed, if it is seed 0."""
        size = planned.size
        cells = self.identities(planned, run.seeds[0])
        call = run, store, cells, self.protocol, AUDIT_EPS, size.n_audit
        yield record(*call, n_restarts=size.n_restarts, steps=size.steps, **size.audit)

    def gradients(self, size: Size) -> float:
        """About how many gradients by an image the first seed takes."""
        return AUDIT_COST * size.n_audit


Measurement = Accuracy | Tolerance | Audit


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run as its rows will name it.

    Attributes:
      training: how it is trained.
      config: its configuration at that size.
      model: its net, with ten classes; rows do not depend on their number.
      identity: the entries of the run in the identity of a row.
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
        config = training.config(size.override_of(training))
        model = experiments.model(config, classes=10)
        of_run = run_identity(training.name, config, model, config.epochs)
        return cls(training, config, model, of_run, size)

    @property
    def seeds(self) -> range:
        """The seeds that are trained."""
        return range(self.size.seeds_of(self.training))

    def measurements(self) -> Iterator[Measurement]:
        """All that is measured of the run, see `measurements`."""
        return measurements(self.training, self.size)

    def cells(self, measurement: Measurement, seed: int) -> list[str]:
        """Cell ids of the rows of a measurement."""
        return [cell_id(each) for each in measurement.identities(self, seed)]

    def missing(self, seed: int, measured: Container[str]) -> list[Measurement]:
        """The measurements of a seed with a cell that is not measured, in order."""
        return [
            each
            for each in self.measurements()
            if not all(cell in measured for cell in self.cells(each, seed))
        ]


def measurements(training: Training, size: Size) -> Iterator[Measurement]:
    """All that is measured of a run, in order: what answers the paper first.

    Args:
      training: the run.
      size: of the study. The reduced one has fewer epsilons, images and seeds, and
        measures more kinds of runs.
    """
    yield from _reduced(training) if size.reduced else _full(training)


def _full(training: Training) -> Iterator[Measurement]:
    cells = paper.cells()
    cells = cells[cells["run"] == training.name]
    corrupted = cells["corruption"] != ""
    radii = tuple(sorted(set(cells[~corrupted]["eps"]))) or ABLATION_EPS
    carries = protocols.published(training.net).batch_norm == "moved"
    published_eps = protocols.SERIES if carries else radii
    for attack in ("none", *ATTACKS):
        eps = (0.0,) if attack == "none" else published_eps
        yield Accuracy("published", attack, eps)
    if training.kind != SWITCHED:
        yield from map(Audit, ("sound", "published"))
    is_controlled = training.kind == CONTROLLED
    sound = PIXEL_EPS if is_controlled else radii
    for attack in ("none", *ATTACKS):
        yield Accuracy("sound", attack, (0.0,) if attack == "none" else sound)
    eps = AUTOATTACK_EPS if is_controlled else ABLATION_EPS
    yield Accuracy("sound", "autoattack", eps)
    if training in REPRODUCTION_TARGETS:
        yield from protocol_ablation(training.net)
        if training.net in paper.tolerances():
            yield from map(Tolerance, TOLERANCES)
    if corrupted.any():
        for attack in ATTACKS:
            yield Accuracy("published", attack, CORRUPTED_EPS, corrupted=True)
        yield Accuracy("sound", "none", corrupted=True)
        yield Accuracy("sound", "pgd", SOUND_CORRUPTED_EPS, corrupted=True)


def _reduced(training: Training) -> Iterator[Measurement]:
    carries = protocols.published(training.net).batch_norm == "moved"
    yield Accuracy("published", "none")
    # Where the attack moves the averages, FGSM and PGD are measured in one pass.
    yield Accuracy("published", "fgsm", ABLATION_EPS if carries else REDUCED_EPS)
    yield Accuracy("published", "pgd", ABLATION_EPS)
    yield Accuracy("sound", "none")
    yield Accuracy("sound", "fgsm", tuple(sorted((*PIXEL_EPS, *REDUCED_EPS))))
    yield Accuracy("sound", "pgd", REDUCED_PIXEL_EPS)
    yield Accuracy("sound", "autoattack", REDUCED_PIXEL_EPS, first_seed=True)
    if training.kind == PUBLISHED and training.dataset == "cifar10":
        for each in protocol_ablation(training.net, ends=True):
            yield dataclasses.replace(each, n=REDUCED_ABLATION_N, first_seed=True)
        yield from map(Tolerance, TOLERANCES)
        if training.net in paper.table_1_nets() and not training.variant:
            yield Accuracy("sound", "none", corrupted=True)
            eps = SOUND_CORRUPTED_EPS
            yield Accuracy("published", "fgsm", eps, corrupted=True)
            if training.depth == 10:
                few = {"n": REDUCED_CORRUPTED_PGD_N, "first_seed": True}
                yield Accuracy("published", "pgd", eps, corrupted=True, **few)
    yield from map(Audit, ("sound", "published"))


def protocol_ablation(net: str, ends: bool = False) -> Iterator[Accuracy]:
    """Every difference of the protocols by itself, and one more at a time.

    Args:
      net: whose published protocol it is.
      ends: also no difference and all of them, if these are not measured otherwise.
    """
    end = protocols.published(net)
    for attack in ATTACKS:
        names = protocols.differing(SOUND, end, attack)
        single = [(name,) for name in names]
        cumulative = [tuple(names[:x]) for x in range(2, len(names) + ends)]
        for switches in (*([()] if ends else []), *single, *cumulative):
            yield Accuracy("switched", attack, ABLATION_EPS, switches)
