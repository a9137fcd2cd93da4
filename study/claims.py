"""What the paper claims, and whether the rows support it.

    for claim in CLAIMS:
        verdict = claim.verdict(of_sizes(folder))    # a `report.parts.Verdict`

`CLAIMS` is a table: the place, the quotation, and the tests that decide. Each of the
five tests looks at the rows of one protocol and returns a `Finding`: `compare`,
`is_below`, `most_corruptions`, `spread`, `tolerance`. A claim is judged from the first
size whose rows decide it. The claims are those of the abstract, the contributions,
Sections 6, D, E and F, and the checklist; the statements of Sections 3 and 4 are in
docs/theory.md. A claim that the published code itself contradicts or supports is
settled by that.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from study import paper
from study.plan import ATTACKS, Tolerance
from study.results import PROTOCOLS, StudyResults
from study.runs import DATASETS, DEPTHS, TRAININGS, run_name
from study.tables import deviations, printed_statistic, runs_of_curves, table_1_means
from symjax.formatting import format_eps
from symjax.report.parts import Verdict
from symjax.statistics import Estimate, paired_difference

FLOOR = 1.0
"""Percent below which two accuracies are not compared: both are nothing."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of a test under one protocol.

    Attributes:
      holds: None if it is open.
      text: the numbers, or what is missing.
      missing: runs without which it stays open.
    """

    holds: bool | None
    text: str
    missing: Sequence[str] = ()

    @property
    def word(self) -> str:
        """The result in words."""
        if self.missing:
            return "not measured"
        return {True: "holds", False: "does not hold", None: "open"}[self.holds]


class Test(NamedTuple):
    """A function that judges the rows of one protocol.

    Attributes:
      judge: called with the runs, the rows, the protocol and the options.
      runs: names of runs, in one or two groups.
      options: of the function.
    """

    judge: Callable[..., Finding]
    runs: tuple[Sequence[str], ...] = ()
    options: Mapping[str, Any] = {}

    @property
    def names(self) -> list[str]:
        """All runs."""
        return [name for group in self.runs for name in group]

    def finding(self, results: StudyResults, protocol: str) -> Finding:
        """The result under one protocol."""
        return self.judge(*self.runs, results, protocol, **self.options)


def overall(findings: Mapping[str, Finding]) -> str:
    """The verdict on a claim from its findings, by protocol.

    Returns:
      "stands", "stands only under ...", "does not stand", "open" or "not measured".
    """
    if any(finding.missing for finding in findings.values()):
        return "not measured"
    if any(finding.holds is None for finding in findings.values()):
        return "open"
    holding = [protocol for protocol, finding in findings.items() if finding.holds]
    if len(holding) == len(findings):
        return "stands"
    if not holding:
        return "does not stand"
    article = "the" if holding == ["published"] else "a"
    return f"stands only under {article} {holding[0]} protocol"


def every(findings: Sequence[Finding]) -> Finding:
    """Whether all findings hold; one that does not is enough to refute a claim."""
    lost = tuple(dict.fromkeys(name for x in findings for name in x.missing))
    texts = [finding.text for finding in findings if not finding.missing]
    if lost:
        texts.append(_not_measured(lost).text)
    text, holds = "; ".join(dict.fromkeys(texts)), [x.holds for x in findings]
    if False in holds:
        return Finding(False, text)
    return Finding(None if None in holds else True, text, lost)


def _not_measured(names: Sequence[str]) -> Finding:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return Finding(None, f"not measured: {names[0]}{more}", names)


def compare(
    ours: Sequence[str],
    theirs: Sequence[str],
    results: StudyResults,
    protocol: str,
    attacks: Sequence[str] = ATTACKS,
    radii: Sequence[float] = (),
    at_least: bool = False,
) -> Finding:
    """Whether each of our runs is more accurate than each of theirs, in every cell.

    It holds if every paired interval lies above 0, and does not hold if one lies below;
    else it is open. Cells in which both accuracies are below 1 % do not count.

    Args:
      ours, theirs: names of runs.
      results: the rows.
      protocol: "published" or "sound".
      attacks: that are compared.
      radii: in the protocol's unit, of those that both runs have; where they have none
        of them, or none is given, all that both have.
      at_least: whether none of ours is less accurate than any of theirs; it holds
        unless a paired interval lies below 0.
    """
    kept: list[tuple[Estimate, str]] = []
    lost: dict[str, None] = {}
    for our, their, attack in itertools.product(ours, theirs, attacks):
        for eps in _shared_radii(results, protocol, our, their, attack, radii):
            gap = results.difference(our, their, protocol, attack, eps)
            means = [results.mean(x, protocol, attack, eps) for x in (our, their)]
            if gap is None:
                lost |= {our: None, their: None}
            elif not all(mean is not None and mean < FLOOR for mean in means):
                kept.append((gap, f"{our} less {their}, {attack} at {format_eps(eps)}"))
    if lost:
        return _not_measured(tuple(lost))
    if not kept:
        return Finding(None, "every cell is below 1 %")
    gaps = [gap for gap, _ in kept]
    above, below = sum(x.low > 0 for x in gaps), sum(x.high < 0 for x in gaps)
    least, where = min(kept, key=lambda each: each[0].value)
    text = (
        f"{above} of {len(gaps)} differences above 0, {below} below; the least is "
        f"{least.value:+.2f} ({least.low:+.2f} to {least.high:+.2f}) points, {where}"
    )
    for name in (*ours, *theirs):
        if count := results.diverged(name):
            text += f"; {count} seeds of {name} diverged"
    if at_least or below:
        return Finding(not below, text)
    return Finding(True if above == len(gaps) else None, text)


def _shared_radii(results, protocol, ours, theirs, attack, wanted) -> list[float]:
    curves = [results.curve(name, protocol, attack) for name in (ours, theirs)]
    if any(curve is None for curve in curves):
        raise ValueError(f"{ours}, {theirs}: {protocol} {attack} is not in the study.")
    first, second = curves
    shared = [eps for eps in first.eps if second.at(eps) is not None]
    return [eps for eps in shared if np.isclose(eps, wanted).any()] or shared


def is_below(
    runs: Sequence[str],
    results: StudyResults,
    protocol: str,
    attack: str,
    eps: float,
    percent: float,
) -> Finding:
    """Whether the mean accuracy of every run is below a number at one epsilon.

    If a size has smaller epsilons only, accuracies at its largest are used, which are
    larger: it stays open where one is not below the number.
    """
    texts, below, at_most = [], True, eps
    for name in runs:
        curve = results.curve(name, protocol, attack)
        if curve is None:
            return _not_measured([name])
        at_most = max(x for x in curve.eps if x < eps or np.isclose(x, eps))
        mean = curve.mean(at_most)
        if mean is None:
            return _not_measured([name])
        below &= mean < percent
        texts.append(f"{name} {mean:.2f} %")
    refuted = False if np.isclose(at_most, eps) else None
    text = f"{attack} at {at_most:g}: {', '.join(texts)}"
    return Finding(True if below else refuted, text)


def most_corruptions(
    better: Sequence[str], worse: Sequence[str], results: StudyResults, protocol: str
) -> Finding:
    """Whether, in most corruptions and columns of Table 1, the mean accuracies of some
    runs are above those of others."""
    means = {run: table_1_means(results, run, protocol) for run in (*better, *worse)}
    if lost := [run for run, values in means.items() if values is None]:
        return _not_measured(lost)
    least = np.min([np.asarray(means[run]) for run in better], axis=0)
    most = np.max([np.asarray(means[run]) for run in worse], axis=0)
    counted = np.maximum(least, most) >= FLOOR
    count, total = int(np.sum((least > most + 1e-9) & counted)), int(counted.sum())
    text = f"means are larger in {count} of {total} corruptions and columns"
    return Finding(count > total / 2 if total else None, text)


def spread(results: StudyResults, protocol: str) -> Finding:
    """Whether the standard deviations of Figures 1 and 2 are all below 1 point, and
    0.8 on average."""
    values = deviations(results, protocol)
    if len(values) and values.max() >= 1:
        text = f"{values.max():.2f} points at most, of {len(values)} cells"
        return Finding(False, text)
    names = [name for name in runs_of_curves() if results.has(name)]
    curves = {
        x: [results.curve(x, protocol, attack) for attack in ATTACKS] for x in names
    }
    lost = [x for x in names if not all(y and y.complete for y in curves[x])]
    if lost:
        return _not_measured(lost)
    if not len(values):
        return Finding(None, "no cell has two seeds")
    text = f"{values.mean():.2f} points on average, {values.max():.2f} at most"
    return Finding(bool(values.mean() < 0.8), text)


def tolerance(runs: Sequence[str], results: StudyResults, protocol: str) -> Finding:
    """Whether the second of two runs tolerates more than the first."""
    call = Tolerance(protocol), None, "largest"
    levels = {name: results.per_image(name, *call) for name in runs}
    if lost := [name for name, values in levels.items() if values is None]:
        return _not_measured(lost)
    base, ours = map(np.asarray, levels.values())
    gap = paired_difference(ours, base)
    text = (
        f"mean tolerance {base.mean():.3f} of the baseline, {ours.mean():.3f} of rot & "
        f"scale, difference {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
    )
    return Finding(True if gap.low > 0 else False if gap.high < 0 else None, text)


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
      where: place in the paper.
      quote: its words; of "ours", a question that the paper leaves open.
      tests: all have to hold under a protocol; none where rows decide nothing.
      fact: what settles it whatever the rows show: a verdict, and why.
      note: what else is to be known.
      printed: what the paper's own numbers show.
      protocols: under which it is judged.
    """

    where: str
    quote: str
    tests: Sequence[Test] = ()
    fact: tuple[str, str] | None = None
    note: str = ""
    printed: Callable[[], str] | None = None
    protocols: Sequence[str] = PROTOCOLS

    def verdict(self, sizes: Sequence[StudyResults]) -> Verdict:
        """The verdict, with the evidence under each protocol.

        Args:
          sizes: the rows of each size; the first one that decides is used.
        """
        results, findings, verdict = None, {}, "not measured"
        for results, findings in self._findings(sizes):
            verdict = overall(findings)
            if verdict != "not measured":
                verdict = f"{verdict}, at {results.size.name} size"
                break
        reason = ""
        if self.fact is not None:
            verdict, reason = self.fact
        texts = [reason, self.printed() if self.printed else ""]
        texts += _evidence(findings)
        if results is not None:
            texts += self._absent(results)
        texts.append(self.note)
        if results is not None and any(x.missing for x in findings.values()):
            command = f"python -m study run --size {results.size.name}"
            texts.append(f"`{command}` measures what is missing")
        evidence = " ".join(_sentence(text) for text in texts if text)
        published, sound = (
            findings[x].word if x in findings else "-" for x in PROTOCOLS
        )
        return Verdict(self.quote, self.where, published, sound, verdict, evidence)

    def _findings(
        self, sizes: Sequence[StudyResults]
    ) -> Iterator[tuple[StudyResults, dict[str, Finding]]]:
        """Each size that has runs of the claim, and the findings by protocol."""
        for results in sizes:
            tests = [x for x in self.tests if all(map(results.has, x.names))]
            if tests and {*self.protocols} <= {*results.protocols}:
                findings = {
                    protocol: every([x.finding(results, protocol) for x in tests])
                    for protocol in self.protocols
                }
                yield results, findings

    def _absent(self, results: StudyResults) -> list[str]:
        """The runs that a size does not have, in words."""
        names = [x for test in self.tests for x in test.names if not results.has(x)]
        size = results.size.name
        return [f"not in the {size} size: {_places(names)}"] if names else []


