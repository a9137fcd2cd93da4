"""The paper's tables with ours beside them, and where the published numbers come from.

    for table in tables(StudyResults(Path("results/study"))):
        table.name, table.columns, table.rows

What is not measured is None, and shown as missing. Accuracies are in percent, mean ±
sample standard deviation over the seeds.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from study import paper
from study.paper import Frame
from study.plan import (
    ABLATION_EPS,
    ATTACKS,
    AUTOATTACK_EPS,
    PIXEL_EPS,
    SOUND_CORRUPTED_EPS,
)
from study.results import Curve, StudyResults
from study.runs import (
    CONTROLLED,
    DATASETS,
    KINDS,
    NETS,
    PUBLISHED,
    REPRODUCTION_TARGETS,
    SWITCHED,
    TRAININGS,
    Training,
    run_name,
)
from symjax.evaluation import protocol as protocols
from symjax.evaluation.protocol import SOUND
from symjax.formatting import format_eps
from symjax.report.parts import Cell, Table
from symjax.statistics import Estimate

READABLE, NEAR = 2.0, 4.0
"""Percent from which on a published number is compared; points it may be missed by."""
PROTOCOLS = ("published", "sound")
TABLE_1_NOTE = (
    "Table 1 does not name its attack; it is compared with PGD, which it very probably "
    "is (docs/study.md)."
)
SOUND_NOTE = (
    "Sound: the same number is a radius in pixel units of [0, 1]; valid pixels, "
    f"running averages, PGD-40, best iterate of {SOUND.n_restarts} random starts."
)
MATCHED_BASELINE = run_name("cifar10", 10, "baseline", "matched")


def command(results: StudyResults) -> str:
    """The command that measures what is missing."""
    return f"python -m study run --size {results.size.name}"


def tables(results: StudyResults) -> list[Table]:
    """All of them."""
    return [
        reproduction(results),
        table_1(results),
        table_1_sound(results),
        equivariant(results, "Table 2", "cifar10"),
        equivariant(results, "Table 3", "cifar100"),
        table_4(results),
        cumulative_ablation(results),
        single_switch_ablation(results),
        training_ablation(results),
        controlled(results),
        spread(results),
    ]


def reproduction(results: StudyResults) -> Table:
    """How near our numbers under the published protocol are to the published ones."""
    targets = [training.name for training in REPRODUCTION_TARGETS]
    cells = paper.cells()
    cells = cells.assign(corrupted=cells["corruption"] != "")
    rows: list[list[Cell]] = []
    for (corrupted, name), group in cells.groupby(["corrupted", "run"], sort=False):
        group = group[group["percent"] >= READABLE]
        gaps = [ours - cell.percent for cell in group.itertuples()
                if (ours := _ours(results, cell)) is not None]  # fmt: skip
        near = sum(abs(gap) <= NEAR for gap in gaps) if gaps else None
        worst = max(gaps, key=abs) if gaps else None
        required = "yes" if name in targets and not corrupted else ""
        label = f"{name}, CIFAR-10-C" if corrupted else str(name)
        rows.append([label, required, len(group), len(gaps), near, worst])
    rows.sort(key=lambda row: str(row[0]).endswith("CIFAR-10-C"))
    columns = ["run", "required", f"published, {READABLE:g} % or more", "measured"]
    columns += [f"within {NEAR:g} points", "largest difference, points"]
    caption = (
        "Cells of Figures 1, 2, 6 and Tables 1 to 4 under the published protocol, five "
        f"seeds. A difference is ours less the published mean. {TABLE_1_NOTE}"
    )
    name = "Published numbers, reproduced"
    return Table(name, columns, rows, caption, command(results))


def _ours(results: StudyResults, cell) -> float | None:
    """Our mean for a cell of the paper; None if a seed is missing."""
    if not cell.corruption:
        return results.mean(cell.run, "published", cell.attack, cell.eps)
    means = results.corrupted(cell.run, "published", cell.attack)
    return _entry(means, cell.corruption, cell.eps)


def _entry(means: Frame | None, line: str, eps: float) -> float | None:
    """One entry of a table of means by corruption and epsilon; None if it is NaN."""
    if means is None or line not in means.index or eps not in means.columns:
        return None
    value = float(means.loc[line, eps])
    return value if np.isfinite(value) else None


def _with_statistics(means: Frame | None) -> Frame | None:
    """With the mean and the standard deviation over the corruptions as further lines,
    NaN if a corruption is missing."""
    if means is None:
        return None
    statistics = {
        "mean": means.mean(skipna=False),
        "std": means.std(skipna=False),
    }
    return pd.concat([means, pd.DataFrame(statistics).T])


def table_1(results: StudyResults) -> Table:
    """CIFAR-10-C; the paper does not name the attack, which is very probably PGD."""
    printed = paper.numbers()["table1_cifar10c"]
    nets, radii = paper.table_1_nets(), printed["eps"]
    ours = {
        attack: {net: _with_statistics(_on_corruptions(results, net, attack))
                 for net in nets}
        for attack in ATTACKS
    }  # fmt: skip
    rows: list[list[Cell]] = []
    for name, of_net in printed["rows"].items():
        label = name.replace("_", " ")
        rows.append([label, "published", *(x for net in nets for x in of_net[net])])
        if name in ("mean", "std"):
            again = [x for net in nets for x in printed_statistic(net, name)]
            rows.append([label, "of the published rows", *again])
        for attack in ATTACKS:
            of_nets = ours[attack]
            values = [_entry(of_nets[net], name, eps) for net in nets for eps in radii]
            rows.append([label, f"ours, {attack}", *values])
    columns = ["corruption", ""]
    columns += [f"{NETS[net].label}, {eps:g}" for net in nets for eps in radii]
    caption = (
        "Accuracy in %, mean of the five severities and five seeds, published protocol "
        "(inputs in [0, 1] but for the baseline). Std is over the 19 corruptions. "
        f"Corruptions are made with seed 0. {TABLE_1_NOTE}"
    )
    return Table("Table 1: CIFAR-10-C", columns, rows, caption, command(results))


def _on_corruptions(results, net: str, attack: str, protocol: str = "published"):
    return results.corrupted(run_name("cifar10", 10, net), protocol, attack)


def printed_statistic(net: str, statistic: str) -> list[float]:
    """The last rows of the paper's Table 1, computed from its others, by epsilon."""
    rows = paper.numbers()["table1_cifar10c"]["rows"]
    values = np.array(
        [x[net] for name, x in rows.items() if name not in ("mean", "std")]
    )
    mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
    return (mean if statistic == "mean" else std).tolist()


