"""The paper's Table 1, mean corruption errors and a heat map, from rows alone.

    python -m symjax.report corruption runs/baseline runs/parallel_rs --out heat.png

The first run is the reference of the normalized errors. Means are over all five
severities; those of the 15 corruptions of the benchmark and of all 19 are kept apart.
`--protocol published` shows the rows of the published attacks, whose epsilons are in
units of the input of the net.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from symjax.data import corruptions
from symjax.evaluation import results
from symjax.evaluation import rows as measured_rows
from symjax.evaluation.rows import ATTACK, Row
from symjax.folders import expand
from symjax.formatting import attack_name, markdown, mean_and_sd_text
from symjax.metrics import corruption as errors
from symjax.report.parts import save_figure
from symjax.statistics import mean_and_sd

GROUPS = {"15": corruptions.BENCHMARK, "19": corruptions.NAMES}
IMAGES = ["dataset", "data", "split", "n", "protocol", "source", "corruption_seed"]
"""Entries of the rows in which all runs have to agree."""


def read(folders: Sequence[Path], protocol: str = "sound") -> pd.DataFrame:
    """The rows of some runs, see `frame`; the first run is the reference.

    Args:
      folders: of the runs.
      protocol: of the rows.

    Raises:
      ValueError: if a run has no such rows, or they are not of the same images.
    """
    rows = {folder: results.read([folder / "results.jsonl"]) for folder in folders}
    return frame(rows, protocol)


def frame(rows: Mapping[Path, Sequence[Row]], protocol: str = "sound") -> pd.DataFrame:
    """One line per net, attack, corruption, severity and seed, in the rows' order.

    Args:
      rows: by run folder; diverged seeds and others than accuracies are left out.
      protocol: "sound" or "published"; rows of the other are left out.

    Returns:
      The columns of `symjax.evaluation.rows.frame`, and "net", the name of the folder;
      "attack" with its norm and eps; and "corruption", "" for clean images.

    Raises:
      ValueError: if a run has no rows of corruptions, or they are not of the same
        images.
    """
    parts = [_of_run(folder, of_run, protocol) for folder, of_run in rows.items()]
    data = pd.concat(parts, ignore_index=True)
    images: Any = _corrupted(data).reindex(columns=["net", *IMAGES])
    images = images.drop_duplicates(IMAGES)
    if len(images) > 1:
        differing = [name for name in IMAGES if images[name].nunique(dropna=False) > 1]
        raise ValueError(
            "the rows are not of the same images: "
            f"{images[['net', *differing]].to_dict('records')}; measure all runs with "
            "the same --n and --corruptions."
        )
    return data


def _of_run(folder: Path, rows: Sequence[Row], protocol: str) -> pd.DataFrame:
    alive = [
        row
        for row in rows
        if row["kind"] == ATTACK and row["protocol"] == protocol and not row["diverged"]
    ]
    corrupted = [row for row in alive if row["corruption"] is not None]
    if not corrupted:
        raise ValueError(
            f"{folder} has no rows of corruptions, {protocol} protocol: measure "
            f"them with `python evaluate.py --run {folder} --metric corruption "
            f"--protocol {protocol}`."
        )
    clean = [
        row
        for row in alive
        if row["corruption"] is None
        and row["attack"] == "none"
        and row["n"] == corrupted[0]["n"]
    ]
    data = measured_rows.frame([*corrupted, *clean])
    return data.assign(
        net=folder.resolve().name,
        attack=[_attack(row) for row in (*corrupted, *clean)],
        corruption=data["corruption"].fillna(""),
    )


def _attack(row: Row) -> str:
    ball = "" if row["attack"] == "none" else f" {row['norm']} {row['eps_given']}"
    return attack_name(row) + ball


def under(data: pd.DataFrame, attack: str) -> pd.DataFrame:
    """The lines of one attack, such as "fgsm linf 1/255", and those of clean images.

    Raises:
      ValueError: if there are none; it lists the attacks that were measured.
    """
    there = list(_corrupted(data)["attack"].unique())
    if attack not in there:
        raise ValueError(f"attack {attack!r}: expected one of {there}.")
    is_clean = data["corruption"] == ""
    return data.loc[is_clean | (data["attack"] == attack), :]


def accuracies(data: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Accuracies of one net under one attack on some corruptions: `[S, C, V]`.

    Raises:
      ValueError: if one was not measured at a severity and seed; it names the first.
    """
    seeds = sorted(data["seed"].unique())
    wanted = pd.MultiIndex.from_product([seeds, names, corruptions.SEVERITIES])
    by_key = _values(data, ["seed", "corruption", "severity"])
    if missing := [key for key in wanted if key not in by_key.index]:
        seed, name, severity = missing[0]
        raise ValueError(
            f"{data['net'].iloc[0]} has no row of {name}, severity {severity}, seed "
            f"{seed} ({data['attack'].iloc[0]}), and {len(missing) - 1} more."
        )
    shape = len(seeds), len(names), len(corruptions.SEVERITIES)
    return by_key.loc[wanted].to_numpy(np.float64).reshape(shape)