def _evidence(findings: Mapping[str, Finding]) -> list[str]:
    """The findings in words, once if those of both protocols are equal."""
    texts = [finding.text for finding in findings.values()]
    if len(texts) > 1 and len(set(texts)) == 1:
        return [f"both protocols: {texts[0]}"]
    return [f"{name} protocol: {finding.text}" for name, finding in findings.items()]


def _places(names: Sequence[str]) -> str:
    """The names of a few runs, the data sets and depths of many."""
    if len(names) <= 3:
        return ", ".join(names)
    of_runs = dict.fromkeys((TRAININGS[x].dataset, TRAININGS[x].depth) for x in names)
    return ", ".join(f"{DATASETS[x]} with {depth} layers" for x, depth in of_runs)


def _sentence(text: str) -> str:
    word = text.partition(" ")[0].rstrip(",:")
    first = text[0].upper() if word.isalpha() else text[0]
    return f"{first}{text[1:].rstrip('.')}."


def printed(artefact: str, ours: str, theirs: str) -> str:
    """Where the paper's own numbers of one run lie above those of another."""
    cells = paper.cells()
    of_artefact = cells[cells["artefact"] == artefact]
    parts = []
    for attack in ATTACKS:
        table = of_artefact[of_artefact["attack"] == attack]
        values = table.pivot(index="eps", columns="run", values="percent")
        gaps = (values[ours] - values[theirs]).dropna()
        text = (
            f"{attack} above at {(gaps >= 0).sum()} of {len(gaps)} epsilons "
            f"({gaps.min():+.2f} to {gaps.max():+.2f} points)"
        )
        if (gaps < 0).any():
            text += (
                f", below at {', '.join(f'{eps:g}' for eps in gaps[gaps < 0].index)}"
            )
        parts.append(text)
    return f"printed in {artefact}, {ours} less {theirs}: {'; '.join(parts)}"


