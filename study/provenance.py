"""Where each number of the study comes from, the audits, and what supports the study.

    audits(results), runs(results), measurements(results)       # tables
    pilot(read_pilot(folder)), parity(read_parity(folder))

The pilot runs are nets with ten layers on the matched trunk, trained for twelve epochs,
five seeds each. They are not of the study; the outcomes of their images are not known,
so that intervals are Welch's, over the seeds only. Parity compares the published code
with ours, with the same weights (`benchmarks.parity`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from study.paper import Frame
from study.plan import Accuracy, Audit, Measurement, Tolerance
from study.results import StudyResults
from study.tables import command, interval_text
from symjax.evaluation import results as files
from symjax.evaluation import rows, titles
from symjax.formatting import attack_name, format_eps
from symjax.io import read_rows
from symjax.models import MODELS
from symjax.report.parts import Cell, Table
from symjax.statistics import Estimate

PILOT = "cifar10_10_layers.jsonl"
PARITY = "benchmarks/parity.jsonl"
PARITY_COMMAND = f"python -m benchmarks.parity PATH_TO_CHECKOUT --out results/{PARITY}"
PARITY_CAPTION = (
    "Published PyTorch nets for CIFAR-10 with 10 layers, and ours with the same "
    "weights, on the first test images (a quarter of them for the slow nets weighted "
    "and equivariant, and a quarter again in float64). This compares code "
    "and is no measurement of robustness: each net was trained in PyTorch only for so "
    "long that accuracies and running averages are not those of an untrained net, for "
    "200 steps of Adam with 128 clean images (the slow nets: 40 steps with 32 images). "
    "Logits: largest absolute difference, with the running averages (evaluation) and "
    "with the statistics of the batch (training). Accuracy in %: the published PyTorch "
    "functions `fgsm_attack` and `pgd_attack` (40 steps of 0.01), and ours, under the "
    "published protocol of the net, at epsilons in units of the net's input. Equal: "
    "percentage of the values of the adversarial images that differ by less than 1e-4 "
    "(a hundredth of a step). After FGSM's single step at least 99.99 % of them are "
    "equal. Where rounding decides the sign of a derivative that is nearly 0, later "
    "steps of PGD carry the difference to other values; in parallel_rs and "
    "equivariant, which are attacked with the statistics of the batch, also to other "
    "images. In float64 no value differs."
)


def audits(results: StudyResults) -> Table:
    """Which checks each net fails, under both protocols."""
    lines: list[list[Cell]] = []
    for name in results.size.trainings:
        planned = set(results.planned(name).measurements())
        for protocol in ("sound", "published"):
            if Audit(protocol) in planned:
                cells = _audit(results.rows(name, Audit(protocol)))
                lines.append([name, protocol, *cells])
    columns = ["run", "protocol", "passed", "failed", "no answer", "what fails"]
    caption = (
        "Sanity checks of seed 0's net and of PGD at 0.03, in pixels or in the "
        "published unit. Passing is necessary for a number to be believed, not "
        "sufficient."
    )
    return Table("Audit", columns, lines, caption, command(results))


def _audit(table: Frame) -> list[Cell]:
    if table.empty:
        return [None] * 4
    failed = table[table["value"] == 0]
    texts = [
        f"{titles.title(row)}: {row['detail']} ({row['measured']:.3g})"
        for row in failed.to_dict("records")
    ]
    counts = (table["value"] == 1).sum(), len(failed), table["value"].isna().sum()
    return [*map(int, counts), "; ".join(texts) or "nothing"]


def runs(results: StudyResults) -> Table:
    """Every run, what its rows were made with, and the command that trains it."""
    fields = ("config", "data", "commit", "device", "trained_in", "versions")
    lines: list[list[Cell]] = []
    for name, training in results.size.trainings.items():
        table = results.run(name)
        last = None if table.empty else str(table["utc"].max())
        facts: list[Cell] = [_joined(table, field) for field in fields]
        train = training.command(results.size.override_of(training))
        lines.append([name, len(table), *facts, last, train])
    columns = ["run", "rows", "configuration", "data", "commit", "device", "trained in"]
    columns += ["versions", "last row, UTC", "command"]
    caption = "Hashes of configuration and data are in every row."
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


def measurements(results: StudyResults) -> Table:
    """Every measurement, and how many of its cells have a row."""
    lines: list[list[Cell]] = []
    for name in results.size.trainings:
        planned = results.planned(name)
        for each in planned.measurements():
            cells = [x for seed in planned.seeds for x in planned.cells(each, seed)]
            count = sum(cell in results.measured for cell in cells)
            lines.append([name, f"{count:,} of {len(cells):,}", describe(each)])
    columns = ["run", "rows", "measurement"]
    caption = "The command that made a row is in the row (`argv`)."
    return Table("Every measurement", columns, lines, caption, command(results))


def describe(measurement: Measurement) -> str:
    """A measurement in words."""
    if not isinstance(measurement, Accuracy):
        name = "tolerance" if isinstance(measurement, Tolerance) else "audit"
        return f"{name}, {measurement.protocol} protocol"
    parts = [measurement.attack, f"{measurement.protocol} protocol"]
    if measurement.protocol == "switched":
        parts.append(f"as published: {', '.join(measurement.switches) or 'nothing'}")
    return "; ".join(parts + ["corrupted images"] * measurement.corrupted)


def read_pilot(folder: Path) -> Frame:
    """The rows of the pilot runs, which lie beside the study's folder; empty if they
    are not there."""
    return rows.frame(files.read([Path(folder).resolve().parent / PILOT]))


def pilot(table: Frame) -> Table:
    """Every net of the pilot runs against the baseline, under every attack."""
    table = table[~table["diverged"].astype(bool)]
    table = table.assign(name=[attack_name(x) for x in table.to_dict("records")])
    keys = ["name", "eps", "n"]
    lines: list[list[Cell]] = []
    for (attack, eps, n), group in table.groupby(keys, sort=False):
        values = {
            net: 100 * x["value"] for net, x in group.groupby("model", sort=False)
        }
        base = values.pop("baseline", ())
        label = "clean" if attack == "none" else f"{attack} {format_eps(eps)}"
        for net, ours in values.items():
            if min(len(ours), len(base)) > 1:
                means = float(base.mean()), float(ours.mean())
                lines.append([label, net, n, *means, *_welch(ours, base)])
    columns = ["attack", "net", "images", "baseline", "net's"]
    columns += ["difference (95 % interval)", "against the baseline"]
    caption = (
        "CIFAR-10, 10 layers, matched trunk, 12 epochs, five seeds, sound protocol "
        "with one start of PGD. Accuracy in %, differences in points with Welch's "
        "interval over the seeds, not corrected for the number of comparisons."
    )
    return Table(
        "Trained for twelve epochs", columns, lines, caption, "see results/README.md"
    )


def _welch(ours: Frame, base: Frame) -> tuple[str | None, str]:
    gap = float(ours.mean() - base.mean())
    if ours.nunique() == base.nunique() == 1:
        low = high = gap
        text: str | None = f"{gap:+.2f}"
    else:
        test = stats.ttest_ind(ours, base, equal_var=False).confidence_interval(0.95)
        low, high = float(test.low), float(test.high)
        text = interval_text(Estimate(gap, low, high, len(ours)))
    return text, "above" if low > 0 else "below" if high < 0 else "open"


def pilot_sentence(table: Frame) -> str:
    """How the nets of the pilot runs compare under PGD; empty without rows."""
    lines = [x for x in pilot(table).rows if str(x[0]).startswith("pgd")]
    if not lines:
        return ""
    words = [str(line[-1]) for line in lines]
    counts = ", ".join(f"{words.count(x)} {x}" for x in ("above", "below", "open"))
    return (
        f"twelve epochs, matched trunk, five seeds, sound PGD-40, {lines[0][2]:,} "
        f"images: of {len(lines)} comparisons with the baseline {counts}"
    )


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