def _values(data: Any, keys: list[str]) -> pd.Series:
    """The accuracies by some columns, in their order; no two rows may agree in them."""
    again = data[data.duplicated(keys)]
    if len(again):
        row = again.iloc[0]
        raise ValueError(
            f"{row['net']} has several rows of {row[keys].to_dict()}, "
            f"{row['attack']}, of several epochs or settings: give a run folder with "
            "one of them."
        )
    return data.set_index(keys)["value"].sort_index()


def measured(data: pd.DataFrame) -> list[str]:
    """The corruptions that are in the rows, in the benchmark's order."""
    there = set(data["corruption"])
    return [name for name in corruptions.NAMES if name in there]


def table_1(data: pd.DataFrame) -> str:
    """Table 1: accuracy in percent by corruption, one column per net and attack.

    Each is the mean over the severities and seeds. Below: the means of the 15 and of
    the 19 corruptions, the standard deviation over the corruptions, as the paper has
    it, and that of the seeds' means, which the paper leaves out. Markdown.
    """
    names = measured(data)
    columns = {key: 100 * accuracies(part, names) for key, part in _by_attack(data)}
    lines = []
    for place, name in enumerate(names):
        lines.append([name, *(f"{x[:, place].mean():.2f}" for x in columns.values())])
    for label, there in _groups(names).items():
        places = [names.index(name) for name in there]
        of_group = [x[:, places] for x in columns.values()]
        lines.append([f"Mean {label}", *(f"{x.mean():.2f}" for x in of_group)])
        if len(places) > 1:
            spread = [mean_and_sd(x.mean(axis=(0, 2)))[1] for x in of_group]
            lines.append([f"Std {label}", *(f"{value:.2f}" for value in spread)])
        seeds = [mean_and_sd_text(x.mean(axis=(1, 2))) for x in of_group]
        lines.append([f"Mean ± sd over seeds {label}", *seeds])
    head = ["corruption", *(f"{net}, {attack}" for net, attack in columns)]
    return markdown(head, lines) + "\n" + caption(data)


def mean_errors(data: pd.DataFrame) -> str:
    """Mean corruption errors of each net: plain, normalized, and relative, in percent.

    Markdown, one line per net, attack and group of corruptions: mean ± deviation over
    the seeds. The first net is the reference, whose errors are 100. Normalized errors
    compare nets under the same attack.
    """
    clean = {
        net: _values(part, ["seed"]).to_numpy()
        for net, part in data[data["corruption"] == ""].groupby("net", sort=False)
    }
    names, parts = measured(data), dict(_by_attack(data))
    reference = data["net"].iloc[0]
    head = ["net", "attack", "corruptions", "mean error", "mCE", "relative mCE"]
    lines = []
    for (net, attack), part in parts.items():
        for label, there in _groups(names).items():
            ours = accuracies(part, there)
            means = [errors.mean_error(ours)]
            if (reference, attack) in parts:
                theirs = accuracies(parts[reference, attack], there)
                means.append(errors.corruption_error(ours, theirs))
                if attack == "none" and {net, reference} <= set(clean):
                    pair = clean[net], theirs, clean[reference]
                    means.append(errors.relative_error(ours, *pair))
            texts = [mean_and_sd_text(100 * x) for x in means]
            lines.append([net, attack, label, *texts, *[""] * (3 - len(texts))])
    return markdown(head, lines) + "\n" + caption(data)