def printed_means() -> str:
    """Table 1's mean row and the mean of its rows, where they differ."""
    row = paper.numbers()["table1_cifar10c"]["rows"]["mean"]
    parts = [
        f"{net} {values[0]:.2f} printed, {again:.2f} of the rows"
        for net, values in row.items()
        if abs((again := printed_statistic(net, "mean")[0]) - values[0]) > 0.02
    ]
    return f"Table 1's mean row at 0.01: {'; '.join(parts)}"


SYMMETRIC = ("parallel_rot", "parallel_rs", "cascaded", "weighted")
PARALLEL = ("parallel_rot", "parallel_rs")
OTHERS = ("baseline", "parallel_rot", "cascaded", "weighted")
MATCHED = (*SYMMETRIC, "parallel_scale", "equivariant")
CONTROLLED = (
    "controlled comparison: one trunk, one number of parameters and one training, so "
    "that only the sound protocol applies"
)
CLEAN = {"attacks": ("none",), "radii": (0.0,)}


def _nets(
    ours: Sequence[str],
    theirs: Sequence[str],
    datasets: Sequence[str] = tuple(DATASETS),
    depths: Sequence[int] = DEPTHS,
    **options,
) -> list[Test]:
    """`compare` of published nets, for each data set and depth by itself."""
    return [
        Test(compare, _runs(dataset, depth, ours, theirs), options)
        for dataset in datasets
        for depth in depths
    ]