def table_1_means(results: StudyResults, net: str, protocol: str) -> np.ndarray | None:
    """A net's accuracies on corruptions, means of severities and seeds: `[C, A, E]`, A
    the attacks; None if a row is missing.

    Args:
      results: the rows.
      net: a net of Table 1.
      protocol: "published", with PGD, as very probably published; or "sound", with
        none and PGD.
    """
    attacks = ("pgd",) if protocol == "published" else ("none", "pgd")
    means = [_on_corruptions(results, net, attack, protocol) for attack in attacks]
    arrays = [np.asarray(x, float) for x in means if x is not None]
    whole = len(arrays) == len(means) and all(np.isfinite(x).all() for x in arrays)
    return np.stack(arrays, axis=1) if whole else None


def table_1_sound(results: StudyResults) -> Table:
    """The same images under the sound protocol."""
    nets, (eps,) = paper.table_1_nets(), SOUND_CORRUPTED_EPS
    of_nets = [
        (_with_statistics(_on_corruptions(results, net, attack, "sound")), radius)
        for net in nets
        for attack, radius in (("none", 0.0), ("pgd", eps))
    ]
    rows: list[list[Cell]] = [
        [name.replace("_", " "), *(_entry(x, name, radius) for x, radius in of_nets)]
        for name in (*results.size.corruptions, "mean", "std")
    ]
    columns = ["corruption"]
    columns += [
        f"{NETS[x].label}, {y}" for x in nets for y in ("clean", f"PGD {eps:g}")
    ]
    caption = f"Accuracy in %, mean of five severities and five seeds. {SOUND_NOTE}"
    name = "CIFAR-10-C under the sound protocol"
    return Table(name, columns, rows, caption, command(results))


def equivariant(results: StudyResults, title: str, dataset: str) -> Table:
    """Tables 2 and 3: the fully equivariant nets."""
    eps = paper.numbers()["table2_3_fully_equivariant"]["eps"]
    runs = {
        f"{depth}-layer equivariant": run_name(dataset, depth, "equivariant")
        for depth in (4, 10)
    }
    name = f"{title}: fully equivariant nets, {DATASETS[dataset]}"
    return _in_columns(results, name, runs, eps, f"Accuracy in %. {SOUND_NOTE}")