def caption(data: pd.DataFrame) -> str:
    """One line on the images, and on corruptions that are missing."""
    row = _corrupted(data).iloc[0]
    text = (
        f"accuracy in % of {row['n']:,} {row['split']} images of {row['dataset']}, "
        f"corruptions {source(row)}"
    )
    if row["protocol"] == "published":
        text += (
            "; as published: epsilons are in units of the net's input, images may "
            "leave the ball"
        )
    text += "; means of the five severities."
    missing = [name for name in corruptions.NAMES if name not in measured(data)]
    if missing:
        text += f" MISSING: {', '.join(missing)}; means are without."
    return text + "\n"


def draw(data: pd.DataFrame) -> Figure:
    """Heat maps of accuracy by corruption and severity, one per net and attack."""
    names, parts = measured(data), _by_attack(data)
    size = 1.5 + 2.6 * len(parts), 1.2 + 0.26 * len(names)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(parts), squeeze=False, sharey=True)[0]
    image = None
    for axis, ((net, attack), part) in zip(axes, parts, strict=True):
        mean = 100 * accuracies(part, names).mean(axis=0)
        image = axis.imshow(mean, vmin=0, vmax=100, cmap="viridis", aspect="auto")
        for (row, column), value in np.ndenumerate(mean):
            color = "white" if value < 55 else "black"
            style = {"ha": "center", "va": "center", "fontsize": 6, "color": color}
            axis.text(column, row, f"{value:.0f}", **style)
        axis.set(title=f"{net}\n{attack}", xlabel="severity")
        axis.set_xticks(
            range(len(corruptions.SEVERITIES)), [str(x) for x in corruptions.SEVERITIES]
        )
        axis.set_yticks(range(len(names)), names)
    if image is not None:
        figure.colorbar(image, ax=axes, label="accuracy in %")
    return figure


def source(row: Mapping[str, Any]) -> str:
    """Where a row's corrupted images come from, in words; empty for clean ones."""
    seed, text = row.get("corruption_seed"), row.get("source")
    if text is None or seed is None or np.isnan(seed):
        return text or ""
    return f"{text}, seed {seed:.0f}"


def _corrupted(data: pd.DataFrame) -> pd.DataFrame:
    return data.loc[data["corruption"] != "", :]


def _by_attack(data: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    """(net, attack) and their lines, in the order of the rows."""
    return list(_corrupted(data).groupby(["net", "attack"], sort=False))


def _groups(names: Sequence[str]) -> dict[str, list[str]]:
    """The corruptions of each group that are there, by "of 15" or "of 14 of the 15"."""
    groups = {}
    for count, wanted in GROUPS.items():
        there = [name for name in wanted if name in names]
        some = len(there) < len(wanted)
        groups[f"of {len(there)} of the {count}" if some else f"of {count}"] = there
    return {label: there for label, there in groups.items() if there}


def add_flags(parser: ArgumentParser) -> None:
    """Adds the flags of the command."""
    parser.add_argument("runs", nargs="+", type=expand, help="run folders")
    parser.add_argument("--out", type=expand, help="an image file, of the heat map")
    protocols = ["sound", "published"]
    parser.add_argument("--protocol", choices=protocols, default="sound")
    parser.add_argument("--attack", help='only this one: "none", "fgsm linf 1/255"')


def run(flags: Namespace) -> None:
    """Prints the tables, and writes the heat map if a file is named."""
    data = read(flags.runs, flags.protocol)
    if flags.attack:
        data = under(data, flags.attack)
    print(table_1(data))
    print(mean_errors(data), end="")
    if flags.out:
        save_figure(draw(data), flags.out)
