"""The paper's numbers, and which cell of a run each one is.

    numbers()["table4_adversarial_training"]         # as `published.json` holds them
    cells()[cells()["artefact"] == "figure 2"]       # one line per published number

Accuracy in percent, mean over five seeds. Tables and Figure 6 are exact; Figures 1 and
2 were read off the plots, to about half a point, and where a marker is hidden there is
no number.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.runs import run_name

Frame = Any
"""A table of pandas, whose types pyright cannot follow."""
READ_OFF = 0.5
"""Points by which a number of Figure 1 or 2 may be off."""
COLUMNS = ["artefact", "run", "net", "attack", "eps", "percent", "corruption"]
"""Of `cells`. eps: in the published unit. percent: NaN where it cannot be read.
corruption: of Table 1, else empty. Table 1 does not name its attack, which is very
probably PGD (`docs/study.md`)."""


@functools.cache
def numbers() -> dict[str, Any]:
    """All numbers, as `published.json` holds them."""
    return json.loads((Path(__file__).parent / "published.json").read_text())


def table_1_nets() -> list[str]:
    """The nets of Table 1, in the order of its columns."""
    return list(numbers()["table1_cifar10c"]["rows"]["mean"])


@functools.cache
def cells() -> Frame:
    """Every number of Figures 1, 2 and 6 and of Tables 1 to 4, in the paper's order."""
    parts = (_curves("figure 1", 4), _curves("figure 2", 10), _table_1())
    parts += (_tables_2_and_3(), _table_4(), _figure_6())
    lines = [
        (*of_run, eps, np.nan if percent is None else percent, corruption)
        for part in parts
        for of_run, radii, values, corruption in part
        for eps, percent in zip(radii, values, strict=True)
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


@functools.cache
def percent(run: str, attack: str, eps: float) -> float | None:
    """The paper's number on clean test images; None if there is none."""
    table = cells()
    mine = (table["run"] == run) & (table["attack"] == attack)
    mine &= (table["corruption"] == "") & np.isclose(table["eps"], eps)
    values = table[mine]["percent"].dropna()
    return float(values.iloc[0]) if len(values) else None


def tolerances() -> dict[str, tuple[float, float]]:
    """The tolerance of each net of Figure 5, for its two images."""
    first, second = numbers()["figure5_tolerance"].values()
    nets = ("baseline", "parallel_rs")
    return {net: (first[net], second[net]) for net in nets}


Lines = Iterator[tuple[tuple[str, str, str, str], Any, Any, str]]


def _curves(artefact: str, wanted: int) -> Lines:
    curves = numbers()["figure1_2_curves"]
    for key, values in curves["curves"].items():
        dataset, depth, net, attack = key.split("/")
        if int(depth) == wanted:
            run = run_name(dataset, wanted, net)
            yield (artefact, run, net, attack), curves["eps"], values, ""


def _table_1() -> Lines:
    table = numbers()["table1_cifar10c"]
    for corruption, of_net in table["rows"].items():
        if corruption in ("mean", "std"):
            continue
        for net, values in of_net.items():
            of_run = "table 1", run_name("cifar10", 10, net), net, "pgd"
            yield of_run, table["eps"], values, corruption


def _tables_2_and_3() -> Lines:
    table, net = numbers()["table2_3_fully_equivariant"], "equivariant"
    for artefact, dataset in (("table 2", "cifar10"), ("table 3", "cifar100")):
        for depth, of_attack in table[dataset].items():
            for attack, values in of_attack.items():
                run = run_name(dataset, int(depth), net)
                yield (artefact, run, net, attack), table["eps"], values, ""


def _table_4() -> Lines:
    table = numbers()["table4_adversarial_training"]
    trained = run_name("cifar10", 10, "baseline", variant="pgd")
    untrained = run_name("cifar10", 10, "equivariant")
    for key, run, net in (
        ("cnn_at", trained, "baseline"),
        ("equivariant_no_at", untrained, "equivariant"),
    ):
        for attack, values in table[key].items():
            yield ("table 4", run, net, attack), table["eps"], values, ""


def _figure_6() -> Lines:
    table = numbers()["figure6_ablation"]
    for attack in ("fgsm", "pgd"):
        for net, values in table[attack].items():
            run = run_name(table["dataset"], table["depth"], net)
            yield ("figure 6", run, net, attack), table["eps"], values, ""