def table_4(results: StudyResults) -> Table:
    """Adversarial training against the equivariant net."""
    runs = {
        "CNN + AT": run_name("cifar10", 10, "baseline", variant="pgd"),
        "G-CNN (no AT)": run_name("cifar10", 10, "equivariant"),
    }
    eps = paper.numbers()["table4_adversarial_training"]["eps"]
    note = (
        "Accuracy in %. The published epsilons are of two units: 0.01 is 1.3/255 for "
        f"the CNN and 0.5/255 for the G-CNN. {SOUND_NOTE}"
    )
    return _in_columns(results, "Table 4: adversarial training", runs, eps, note)


def _in_columns(
    results: StudyResults,
    name: str,
    runs: Mapping[str, str],
    radii: Sequence[float],
    note: str,
) -> Table:
    """A line for each net and protocol; columns epsilon and attack, as in the paper."""
    cells = list(itertools.product(radii, ATTACKS))
    columns = ["net", "", "clean", *(f"{a.upper()} {eps:g}" for eps, a in cells)]
    rows: list[list[Cell]] = []
    for label, run in runs.items():
        printed = [paper.percent(run, attack, eps) for eps, attack in cells]
        rows.append([label, "published", None, *printed])
        for protocol in PROTOCOLS:
            texts = [results.text(run, protocol, "none")]
            texts += [results.text(run, protocol, attack, eps) for eps, attack in cells]
            rows.append([label, f"ours, {protocol} protocol", *texts])
    return Table(name, columns, rows, note, command(results))


def ablation_curves(
    results: StudyResults, training: Training, attack: str
) -> tuple[list[str], list[Curve | None]]:
    """The differences of the protocols of a net, and the accuracies from the sound
    protocol to the published one: with no difference, with the first, and so on.

    Where the study has the two protocols on the images and seeds of the differences,
    as the reduced size has, these are the ends.
    """
    names = protocols.differing(SOUND, protocols.published(training.net), attack)
    curves = [
        results.curve(training.name, "switched", attack, tuple(names[:count]))
        for count in range(len(names) + 1)
    ]
    for place, protocol in ((0, "sound"), (-1, "published")):
        if curves[place] is None:
            curves[place] = results.curve(training.name, protocol, attack)
    return names, curves


def _ablated() -> Iterator[tuple[Training, str, float]]:
    yield from itertools.product(REPRODUCTION_TARGETS, ATTACKS, ABLATION_EPS)


def cumulative_ablation(results: StudyResults) -> Table:
    """How many points of each published number come from which difference."""
    rows: list[list[Cell]] = []
    for training, attack, eps in _ablated():
        names, curves = ablation_curves(results, training, attack)
        means = [curve and curve.mean(eps) for curve in curves]
        change: dict[str, Cell] = dict.fromkeys(protocols.SWITCHES)
        for name, before, after in zip(names, means[:-1], means[1:], strict=True):
            if before is not None and after is not None:
                change[name] = after - before
        printed = paper.percent(training.name, attack, eps)
        ends = means[-1], printed
        rows.append([training.net, attack, eps, means[0], *change.values(), *ends])
    columns = ["net", "attack", "epsilon", "sound", *protocols.SWITCHES]
    columns += ["published protocol", "published"]
    caption = (
        "Accuracy in % at both ends, and the points that each difference adds when the "
        "differences of the protocols are applied one after another, in the order of "
        "the columns, on the same checkpoints; the points add up. A dash: not "
        "measured, or no difference for that net and attack."
    )
    name = "Attribution: differences of the evaluation, cumulative"
    return Table(name, columns, rows, caption, command(results))


def single_switch_ablation(results: StudyResults) -> Table:
    """Each difference by itself."""
    rows: list[list[Cell]] = []
    for training, attack, eps in _ablated():
        names, (start, *_) = ablation_curves(results, training, attack)
        sound = start and start.mean(eps)
        change: dict[str, Cell] = dict.fromkeys(protocols.SWITCHES)
        for name in names:
            value = results.mean(training.name, "switched", attack, eps, (name,))
            if value is not None and sound is not None:
                change[name] = value - sound
        rows.append([training.net, attack, eps, sound, *change.values()])
    columns = ["net", "attack", "epsilon", "sound", *protocols.SWITCHES]
    caption = (
        "Points that each difference adds to the sound accuracy if it is the only one. "
        "They need not add up."
    )
    name = "Attribution: each difference by itself"
    return Table(name, columns, rows, caption, command(results))


