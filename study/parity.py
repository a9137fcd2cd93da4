"""The published code against ours with the same weights: `benchmarks.parity`'s rows.

table = table(read(Path("results/study")))
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from symjax import models
from symjax.report.parts import Cell, Table

FILE = "benchmarks/parity.jsonl"
COMMAND = f"python -m benchmarks.parity PATH_TO_CHECKOUT --out results/{FILE}"
NAME = "Parity with the published code, by weights"
CAPTION = (
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


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows, which lie beside the study's folder; none if they are not there."""
    path = Path(folder).resolve().parent / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line for each net, type of numbers and attack."""
    order = list(models.MODELS)
    rows = sorted(rows, key=lambda row: (order.index(row["net"]), row["dtype"]))
    radii = list(dict.fromkeys(x["eps"] for row in rows for x in row["attacks"]))
    names = list(dict.fromkeys(x["attack"] for row in rows for x in row["attacks"]))
    columns = ["net", "numbers", "images", "logits, evaluation", "logits, training"]
    columns += ["clean: published, ours", "attack"]
    for eps in radii:
        columns += [f"{eps:g}: published, ours", f"{eps:g}: equal"]
    lines = [_line(row, name, radii) for row in rows for name in names]
    return Table(NAME, columns, lines, CAPTION, COMMAND)


def _line(row: Mapping[str, Any], attack: str, radii: Sequence[float]) -> list[Cell]:
    logits = [f"{row['logits'][mode]:.0e}" for mode in ("evaluation", "training")]
    cells: list[Cell] = [row["net"], row["dtype"], row["images"], *logits]
    cells += [_both(row["clean"]), attack]
    found = {x["eps"]: x for x in row["attacks"] if x["attack"] == attack}
    for eps in radii:
        cells += [_both(found[eps]), _percent(found[eps]["agree"])]
    return cells


def _both(values: Mapping[str, float]) -> str:
    return ", ".join(f"{100 * values[who]:.1f}" for who in ("published", "ours"))


def _percent(fraction: float) -> str:
    """Never rounded up to 100."""
    hundredths = int(fraction * 1e4)
    return "100" if fraction == 1 else f"{hundredths / 100:.2f}"
