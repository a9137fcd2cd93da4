"""Where each number of the study comes from, the audits, and what supports the study.

    audits(results), runs(results), gpu12(Gpu12(path)), parity(read_parity(folder))

Parity compares the published code with ours, with the same weights
(`benchmarks.parity`).
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.paper import Frame
from study.plan import Audit
from study.results import Gpu12, StudyResults
from study.runs import run_name
from study.tables import MATCHED_BASELINE, command, interval_text
from symjax.evaluation import titles
from symjax.formatting import format_eps
from symjax.io import read_rows
from symjax.models import MODELS
from symjax.report.parts import Cell, Table

PARITY = "benchmarks/parity.jsonl"
PARITY_COMMAND = f"python -m benchmarks.parity PATH_TO_CHECKOUT --out results/{PARITY}"
PARITY_CAPTION = (
    "Published PyTorch nets for CIFAR-10 with 10 layers, and ours with the same "
    "weights, on the first test images (fewer in float64). This compares code and is "
    "no measurement of robustness: each net was trained in PyTorch only for so long "
    "that accuracies and running averages are not those of an untrained net, for 200 "
    "steps of Adam with 128 clean images (the slow nets weighted and equivariant: 40 "
    "steps with 32 images). Logits: largest absolute difference, with the running "
    "averages (evaluation) and with the statistics of the batch (training). Accuracy "
    "in %: the published PyTorch functions `fgsm_attack` and `pgd_attack` (40 steps of "
    "0.01), and ours, under the published protocol of the net, at epsilons in units of "
    "the net's input. Equal: percentage of the values of the adversarial images that "
    "differ by less than 1e-4 (a hundredth of a step). After FGSM's single step at "
    "least 99.99 % of them are equal. Where rounding decides the sign of a derivative "
    "that is nearly 0, later steps of PGD carry the difference to other values; in "
    "parallel_rs and equivariant, which are attacked with the statistics of the batch, "
    "also to other images. In float64 no value differs."
)


def audits(results: StudyResults) -> Table:
    """Which checks each net fails, under both protocols."""
    lines: list[list[Cell]] = []
    for name in results.size.trainings:
        planned = set(results.planned(name).measurements())
        for protocol in ("sound", "published"):
            if Audit(protocol) in planned:
                table = results.audit(name, protocol)
                if not table.empty:
                    lines.append([name, protocol, *_audit(table)])
    columns = ["run", "protocol", "passed", "failed", "no answer", "what fails"]
    caption = (
        "Sanity checks of seed 0's net and of PGD at 0.03, in pixels or in the "
        "published unit. Passing is necessary for a number to be believed, not "
        "sufficient."
    )
    return Table("Audit", columns, lines, caption, command(results))


def _audit(table: Frame) -> list[Cell]:
    failed = table[table["value"] == 0]
    texts = [
        f"{titles.title(row)}: {row['detail']} ({row['measured']:.3g})"
        for row in failed.to_dict("records")
    ]
    counts = (table["value"] == 1).sum(), len(failed), table["value"].isna().sum()
    return [*map(int, counts), "; ".join(texts) or "nothing"]


def runs(results: StudyResults) -> Table:
    """Every run that has rows, what they were made with, and the command that trains
    it."""
    fields = ("config", "data", "commit", "device", "trained_in", "versions")
    lines: list[list[Cell]] = []
    for name, training in results.size.trainings.items():
        table = results.run(name)
        if table.empty:
            continue
        facts: list[Cell] = [_joined(table, field) for field in fields]
        train = training.command(results.size.override_of(training))
        lines.append([name, len(table), *facts, str(table["utc"].max()), train])
    columns = ["run", "rows", "configuration", "data", "commit", "device", "trained in"]
    columns += ["versions", "last row, UTC", "command"]
    caption = (
        "The hashes of configuration and data are in every row, and so is the command "
        "that made it (`argv`)."
    )
    return Table("Runs", columns, lines, caption)


def _joined(table: Frame, field: str) -> str | None:
    """The distinct entries of a column."""
    texts = [
        ", ".join(f"{k} {v}" for k, v in entry.items())
        if isinstance(entry, Mapping)
        else str(entry)
        for entry in table.get(field, ())
    ]
    return "; ".join(dict.fromkeys(texts)) or None


def gpu12(results: Gpu12) -> Table:
    """Every net that was measured once on a GPU against the baseline."""
    label = {"none": "clean", "fgsm": "FGSM", "pgd": "PGD-40"}
    nets = {run_name("cifar10", 10, net, "matched"): net for net in MODELS}
    lines: list[list[Cell]] = []
    for attack, (name, net) in itertools.product(label, nets.items()):
        curve = results.curve(name, "sound", attack)
        for eps in curve.eps if curve and name != MATCHED_BASELINE else ():
            call = "sound", attack, eps
            gap = results.difference(name, MATCHED_BASELINE, *call)
            means = [results.mean(x, *call) for x in (MATCHED_BASELINE, name)]
            cells = [*means, interval_text(gap)]
            lines.append([f"{label[attack]} {format_eps(eps)}", net, *cells])
    columns = ["attack", "net", "baseline, %", "net, %"]
    columns += ["difference (95 % interval), points"]
    caption = (
        "CIFAR-10, 10 layers at full width, matched trunk, 12 epochs, five seeds, "
        f"sound protocol with one start of PGD, {results.size.n:,} test images. "
        "Differences with Welch's interval over the seeds, not corrected for the "
        "number of comparisons."
    )
    name = "Trained for twelve epochs at full width (size gpu12)"
    return Table(name, columns, lines, caption, "see results/README.md")


def read_parity(folder: Path) -> list[dict[str, Any]]:
    """The rows of `benchmarks.parity`, which lie beside the study's folder; none if
    they are not there."""
    return read_rows(Path(folder).resolve().parent / PARITY)


def parity(lines: Sequence[Mapping[str, Any]]) -> Table:
    """One line for each net, type of numbers and attack."""
    order = list(MODELS)
    lines = sorted(lines, key=lambda row: (order.index(row["net"]), row["dtype"]))
    cells = [x for row in lines for x in row["attacks"]]
    radii = list(dict.fromkeys(x["eps"] for x in cells))
    attacks = list(dict.fromkeys(x["attack"] for x in cells))
    columns = ["net", "numbers", "images", "logits, evaluation", "logits, training"]
    columns += ["clean: published, ours", "attack"]
    for eps in radii:
        columns += [f"{eps:g}: published, ours", f"{eps:g}: equal"]
    name = "Parity with the published code, by weights"
    table = [_parity_line(row, attack, radii) for row in lines for attack in attacks]
    return Table(name, columns, table, PARITY_CAPTION, PARITY_COMMAND)


def parity_sentence(lines: Sequence[Mapping[str, Any]]) -> str:
    """How closely ours agrees with the published code, in one sentence."""
    cells = [x for row in lines for x in row["attacks"]]
    same = sum(x["published"] == x["ours"] for x in cells)
    largest = max(x["logits"]["evaluation"] for x in lines)
    nets = len({row["net"] for row in lines})
    return (
        f"With the weights of {nets} published PyTorch nets, our logits differ from "
        f"theirs by at most {largest:.0e}, and FGSM and PGD under the published "
        f"protocol give the same accuracy in {same} of {len(cells)} comparisons."
    )


def _parity_line(row: Mapping[str, Any], attack: str, radii) -> list[Cell]:
    logits = [f"{row['logits'][mode]:.0e}" for mode in ("evaluation", "training")]
    cells: list[Cell] = [row["net"], row["dtype"], row["images"], *logits]
    cells += [_both(row["clean"]), attack]
    by_eps = {x["eps"]: x for x in row["attacks"] if x["attack"] == attack}
    for eps in radii:
        cells += [_both(by_eps[eps]), _percent(by_eps[eps]["agree"])]
    return cells


def _both(values: Mapping[str, float]) -> str:
    return ", ".join(f"{100 * values[who]:.1f}" for who in ("published", "ours"))


def _percent(fraction: float) -> str:
    """Never rounded up to 100."""
    hundredths = int(fraction * 1e4)
    return "100" if fraction == 1 else f"{hundredths / 100:.2f}"
