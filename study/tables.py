"""The paper's tables with ours beside them, and where the published numbers come from.

    for table in tables(of_sizes(Path("results/study"))):
        table.name, table.columns, table.rows

A table has the rows of one size, the first that has some of it; without any, it is not
there. Accuracies are in percent, mean ± sample standard deviation over the seeds.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from study import paper
from study.paper import Frame
from study.plan import (
    ABLATION_EPS,
    ATTACKS,
    AUTOATTACK_EPS,
    PIXEL_EPS,
    REDUCED_ABLATION_N,
    SOUND_CORRUPTED_EPS,
    measurements,
)
from study.results import PROTOCOLS, Curve, StudyResults
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
from symjax.terminal import counted

READABLE, NEAR = 2.0, 4.0
"""Percent from which on a published number is compared; points it may be missed by."""
TABLE_1_NOTE = (
    "Table 1 does not name its attack; it is compared with PGD, which it very probably "
    "is (docs/study.md)."
)
SOUND_NOTE = (
    "Sound: the same number is a radius in pixel units of [0, 1]; valid pixels, "
    "running averages, PGD-40, best iterate of the random starts."
)
MATCHED_BASELINE = run_name("cifar10", 10, "baseline", "matched")


def command(results: StudyResults) -> str:
    """The command that measures what is missing."""
    return f"python -m study run --size {results.size.name}"


def tables(sizes: Sequence[StudyResults]) -> list[Table]:
    """Those of which something is measured."""
    shown = [largest(sizes, make) for make in TABLES.values()]
    return [table for table in shown if table is not None]


def largest(sizes: Sequence[StudyResults], make: Callable[[StudyResults], Any]) -> Any:
    """What is made of the first size that has rows of it; None if no size has. Sizes of
    one protocol, as gpu12, are left out."""
    both = [results for results in sizes if results.protocols == PROTOCOLS]
    return next((x for x in map(make, both) if x is not None), None)


def of_size(results: StudyResults) -> str:
    """The size in words, for captions."""
    size = results.size
    return f"Size {size.name}: {counted(size.seeds, 'seed')}, {size.n:,} test images."


def _table(
    results: StudyResults,
    name: str,
    columns: Sequence[str],
    rows: Sequence[list[Cell]],
    caption: str,
    labels: int = 1,
    printed: str = "",
) -> Table | None:
    """The table without the rows and columns in which nothing of ours is measured.

    Args:
      results: of which size.
      name, columns, rows, caption: of the table; the caption is followed by the size.
      labels: how many columns name a row.
      printed: the beginning of the second cell of rows that hold the paper's numbers.

    Returns:
      None if nothing of ours is measured.
    """

    def is_printed(row) -> bool:
        return bool(printed) and str(row[1]).startswith(printed)

    ours = [row for row in rows if not is_printed(row)]
    filled = [
        i for i in range(labels, len(columns)) if any(r[i] is not None for r in ours)
    ]
    if not filled:
        return None
    chosen = [*range(labels), *filled]
    kept: list[list[Cell]] = [
        [row[i] for i in chosen]
        for row in rows
        if any(row[i] is not None for i in filled)
    ]
    names = [columns[i] for i in chosen]
    caption = f"{caption} {of_size(results)}"
    return Table(name, names, kept, caption, command(results))


def overview(results: StudyResults) -> Table | None:
    """Every published net under both protocols, at a few epsilons."""
    shown = [
        ("sound", "none", 0.0),
        *(("published", attack, 0.01) for attack in ATTACKS),
        *(("sound", "pgd", eps) for eps in (2 / 255, 8 / 255)),
        *(("sound", "autoattack", eps) for eps in (2 / 255, 8 / 255)),
    ]
    rows: list[list[Cell]] = []
    for training in results.size.trainings.values():
        if training.kind == PUBLISHED:
            texts = [results.text(training.name, *cell) for cell in shown]
            label = ", ".join(
                filter(None, [NETS[training.net].label, training.variant])
            )
            place = f"{DATASETS[training.dataset]}, {training.depth} layers"
            rows.append([label, place, *texts])
    columns = ["net", "data set and depth", "clean"]
    columns += [f"{attack.upper()} {eps:g}, published" for _, attack, eps in shown[1:3]]
    names = {"pgd": "PGD", "autoattack": "AutoAttack"}
    columns += [f"{names[x]} {format_eps(eps)}, sound" for _, x, eps in shown[3:]]
    caption = (
        "Accuracy in % of the published nets, each with its published training, under "
        "the published protocol (epsilons in units of the net's input) and the sound "
        "one (pixels). Only Parallel GCNN, and the variant pgd, are trained on "
        f"adversarial examples. AutoAttack: {results.size.n_autoattack:,} images."
    )
    return _table(results, "Published nets", columns, rows, caption, 2)


def reproduction(results: StudyResults) -> Table | None:
    """How near our numbers under the published protocol are to the published ones."""
    targets = [training.name for training in REPRODUCTION_TARGETS]
    cells = paper.cells()
    cells = cells.assign(corrupted=cells["corruption"] != "")
    rows: list[list[Cell]] = []
    for (corrupted, name), group in cells.groupby(["corrupted", "run"], sort=False):
        group = group[group["percent"] >= READABLE]
        gaps = [ours - cell.percent for cell in group.itertuples()
                if (ours := _ours(results, cell)) is not None]  # fmt: skip
        if not gaps:
            continue
        near, worst = sum(abs(gap) <= NEAR for gap in gaps), max(gaps, key=abs)
        required = "yes" if name in targets and not corrupted else ""
        label = f"{name}, CIFAR-10-C" if corrupted else str(name)
        rows.append([label, required, len(group), len(gaps), near, worst])
    rows.sort(key=lambda row: str(row[0]).endswith("CIFAR-10-C"))
    columns = ["run", "required", f"published, {READABLE:g} % or more", "measured"]
    columns += [f"within {NEAR:g} points", "largest difference, points"]
    caption = (
        "Cells of Figures 1, 2, 6 and Tables 1 to 4 under the published protocol. A "
        f"difference is ours less the published mean. {TABLE_1_NOTE}"
    )
    if results.size.reduced:
        caption += (
            " Narrower nets that are trained for fewer epochs need not have the "
            "published accuracy."
        )
    name = "Published numbers, reproduced"
    return _table(results, name, columns, rows, caption, 2)


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


def table_1(results: StudyResults) -> Table | None:
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
            rows.append([label, "published, computed from the rows", *again])
        for attack in ATTACKS:
            of_nets = ours[attack]
            values = [_entry(of_nets[net], name, eps) for net in nets for eps in radii]
            rows.append([label, f"ours, {attack}", *values])
    columns = ["corruption", ""]
    columns += [f"{NETS[net].label}, {eps:g}" for net in nets for eps in radii]
    caption = (
        "Accuracy in %, mean of the severities and seeds, published protocol (inputs "
        "in [0, 1] but for the baseline). Std is over the 19 corruptions. Corruptions "
        f"are made with seed 0. {TABLE_1_NOTE} {_severities(results)}"
    )
    name = "Table 1: CIFAR-10-C"
    return _table(results, name, columns, rows, caption, 2, "published")


def _severities(results: StudyResults) -> str:
    size = results.size
    severities = ", ".join(map(str, size.severities))
    return f"Severities {severities}, {size.n_corrupted:,} images each."


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


def table_1_means(results: StudyResults, run: str, protocol: str) -> np.ndarray | None:
    """A run's accuracies on corruptions, means of severities and seeds: `[C, A, E]`, A
    the attacks of the size; None if a row is missing.

    Args:
      results: the rows.
      run: of a net of Table 1.
      protocol: "published", with PGD, as very probably published; or "sound", with
        none and, in the full size, PGD.
    """
    attacks = ("pgd",) if protocol == "published" else ("none", "pgd")
    means = [results.corrupted(run, protocol, attack) for attack in attacks]
    arrays = [np.asarray(x, float) for x in means if x is not None]
    whole = bool(arrays) and all(np.isfinite(x).all() for x in arrays)
    return np.stack(arrays, axis=1) if whole else None


def table_1_sound(results: StudyResults) -> Table | None:
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
    caption = (
        f"Accuracy in %, mean of the severities and seeds. {SOUND_NOTE} "
        f"{_severities(results)}"
    )
    name = "CIFAR-10-C under the sound protocol"
    return _table(results, name, columns, rows, caption)


def equivariant(results: StudyResults, title: str, dataset: str) -> Table | None:
    """Tables 2 and 3: the fully equivariant nets."""
    eps = paper.numbers()["table2_3_fully_equivariant"]["eps"]
    runs = {
        f"{depth}-layer equivariant": run_name(dataset, depth, "equivariant")
        for depth in (4, 10)
    }
    name = f"{title}: fully equivariant nets, {DATASETS[dataset]}"
    return _in_columns(results, name, runs, eps, f"Accuracy in %. {SOUND_NOTE}")


def table_4(results: StudyResults) -> Table | None:
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
) -> Table | None:
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
    return _table(results, name, columns, rows, note, 2, "published")


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


def ablated(results: StudyResults) -> list[Training]:
    """The runs of a size whose protocols are compared difference by difference."""
    return [
        training
        for training in results.size.trainings.values()
        if any(x.protocol == "switched" for x in measurements(training, results.size))
    ]


def _ablated(results: StudyResults) -> Iterator[tuple[Training, str, float]]:
    yield from itertools.product(ablated(results), ATTACKS, ABLATION_EPS)


def cumulative_ablation(results: StudyResults) -> Table | None:
    """How many points of each published number come from which difference."""
    rows: list[list[Cell]] = []
    for training, attack, eps in _ablated(results):
        names, curves = ablation_curves(results, training, attack)
        means = [curve and curve.mean(eps) for curve in curves]
        if all(mean is None for mean in means):
            continue
        change: dict[str, Cell] = dict.fromkeys(protocols.SWITCHES)
        for name, before, after in zip(names, means[:-1], means[1:], strict=True):
            if before is not None and after is not None:
                change[name] = after - before
        printed = paper.percent(training.name, attack, eps)
        ends = means[-1], printed
        rows.append([training.name, attack, eps, means[0], *change.values(), *ends])
    columns = ["run", "attack", "epsilon", "sound", *protocols.SWITCHES]
    columns += ["published protocol", "published"]
    caption = (
        "Accuracy in % at both ends, and the points that each difference adds when the "
        "differences of the protocols are applied one after another, in the order of "
        "the columns, on the same checkpoints; the points add up. A dash: not "
        f"measured, or no difference for that net and attack.{_of_first_seed(results)}"
    )
    name = "Attribution: differences of the evaluation, cumulative"
    return _table(results, name, columns, rows, caption, 3)


def _of_first_seed(results: StudyResults) -> str:
    if not results.size.reduced:
        return ""
    return f" The first seed and {REDUCED_ABLATION_N} images."


def single_switch_ablation(results: StudyResults) -> Table | None:
    """Each difference by itself."""
    rows: list[list[Cell]] = []
    for training, attack, eps in _ablated(results):
        names, (start, *_) = ablation_curves(results, training, attack)
        sound = start and start.mean(eps)
        change: dict[str, Cell] = dict.fromkeys(protocols.SWITCHES)
        for name in names:
            value = results.mean(training.name, "switched", attack, eps, (name,))
            if value is not None and sound is not None:
                change[name] = value - sound
        rows.append([training.name, attack, eps, sound, *change.values()])
    columns = ["run", "attack", "epsilon", "sound", *protocols.SWITCHES]
    caption = (
        "Points that each difference adds to the sound accuracy if it is the only one. "
        f"They need not add up.{_of_first_seed(results)}"
    )
    name = "Attribution: each difference by itself"
    return _table(results, name, columns, rows, caption, 3)


def training_ablation(results: StudyResults) -> Table | None:
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
    return _table(results, name, columns, rows, caption, 2)


def describe(training: Training) -> str:
    """A training in words."""
    if training.kind == PUBLISHED:
        return training.note or "as published"
    if training.kind == SWITCHED:
        return f"as published, but {training.note}"
    return ", ".join(filter(None, ["matched trunk, trained equally", training.note]))


def controlled(results: StudyResults) -> Table | None:
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
        "CIFAR-10, 10 layers, matched trunk, parameters within 5 %, one training. "
        "Sound protocol, epsilons in pixels; AutoAttack on "
        f"{results.size.n_autoattack:,} images. Differences in points with their 95 % "
        "interval, images and seeds resampled."
    )
    return _table(results, "Controlled comparison", columns, rows, caption, 2)


def interval_text(gap: Estimate | None) -> str | None:
    """A difference in points with its interval."""
    return gap and f"{gap.value:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"


def spread(results: StudyResults) -> Table | None:
    """Standard deviations over the seeds, of which the checklist states bounds."""
    rows: list[list[Cell]] = []
    for protocol in PROTOCOLS:
        values = deviations(results, protocol)
        if len(values):
            summary = values.mean(), values.max(), 100 * float((values < 1).mean())
            rows.append([protocol, len(values), *summary])
    columns = ["protocol", "cells", "mean sd", "largest sd", "below 1 point, %"]
    caption = (
        "Sample standard deviations over the seeds, in points, of all measured cells "
        "of Figures 1 and 2. The paper states: always below 1, 0.8 on average."
    )
    return _table(results, "Spread over the seeds", columns, rows, caption)


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


TABLES: dict[str, Callable[[StudyResults], Table | None]] = {
    "published nets": overview,
    "Table 1": table_1,
    "Table 1 under the sound protocol": table_1_sound,
    "Table 2": functools.partial(equivariant, title="Table 2", dataset="cifar10"),
    "Table 3": functools.partial(equivariant, title="Table 3", dataset="cifar100"),
    "Table 4": table_4,
    "attribution, cumulative": cumulative_ablation,
    "attribution, each difference": single_switch_ablation,
    "attribution, training": training_ablation,
    "controlled comparison": controlled,
    "published numbers, reproduced": reproduction,
    "spread over the seeds": spread,
}
"""The functions that make the tables; a name stands for a table that is not shown."""
