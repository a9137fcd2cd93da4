"""Where the published numbers come from, and nets that differ in one thing alone.

for table in tables(Evidence(Path("results/study"))):
    table.name, table.columns, table.rows
"""

from collections.abc import Iterator

import numpy as np

from symjax.evaluation import protocol as protocols
from symjax.evaluation.protocol import SOUND
from symjax.report.parts import Cell, Table
from symjax.study import published
from symjax.study.evidence import Evidence
from symjax.study.measurements import LAST_WORD, PIXELS, TAKEN_APART, net_of
from symjax.study.tables import ATTACKS, NAMES, OURS, RUN, TO_MEET, clean, mean, text
from symjax.study.trainings import (
    CONTROLLED,
    PUBLISHED,
    SWITCHED,
    TRAININGS,
    Training,
)


def tables(evidence: Evidence) -> list[Table]:
    """All of them."""
    return [
        in_turn(evidence),
        alone(evidence),
        trained(evidence),
        controlled(evidence),
        spread(evidence),
    ]


def in_turn(evidence: Evidence) -> Table:
    """How many points of each published number come from which difference."""
    names = list(protocols.SWITCHES)
    columns = ["net", "attack", "epsilon", "sound", *names]
    columns += ["published protocol", "published"]
    rows: list[list[Cell]] = []
    for net, run, attack, eps in _taken_apart():
        path = steps(evidence, run, attack, eps)
        change = dict.fromkeys(names)
        ends: list[Cell] = [None, None]
        if path:
            ends = [path[0][1], path[-1][1]]
            for (_, before), (name, after) in zip(path[:-1], path[1:], strict=True):
                if before is not None and after is not None:
                    change[name] = after - before
        printed = evidence.published(run, attack, eps)
        rows.append([net, attack, eps, ends[0], *change.values(), ends[1], printed])
    caption = (
        "Accuracy in % at both ends and the points that each difference adds when the "
        "protocol's differences are turned on one after another, in the order of the "
        "columns, on the same checkpoints; the points add up. A dash: not measured, or "
        "no difference for that net and attack."
    )
    return Table(
        "Attribution: differences of the evaluation, in turn",
        columns,
        rows,
        caption,
        RUN,
    )


def alone(evidence: Evidence) -> Table:
    """Each difference by itself."""
    names = list(protocols.SWITCHES)
    rows: list[list[Cell]] = []
    for net, run, attack, eps in _taken_apart():
        sound = mean(evidence.line(run, "sound", attack), eps)
        change: dict[str, Cell] = dict.fromkeys(names)
        for name in protocols.differing(SOUND, protocols.published(net), attack):
            value = mean(evidence.line(run, "switched", attack, [name]), eps)
            if value is not None and sound is not None:
                change[name] = value - sound
        rows.append([net, attack, eps, sound, *change.values()])
    caption = (
        "Points that each difference adds to the sound accuracy when it alone is "
        "turned on. They need not add up."
    )
    columns = ["net", "attack", "epsilon", "sound", *names]
    return Table("Attribution: each difference by itself", columns, rows, caption, RUN)


def _taken_apart() -> Iterator[tuple[str, str, str, float]]:
    for run in TO_MEET:
        for attack in ATTACKS:
            for eps in TAKEN_APART:
                yield net_of(TRAININGS[run]), run, attack, eps


def steps(
    evidence: Evidence, run: str, attack: str, eps: float
) -> list[tuple[str, float | None]]:
    """From sound to published: each switch, and the accuracy with it and all before."""
    names = protocols.differing(
        SOUND, protocols.published(net_of(TRAININGS[run])), attack
    )
    path = [("sound", mean(evidence.line(run, "sound", attack), eps))]
    for count, name in enumerate(names, 1):
        line = (
            evidence.line(run, "published", attack)
            if count == len(names)
            else evidence.line(run, "switched", attack, names[:count])
        )
        path.append((name, mean(line, eps)))
    return path


def trained(evidence: Evidence) -> Table:
    """Differences of the training: runs of their own, under the published protocol."""
    columns = ["net", "training", "clean"]
    columns += [f"{a.upper()} {x:g}" for x in TAKEN_APART for a in ATTACKS]
    columns += [f"sound {a.upper()} {x:g}" for x in TAKEN_APART for a in ATTACKS]
    rows: list[list[Cell]] = []
    for net in NAMES:
        for training in _trainings_of(net):
            cells = [clean(evidence, training.name, "published")]
            for protocol in ("published", "sound"):
                cells += [
                    text(evidence.line(training.name, protocol, attack), x)
                    for x in TAKEN_APART
                    for attack in ATTACKS
                ]
            rows.append([net, says(training), *cells])
    caption = (
        "CIFAR-10, 10 layers. Accuracy in % under the net's published protocol and "
        "under the sound one, after the published training and with one thing changed."
    )
    return Table("Attribution: differences of training", columns, rows, caption, RUN)