def _runs(dataset: str, depth: int, *groups: Sequence[str]) -> tuple[list[str], ...]:
    return tuple([run_name(dataset, depth, net) for net in nets] for nets in groups)


def _matched(ours: Sequence[str], theirs: Sequence[str], **options) -> list[Test]:
    """`compare` of runs on the matched trunk, which differ in one thing; each is a net,
    or a net and a variant."""
    names = tuple(
        [run_name("cifar10", 10, net, "matched", variant)
         for net, _, variant in (x.partition(" ") for x in runs)]
        for runs in (ours, theirs)
    )  # fmt: skip
    return [Test(compare, names, options)]


def _corruptions(better: Sequence[str], worse: Sequence[str]) -> list[Test]:
    return [Test(most_corruptions, _runs("cifar10", 10, better, worse))]


def _deeper() -> list[Test]:
    """The fully equivariant net with ten layers against that with four."""
    names = [[run_name(x, depth, "equivariant") for depth in DEPTHS] for x in DATASETS]
    return [Test(compare, ([ten], [four])) for ten, four in names]


def _table_4(attack: str, **options) -> list[Test]:
    radii = tuple(paper.numbers()["table4_adversarial_training"]["eps"])
    options |= {"attacks": (attack,), "radii": radii}
    return [Test(compare, ([EQUIVARIANT], [TRAINED]), options)]


def _limited(attack: str, percent: float) -> list[Test]:
    options = {"attack": attack, "eps": 0.15, "percent": percent}
    runs = [_runs(dataset, 10, ("cascaded", "weighted")) for dataset in DATASETS]
    return [Test(is_below, names, options) for names in runs]


def _curve(artefact: str, dataset: str, depth: int) -> Callable[[], str]:
    names = [run_name(dataset, depth, x) for x in ("parallel_rs", "parallel_rot")]
    return functools.partial(printed, artefact, *names)


def _gains() -> str:
    texts = [
        printed(artefact, *(run_name(dataset, x, "equivariant") for x in DEPTHS))
        for artefact, dataset in (("table 2", "cifar10"), ("table 3", "cifar100"))
    ]
    return "; ".join(texts)