def training_ablation(results: StudyResults) -> Table:
    """Differences of the training: runs of their own."""
    cells = list(itertools.product(ABLATION_EPS, ATTACKS))
    wanted = [
        training
        for training in TRAININGS.values()
        if (training.dataset, training.depth) == ("cifar10", 10)
        and training.variant != "pgd"
    ]
    wanted.sort(key=lambda x: (list(NETS).index(x.net), KINDS.index(x.kind)))
    rows: list[list[Cell]] = []
    for training in wanted:
        texts = [results.text(training.name, "published", "none")]
        texts += [
            results.text(training.name, protocol, attack, eps)
            for protocol in PROTOCOLS
            for eps, attack in cells
        ]
        rows.append([training.net, describe(training), *texts])
    columns = ["net", "training", "clean"]
    columns += [f"{attack.upper()} {eps:g}" for eps, attack in cells]
    columns += [f"sound {attack.upper()} {eps:g}" for eps, attack in cells]
    caption = (
        "CIFAR-10, 10 layers. Accuracy in % under the net's published protocol and "
        "under the sound one, after the published training and with one thing changed."
    )
    name = "Attribution: differences of training"
    return Table(name, columns, rows, caption, command(results))


def describe(training: Training) -> str:
    """A training in words."""
    if training.kind == PUBLISHED:
        return training.note or "as published"
    if training.kind == SWITCHED:
        return f"as published, but {training.note}"
    return ", ".join(filter(None, ["matched trunk, trained equally", training.note]))


def controlled(results: StudyResults) -> Table:
    """Nets that differ in one thing, against the baseline."""
    attacks = [(x, eps) for x in ATTACKS for eps in PIXEL_EPS]
    attacks += [("autoattack", eps) for eps in AUTOATTACK_EPS]
    rows: list[list[Cell]] = []
    for training in TRAININGS.values():
        if training.kind == CONTROLLED:
            name = training.name
            cells: list[Cell] = [results.text(name, "sound", "none")]
            cells += [results.text(name, "sound", *attack) for attack in attacks]
            cells += [
                interval_text(results.difference(name, MATCHED_BASELINE, *call))
                if name != MATCHED_BASELINE
                else None
                for call in itertools.product(["sound"], ["pgd"], PIXEL_EPS)
            ]
            rows.append([training.net, training.note or "clean", *cells])
    columns = ["net", "training", "clean"]
    labels = {"fgsm": "FGSM", "pgd": "PGD", "autoattack": "AutoAttack"}
    columns += [f"{labels[attack]} {format_eps(eps)}" for attack, eps in attacks]
    columns += [f"PGD {format_eps(eps)}, less the baseline" for eps in PIXEL_EPS]
    caption = (
        "CIFAR-10, 10 layers, matched trunk, parameters within 5 %, one training: 200 "
        "epochs, constant rate. Sound protocol, epsilons in pixels; 10,000 images, of "
        "AutoAttack 1,000. Differences in points with their 95 % interval, images and "
        "seeds redrawn."
    )
    return Table("Controlled comparison", columns, rows, caption, command(results))


def interval_text(gap: Estimate | None) -> str | None:
    """A difference in points with its interval."""
    return gap and f"{gap.value:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"


def spread(results: StudyResults) -> Table:
    """Standard deviations over the seeds, of which the checklist states bounds."""
    rows: list[list[Cell]] = []
    for protocol in PROTOCOLS:
        values = deviations(results, protocol)
        line: list[Cell] = [protocol, len(values), None, None, None]
        if len(values):
            line[2:] = [values.mean(), values.max(), 100 * float((values < 1).mean())]
        rows.append(line)
    columns = ["protocol", "cells", "mean sd", "largest sd", "below 1 point, %"]
    caption = (
        "Sample standard deviations over the seeds, in points, of all measured cells "
        "of Figures 1 and 2. The paper states: always below 1, 0.8 on average."
    )
    return Table("Spread over the seeds", columns, rows, caption, command(results))


def runs_of_curves() -> list[str]:
    """The runs of Figures 1 and 2."""
    cells = paper.cells()
    return list(cells[cells["artefact"].isin(["figure 1", "figure 2"])]["run"].unique())


def deviations(results: StudyResults, protocol: str) -> np.ndarray:
    """Of every cell of Figures 1 and 2 that two seeds have, in points."""
    curves = [
        results.curve(name, protocol, attack)
        for name in runs_of_curves()
        for attack in ATTACKS
    ]
    values = np.concatenate([curve.sd for curve in curves if curve is not None])
    return values[np.isfinite(values)]