def _trainings_of(net: str) -> list[Training]:
    found = [
        training
        for training in TRAININGS.values()
        if training.name.startswith("cifar10-10-")
        and training.kind in (PUBLISHED, SWITCHED, CONTROLLED)
        and training.name.split("-")[2] == net
        and not training.name.endswith("-pgd")
    ]
    order = (PUBLISHED, SWITCHED, CONTROLLED)
    return sorted(found, key=lambda training: order.index(training.kind))


def says(training: Training) -> str:
    """A training in words."""
    if training.kind == PUBLISHED:
        return training.note or "as published"
    if training.kind == SWITCHED:
        return f"as published, but {training.note}"
    return "matched trunk, trained alike" + (
        f", {training.note}" if training.note else ""
    )


def controlled(evidence: Evidence) -> Table:
    """Nets that differ in one thing alone, against the baseline."""
    columns = ["net", "training", "clean"]
    columns += [f"{a.upper()} {_of_255(x)}" for a in ATTACKS for x in PIXELS]
    columns += [f"AutoAttack {_of_255(x)}" for x in LAST_WORD]
    columns += [f"PGD {_of_255(x)}, less the baseline" for x in PIXELS]
    base = "cifar10-10-baseline-matched"
    rows: list[list[Cell]] = []
    for training in TRAININGS.values():
        if training.kind != CONTROLLED:
            continue
        name = training.name
        cells: list[Cell] = [clean(evidence, name, "sound")]
        for attack in ATTACKS:
            line = evidence.line(name, "sound", attack)
            cells += [text(line, x) for x in PIXELS]
        last = evidence.line(name, "sound", "autoattack")
        cells += [text(last, x) for x in LAST_WORD]
        cells += [_difference(evidence, name, base, x) for x in PIXELS]
        rows.append([net_of(training), training.note or "clean", *cells])
    caption = (
        "CIFAR-10, 10 layers, matched trunk, parameters within 5 %, trained alike: 200 "
        "epochs, constant rate. Sound protocol, epsilons in pixels; 10,000 images, of "
        "AutoAttack 1,000. Differences in points with their 95 % interval, images and "
        "seeds redrawn."
    )
    return Table("Controlled comparison", columns, rows, caption, RUN)


def _difference(evidence: Evidence, ours: str, theirs: str, eps: float) -> str | None:
    if ours == theirs:
        return None
    found = evidence.difference(ours, theirs, "sound", "pgd", eps)
    if found is None:
        return None
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def _of_255(eps: float) -> str:
    return f"{round(255 * eps)}/255"


def spread(evidence: Evidence) -> Table:
    """Standard deviations over the seeds, of which the checklist speaks."""
    rows: list[list[Cell]] = []
    for protocol in OURS:
        values = deviations(evidence, protocol)
        line: list[Cell] = [protocol, len(values), None, None, None]
        if len(values):
            line[2:] = [values.mean(), values.max(), 100 * float((values < 1).mean())]
        rows.append(line)
    columns = ["protocol", "cells", "mean sd", "largest sd", "below 1 point, %"]
    caption = (
        "Sample standard deviations over the seeds, in points, of all measured cells "
        "of Figures 1 and 2. The paper says: always below 1, 0.8 on average."
    )
    return Table("Spread over the seeds", columns, rows, caption, RUN)


def curves() -> list[str]:
    """The runs of Figures 1 and 2."""
    artefacts = ("figure 1", "figure 2")
    found = [x.training for x in published.cells() if x.artefact in artefacts]
    return list(dict.fromkeys(found))


def deviations(evidence: Evidence, protocol: str) -> np.ndarray:
    """Of every cell of Figures 1 and 2 that two seeds have, in points."""
    found = [
        line.sd[np.isfinite(line.values).sum(axis=0) > 1]
        for name in curves()
        for attack in ATTACKS
        if (line := evidence.line(name, protocol, attack)) is not None
    ]
    return np.concatenate(found)