EQUIVARIANT = run_name("cifar10", 10, "equivariant")
TRAINED = run_name("cifar10", 10, "baseline", variant="pgd")
FIGURE_6 = {
    "datasets": ("cifar100",),
    "depths": (10,),
    "radii": tuple(paper.numbers()["figure6_ablation"]["eps"]),
}
AT_FREE = (
    "does not stand",
    "parallel rot, as published, is trained on FGSM examples in every batch; no other "
    "published net is",
)
UNITS = (
    "the published epsilon is of two units (0.01 is 1.3/255 for the CNN, 0.5/255 for "
    "the equivariant net), so Table 4 compares balls of different size"
)
CODE_C8 = (
    "stands",
    "of the layers: the convolutions of the published fully equivariant net are on C8, "
    "which contains the four rotations of P4, and all ten blocks commute with these to "
    "rounding (tests/models/test_models.py). The logits are not invariant: the feature "
    "map is flattened into the dense layer, not pooled over the group",
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "Abstract",
        "Our models consistently improve adversarial robustness ... across CIFAR-10, "
        "CIFAR-100, and CIFAR-10C under both FGSM and PGD attacks",
        [
            *_nets(SYMMETRIC, ["baseline"]),
            *(x for net in SYMMETRIC for x in _corruptions([net], ["baseline"])),
        ],
    ),
    Claim(
        "Abstract",
        "Our models consistently improve ... generalization",
        _nets(SYMMETRIC, ["baseline"], **CLEAN),
    ),
    Claim(
        "Abstract; Section 7",
        "... without requiring adversarial training",
        fact=AT_FREE,
    ),
    Claim(
        "Abstract; Section 1, first contribution",
        "Such models reduce hypothesis space complexity, regularize gradients, and "
        "yield tighter certified robustness bounds under the CLEVER ... framework",
        fact=(
            "open",
            "docs/theory.md: on few images, most intervals of the differences of "
            "scores, distances and gradients from the baseline's contain 0; 100 "
            "images, five seeds and three norms would decide. CLEVER is an estimate "
            "and no certificate: some scores lie above the distance of a known "
            "adversarial example",
        ),
    ),
    Claim(
        "Abstract",
        "Efficient and principled alternatives to data augmentation-based defenses",
        _matched(["parallel_rot"], ["baseline turned", "baseline fgsm"], at_least=True),
        note=f"{CONTROLLED}; judged as: the rotation net in no cell below the "
        "standard CNN with rotated images, or with the FGSM augmentation",
        protocols=["sound"],
    ),
    Claim(
        "Ours",
        "Symmetric layers make a net more robust, all else equal",
        [x for net in MATCHED for x in _matched([net], ["baseline"])],
        note=CONTROLLED,
        protocols=["sound"],
    ),
    Claim(
        "Section 1, second contribution; Section F.2",
        "The parallel design ... achieves superior robustness [than the cascaded one]",
        _nets(PARALLEL, ["cascaded"]),
    ),
    Claim(
        "Section F.2",
        "The parallel design consistently outperforms the cascaded design in ... clean "
        "... settings",
        _nets(PARALLEL, ["cascaded"], **CLEAN),
    ),
    Claim(
        "Section 1, second contribution; Section F.2",
        "Concatenation consistently outperforms weighted fusion in adversarial "
        "settings",
        _nets(["parallel_rs"], ["weighted"]),
        note="the published weighted net has no scale branch and another trunk and "
        "protocol, so that it is not the same net with another fusion",
    ),
    Claim(
        "Section 1, third contribution",
        "The parallel design with combined rotation and scale branches, significantly "
        "outperform[s] standard CNNs in adversarial accuracy",
        _nets(["parallel_rs"], ["baseline"]),
    ),
    Claim(
        "Section 6.2, Figure 1",
        "4 layers, CIFAR-10: the Parallel GCNN with Rotation and Scale Branch "
        "exhibited the highest robustness",
        _nets(["parallel_rs"], OTHERS, ["cifar10"], [4]),
        printed=_curve("figure 1", "cifar10", 4),
    ),
    Claim(
        "Section 6.2, Figure 1",
        "4 layers, CIFAR-100: [it] remained the most robust particularly at higher "
        "perturbations",
        _nets(["parallel_rs"], OTHERS, ["cifar100"], [4]),
        printed=_curve("figure 1", "cifar100", 4),
        fact=("does not stand", "the paper's own Figure 1 contradicts it"),
    ),
    Claim(
        "Section 6.2, Figure 2",
        "10 layers: [it] maintained the highest adversarial robustness across all "
        "perturbation levels",
        _nets(["parallel_rs"], OTHERS, depths=[10]),
        printed=_curve("figure 2", "cifar10", 10),
    ),
    Claim(
        "Section 6.2, Figure 2",
        "Both the Cascaded GCNN and Weighted Parallel GCNN showed limited robustness, "
        "with adversarial accuracies dropping below 15% for FGSM and almost negligible "
        "for PGD attacks at higher perturbation levels",
        [*_limited("fgsm", 15), *_limited("pgd", 1)],
        note="judged at the largest epsilon, 0.15; negligible: below 1 %",
    ),
    Claim(
        "Section 6.2, Table 2",
        "Orbit-invariant gradient regularization compounds beneficially when symmetry "
        "is enforced end-to-end",
        [
            x
            for net in ("equivariant", "equivariant flatten")
            for x in _matched([net], ["parallel_rot", "baseline"])
        ],
        note=f"{CONTROLLED}; all layers on the group, with an invariant or a flattened "
        "readout, against the first layer only",
        protocols=["sound"],
    ),
    Claim(
        "Section 6.3, Table 1",
        "The Parallel GCNN model consistently achieved the best performance across "
        "most corruption types",
        _corruptions(
            ["parallel_rot"], ["baseline", "parallel_rs", "cascaded", "weighted"]
        ),
        printed=printed_means,
    ),
    Claim(
        "Section 6.3, Table 1",
        "Parallel GCNN with Rotation and Scale Equivariance does not perform so well "
        "compared with baseline model under the data corruption",
        _corruptions(["baseline"], ["parallel_rs"]),
        note="as published, only the baseline gets normalized images there",
    ),
    Claim(
        "Section D",
        "All convolutional layers enforce rotation equivariance under the P4 group (4 "
        "discrete rotations)",
        fact=CODE_C8,
    ),
    Claim(
        "Section D, Tables 2 and 3",
        "The 10-layer architecture consistently outperforms the 4-layer variant across "
        "all perturbation levels",
        _deeper(),
        printed=_gains,
    ),
    Claim(
        "Section E, Table 4",
        "Our equivariant model achieves superior FGSM robustness [than PGD adversarial "
        "training]",
        _table_4("fgsm"),
        printed=functools.partial(printed, "table 4", EQUIVARIANT, TRAINED),
        note=UNITS,
    ),
    Claim(
        "Section E, Table 4",
        "... and maintains competitive PGD robustness",
        _table_4("pgd", at_least=True),
        note=f"judged as: in no cell below it; {UNITS}",
    ),
    Claim(
        "Section F.1, Figure 5",
        "The Parallel GCNN model demonstrates a substantially higher tolerance for "
        "perturbations",
        [Test(tolerance, _runs("cifar10", 10, list(paper.tolerances())))],
        note="the paper shows two images, and two of its four numbers are not on the "
        "grid of its code; here: mean over the first 117 test images",
    ),
    Claim(
        "Section F.2, Figure 6",
        "The Parallel GCNN with Rotation- and Scale-Equivariant Branch consistently "
        "outperformed other models",
        _nets(
            ["parallel_rs"], ["baseline", "parallel_rot", "parallel_scale"], **FIGURE_6
        ),
    ),
    Claim(
        "Section F.2, Figure 6",
        "Rotation-equivariant convolutions demonstrated better performance than "
        "scale-equivariant convolutions individually",
        _nets(["parallel_rot"], ["parallel_scale"], **FIGURE_6),
        note="the published rotation net is trained on FGSM examples, the scale net is "
        "not",
    ),
    Claim(
        "Section F.2",
        "Weighted sum fusion, while effective on clean data, is more vulnerable to "
        "adversarial attacks",
        [
            *_nets(["weighted"], ["parallel_rs"], at_least=True, **CLEAN),
            *_nets(["parallel_rs"], ["weighted"]),
        ],
        note="judged as: clean not below concatenation (rot & scale), attacked below",
    ),
    Claim(
        "Checklist, question 7",
        "Standard deviations are consistently below 1% across all models and "
        "experimental conditions (average std < 0.8%)",
        [Test(spread)],
        note="nets that are trained for few epochs may differ more between seeds",
    ),
)
