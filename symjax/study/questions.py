"""What each claim of the paper asks of the rows, under one protocol.

    finding = nets_above(("parallel_rs",), ("baseline",))(evidence, "sound")

Each is a `judging.Judge`, or makes one.
"""

from typing import Any

import numpy as np

from symjax.statistics import paired_difference
from symjax.study import published
from symjax.study.attribution import curves, deviations
from symjax.study.evidence import Evidence
from symjax.study.judging import (
    FLOOR,
    Finding,
    Judge,
    above,
    below,
    every,
    missing,
    not_below,
)
from symjax.study.tables import table_1_means
from symjax.study.trainings import DATASETS

TEN, FOUR, BOTH = (10,), (4,), (10, 4)
SYMMETRIC = ("parallel_rot", "parallel_rs", "cascaded", "weighted")


def _runs(nets, depths, datasets=DATASETS) -> list[list[str]]:
    """Names of runs, a list a data set and depth."""
    return [
        [published.run(dataset, depth, net) for net in nets]
        for dataset in datasets
        for depth in depths
    ]


def nets_above(winners, losers, depths=BOTH, datasets=DATASETS) -> Judge:
    """Every winner above every loser, on each data set and depth by itself."""

    def judge(evidence: Evidence, protocol: str) -> Finding:
        pairs = zip(
            _runs(winners, depths, datasets),
            _runs(losers, depths, datasets),
            strict=True,
        )
        return every(*(above(evidence, protocol, a, b) for a, b in pairs))

    return judge


def controlled_above(winners, losers) -> Judge:
    """The same on the matched trunk, where the nets differ in their first layer alone;
    under the published protocol, that of each net."""

    def judge(evidence: Evidence, protocol: str) -> Finding:
        ours, theirs = (
            [f"cifar10-10-{x}-matched" for x in nets] for nets in (winners, losers)
        )
        return above(evidence, protocol, ours, theirs)

    return judge


def clean_above(winners, losers) -> Judge:
    def judge(evidence: Evidence, protocol: str) -> Finding:
        pairs = zip(_runs(winners, BOTH), _runs(losers, BOTH), strict=True)
        parts = [above(evidence, protocol, a, b, ["none"], [0.0]) for a, b in pairs]
        return every(*parts)

    return judge


def deeper(evidence: Evidence, protocol: str) -> Finding:
    pairs = [
        [[published.run(dataset, depth, "equivariant")] for depth in (10, 4)]
        for dataset in DATASETS
    ]
    return every(*(above(evidence, protocol, a, b) for a, b in pairs))


def limited(evidence: Evidence, protocol: str) -> Finding:
    names = [published.run(x, 10, net) for x in DATASETS for net in SYMMETRIC[2:]]
    return every(
        below(evidence, protocol, names, "fgsm", 0.15, 15),
        below(evidence, protocol, names, "pgd", 0.15, 1),
    )


def ablation(winners, losers) -> Judge:
    def judge(evidence: Evidence, protocol: str) -> Finding:
        names = [
            [published.run("cifar100", 10, x) for x in n] for n in (winners, losers)
        ]
        eps = tuple(published.numbers()["figure6_ablation"]["eps"])
        return above(evidence, protocol, *names, radii=eps)

    return judge


TRAINED = "cifar10-10-baseline-published-pgd"
EQUIVARIANT = published.run("cifar10", 10, "equivariant")


def superior_to_training(evidence: Evidence, protocol: str) -> Finding:
    names = [EQUIVARIANT], [TRAINED]
    return above(evidence, protocol, *names, ["fgsm"], _table_4_radii())


def not_below_training(evidence: Evidence, protocol: str) -> Finding:
    names = [EQUIVARIANT], [TRAINED]
    return not_below(evidence, protocol, *names, ["pgd"], _table_4_radii())


def _table_4_radii() -> tuple[float, ...]:
    return tuple(published.numbers()["table4_adversarial_training"]["eps"])


def compounding(evidence: Evidence, protocol: str) -> Finding:
    """Full equivariance against the first layer alone, on one trunk's size."""
    full, readout = (f"cifar10-10-equivariant-matched{x}" for x in ("", "-flatten"))
    first = ["cifar10-10-parallel_rot-matched", "cifar10-10-baseline-matched"]
    return above(evidence, protocol, [full, readout], first)


def augmentation(evidence: Evidence, protocol: str) -> Finding:
    rot = ["cifar10-10-parallel_rot-matched"]
    names = ["cifar10-10-baseline-matched-turned", "cifar10-10-baseline-matched-fgsm"]
    return not_below(evidence, protocol, rot, names)


def weighted(evidence: Evidence, protocol: str) -> Finding:
    """Not below concatenation on clean data, and below it when attacked."""
    parts = []
    for ours, theirs in zip(
        _runs(["weighted"], BOTH), _runs(["parallel_rs"], BOTH), strict=True
    ):
        parts.append(not_below(evidence, protocol, ours, theirs, ["none"], [0.0]))
        parts.append(above(evidence, protocol, theirs, ours))
    return every(*parts)


def corruption(better, worse) -> Judge:
    def judge(evidence: Evidence, protocol: str) -> Finding:
        means = {
            net: table_1_means(evidence, net, protocol) for net in (*better, *worse)
        }
        lost = [
            published.run("cifar10", 10, net) for net in means if means[net] is None
        ]
        if lost:
            return missing(lost)
        found: Any = means
        least = np.min([found[net] for net in better], axis=0)
        most = np.max([found[net] for net in worse], axis=0)
        some = np.maximum(least, most) >= FLOOR
        count, total = int(np.sum((least > most) & some)), int(some.sum())
        text = f"means are larger in {count} of {total} corruptions and columns"
        return Finding(count > total / 2 if total else None, text)

    return judge


def on_all(evidence: Evidence, protocol: str) -> Finding:
    """CIFAR-10, CIFAR-100 and CIFAR-10-C."""
    nets = [corruption([net], ["baseline"]) for net in SYMMETRIC]
    clean = nets_above(SYMMETRIC, ("baseline",))
    return every(*(judge(evidence, protocol) for judge in (clean, *nets)))


def spread(evidence: Evidence, protocol: str) -> Finding:
    values = deviations(evidence, protocol)
    lost = [
        name
        for name in curves()
        for attack in ("fgsm", "pgd")
        if not evidence.complete(name, protocol, attack)
    ]
    if len(values) and values.max() >= 1:
        text = f"{values.max():.2f} points at most, of {len(values)} cells"
        return Finding(False, text)
    if lost:
        return missing(list(dict.fromkeys(lost)))
    text = f"{values.mean():.2f} points on average, {values.max():.2f} at most"
    return Finding(bool(values.mean() < 0.8), text)


def tolerance(evidence: Evidence, protocol: str) -> Finding:
    """As published; and soundly: fed as trained, several draws, levels in order."""
    place = 0 if protocol == "published" else 1
    values = {name: evidence.tolerated(name, place) for name in published.tolerances()}
    lost = [name for name, found in values.items() if found is None]
    if lost:
        return missing(lost)
    base, ours = (np.asarray(found) for found in values.values())
    gap = paired_difference(ours, base)
    text = (
        f"mean tolerance {base.mean():.3f} of the baseline, {ours.mean():.3f} of rot & "
        f"scale, difference {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
    )
    return Finding(True if gap.low > 0 else False if gap.high < 0 else None, text)
