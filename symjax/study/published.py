"""The paper's numbers, and which cell of a run each one is.

    for cell in cells():
        cell.artefact, cell.training, cell.attack, cell.eps, cell.percent

Accuracy in percent, mean over five seeds. Tables and Figure 6 are exact; Figures 1 and
2 were read off the plots, to about half a point, and where a marker is hidden there is
no number.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Iterator
from typing import Any

READ_OFF = 0.5
"""Points by which a number of Figure 1 or 2 may be off."""
TABLE_1_NETS = ("baseline", "cascaded", "parallel_rot", "parallel_rs", "weighted")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One published number.

    Attributes:
      artefact: "figure 2", "table 4".
      training: name of the run, see `trainings.TRAININGS`.
      attack: "fgsm" or "pgd". Table 1 does not name its attack; it is very probably PGD
        (`docs/study.md`).
      eps: in the published unit.
      percent: accuracy; None where it cannot be read.
      corruption: of Table 1.
    """

    artefact: str
    training: str
    attack: str
    eps: float
    percent: float | None
    corruption: str | None = None


@functools.cache
def numbers() -> dict[str, Any]:
    """All of them, as `published.json` holds them."""
    path = importlib.resources.files("symjax.study") / "published.json"
    return json.loads(path.read_text())


@functools.cache
def cells() -> tuple[Cell, ...]:
    """Every cell of Figures 1, 2 and 6 and of Tables 1 to 4, in the paper's order."""
    return (
        *_curves("figure 1", 4),
        *_curves("figure 2", 10),
        *_table_1(),
        *_tables_2_and_3(),
        *_table_4(),
        *_figure_6(),
    )


def tolerances() -> dict[str, tuple[float, float]]:
    """Figure 5's two images: what the net of each run tolerates."""
    rows = numbers()["figure5_tolerance"]
    return {
        run("cifar10", 10, net): tuple(row[net] for row in rows.values())
        for net in ("baseline", "parallel_rs")
    }  # pyright: ignore[reportReturnType] - two rows


def run(dataset: str, depth: int, net: str) -> str:
    """The name of the run that a published number is of."""
    return f"{dataset}-{depth}-{net}-published"


def _curves(artefact: str, wanted: int) -> Iterator[Cell]:
    curves = numbers()["figure1_2_curves"]
    for key, values in curves["curves"].items():
        dataset, depth, net, attack = key.split("/")
        if int(depth) == wanted:
            of_run = artefact, run(dataset, wanted, net), attack
            yield from _line(of_run, curves["eps"], values)


def _table_1() -> Iterator[Cell]:
    table = numbers()["table1_cifar10c"]
    for corruption, of_net in table["rows"].items():
        if corruption in ("mean", "std"):
            continue
        for net, values in of_net.items():
            of_run = "table 1", run("cifar10", 10, net), "pgd"
            yield from _line(of_run, table["eps"], values, corruption)


def _tables_2_and_3() -> Iterator[Cell]:
    table = numbers()["table2_3_fully_equivariant"]
    for artefact, dataset in (("table 2", "cifar10"), ("table 3", "cifar100")):
        for depth, of_attack in table[dataset].items():
            for attack, values in of_attack.items():
                of_run = artefact, run(dataset, int(depth), "equivariant"), attack
                yield from _line(of_run, table["eps"], values)


def _table_4() -> Iterator[Cell]:
    table = numbers()["table4_adversarial_training"]
    names = {
        "cnn_at": "cifar10-10-baseline-published-pgd",
        "equivariant_no_at": run("cifar10", 10, "equivariant"),
    }
    for key, name in names.items():
        for attack, values in table[key].items():
            yield from _line(("table 4", name, attack), table["eps"], values)


def _figure_6() -> Iterator[Cell]:
    table = numbers()["figure6_ablation"]
    for attack in ("fgsm", "pgd"):
        for net, values in table[attack].items():
            of_run = "figure 6", run(table["dataset"], table["depth"], net), attack
            yield from _line(of_run, table["eps"], values)


def _line(
    of_run: tuple[str, str, str], radii, values, corruption: str | None = None
) -> Iterator[Cell]:
    for eps, percent in zip(radii, values, strict=True):
        yield Cell(*of_run, eps, percent, corruption)
