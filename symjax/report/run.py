"""One run as a page, from its rows alone.

page = of_run(Path("runs/baseline"))
"""

import itertools
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symjax.evaluation import results, titles
from symjax.evaluation.rows import ATTACK, AUDIT, METRIC, Row
from symjax.evaluation.table import undefined_images
from symjax.evaluation.titles import metric_name
from symjax.folders import reading
from symjax.formatting import attack_name, format_eps
from symjax.report.corruption import source
from symjax.report.curves import curves
from symjax.report.parts import Cell, Page, Table
from symjax.statistics import mean_and_sd
from symjax.terminal import counted

RUN = (  # what a row says of the run that it is of
    *("run", "model", "depth", "width", "trunk", "group", "basis", "training", "epoch"),
    *("dataset", "dtype", "split"),
)
SHOWN = ("kind", "attack", "norm", "eps", "eps_given", "eps_unit", "protocol", "n")
SHOWN += ("seed", "metric", "check", "corruption", "severity")
SOURCE = ("source", "corruption_seed")
NO_VERDICT = (
    "A run alone decides no claim: claims compare runs, so there are no verdicts here."
)
Kind = list[Row]


def of_run(folder: Path) -> Page:
    """The page of one run folder.

    Args:
      folder: with `results.jsonl`, and `config.json` if there is one.

    Returns:
      Accuracies, metrics, a picture of accuracy against eps for each norm, the audit's
      rows, and the provenance. Diverged seeds are left out aloud.

    Raises:
      ValueError: if there are no rows, or a file is not as runs have it.
    """
    rows = results.read_existing([folder])
    groups = _groups(rows)
    accuracy = [kind for kind in groups if kind[0]["kind"] == ATTACK]
    plain = [kind for kind in accuracy if kind[0].get("corruption") is None]
    corrupted = [kind for kind in accuracy if kind[0].get("corruption") is not None]
    audit = [kind for kind in groups if kind[0]["kind"] == AUDIT]
    metrics = [kind for kind in groups if kind[0]["kind"] == METRIC]
    tables = []
    if plain:
        tables.append(_accuracy("Accuracy", plain, rows))
    if corrupted:
        name = "Accuracy on corrupted images"
        tables.append(_accuracy(name, corrupted, rows))
    if metrics:
        tables.append(_metrics(metrics, rows))
    name = folder.resolve().name
    return Page(
        title=f"Run {name}",
        summary=f"{_heading(rows)}\n\n{NO_VERDICT}",
        tables=tables,
        pictures=curves(plain),
        audit=[_audit(audit)] if audit else (),
        provenance=_provenance(folder, rows),
    )


def _groups(rows: Sequence[Row]) -> list[Kind]:
    """Rows that differ in their seed at most, in their order."""
    found: dict[str, Kind] = {}
    for row in rows:
        key = json.dumps(row.identity_without(("seed",)), sort_keys=True)
        found.setdefault(key, []).append(row)
    return list(found.values())


def _accuracy(name: str, kinds: list[Kind], rows: Kind) -> Table:
    columns = ["attack", "norm", "eps", "protocol", "mean, %", "sd", "n", "seeds"]
    columns += ["in ball", "settings"]
    corrupted = kinds[0][0].get("corruption") is not None
    if corrupted:
        columns[4:4] = ["corruption", "severity"]
    lines, constant = [], _constant(rows)
    for kind in kinds:
        first = kind[0]
        values = [100 * row["value"] for row in kind if not row.get("diverged")]
        inside = all(row.get("in_ball", True) for row in kind)
        line: list[Cell] = [attack_name(first), first["norm"] or ""]
        line += [format_eps(first["eps"]), first["protocol"], *_of_seeds(values)]
        line += [first["n"], len(values), inside, _settings(first, constant)]
        if corrupted:
            line[4:4] = [first["corruption"], first["severity"]]
        lines.append(line)
    every = [row for kind in kinds for row in kind]
    says = "Accuracy in percent, a line an attack, norm, eps and protocol; mean and "
    says += "sample standard deviation over seeds. Eps is in units of pixels in [0, 1]."
    if corrupted:
        images = sorted(set(map(source, every)))
        says += f" Corruptions: {'; '.join(images)}."
    return Table(name, columns, lines, says + _warnings(every), _commands(every))


def _metrics(kinds: list[Kind], rows: Kind) -> Table:
    columns = ["figure", "mean", "sd", "low", "high", "n", "seeds", "undefined"]
    columns += ["settings"]
    lines, constant = [], _constant(rows)
    for kind in kinds:
        alive = [row for row in kind if not row.get("diverged")]
        mean, spread = _of_seeds([row["value"] for row in alive])
        low = [row["low"] for row in alive if row.get("low") is not None]
        high = [row["high"] for row in alive if row.get("high") is not None]
        numbers = [mean, spread, min(low, default=None), max(high, default=None)]
        texts = [None if value is None else f"{value:.4g}" for value in numbers]
        undefined = sum(map(undefined_images, alive))
        first = kind[0]
        line = [metric_name(first), *texts, first["n"], len(alive), undefined]
        lines.append([*line, _settings(first, constant)])
    every = [row for kind in kinds for row in kind]
    says = "A line a figure: its mean over images and seeds, the sample standard "
    says += "deviation of the seeds' means, and the hull of their 95 % intervals, "
    says += "which are over images. Undefined: images without a figure, all seeds."
    caption = says + _warnings(every)
    return Table("Metrics", columns, lines, caption, _commands(every))


def _audit(kinds: list[Kind]) -> Table:
    """Whatever the audit's rows say, but for what all rows say."""
    every = [row for kind in kinds for row in kind]
    common = {*RUN, *SHOWN}
    keys = dict.fromkeys(
        key for row in every for key in (*row.identity, *row.facts) if key not in common
    )
    extra = [
        key for key in keys if any(row.get(key) not in (None, "") for row in every)
    ]
    lines: list[list[Cell]] = []
    for row in every:
        value = row["value"]
        line = [titles.title(row), row["seed"], row["n"]]
        line += [value if value is None else f"{value:.4g}"]
        lines.append([*line, *(_plain(row.get(key)) for key in extra)])
    columns = ["check", "seed", "n", "value", *extra]
    says = "Checks of the attack and of the nets, as their rows have them."
    return Table("Audit", columns, lines, says, _commands(every))


def _provenance(folder: Path, rows: Kind) -> list[Table]:
    facts: list[list[Cell]] = [["run folder", str(folder)]]
    for name in (*RUN, "config", "data", "commit", "device", "platform"):
        if there := dict.fromkeys(_text(row[name]) for row in rows if name in row):
            label = f"{name}, hash" if name in ("config", "data") else name
            facts.append([label, ", ".join(there)])
    versions = [row["versions"] for row in rows if "versions" in row]
    for name in dict.fromkeys(name for each in versions for name in each):
        there = dict.fromkeys(str(each[name]) for each in versions if name in each)
        facts.append([f"version of {name}", ", ".join(there)])
    times = sorted(row["utc"] for row in rows if "utc" in row)
    if times:
        facts.append(["measured, UTC", f"{times[0]} to {times[-1]}"])
    tables = [Table("Origin", ["what", "value"], facts)]
    config = folder / "config.json"
    if config.exists():
        tables.append(Table("Configuration", ["key", "value"], _config(config)))
    columns = ["cell", "what", "eps", "seed", "value", "commit", "device", "time, UTC"]
    lines = [_origin(row) for row in rows]
    return [*tables, Table("Rows", columns, lines, "Values are as measured.", digits=4)]


def _origin(row: Row) -> list[Cell]:
    what, commit = _kind(row), row.get("commit")
    if row.get("corruption") is not None:
        what += f", {row['corruption']} {row['severity']}"
    start: list[Cell] = [row["cell_id"], what, _eps(row), row["seed"]]
    end = commit and commit[:10] + ("+changes" if commit.endswith("+changes") else "")
    return [*start, row["value"], end, row.get("device"), row.get("utc")]


def _eps(row: Row) -> str | None:
    return format_eps(row["eps"]) if "eps" in row else None


def _config(path: Path) -> list[list[Cell]]:
    """The configuration, a line a key."""
    with reading(path, "mend or remove it"):
        config = json.loads(path.read_text())

    def flat(prefix: str, values: Any) -> list[list[Cell]]:
        if not isinstance(values, dict):
            return [[prefix, _text(values)]]
        parts = [flat(f"{prefix}.{key}", value) for key, value in values.items()]
        return list(itertools.chain(*parts))

    return [[str(key).removeprefix("."), value] for key, value in flat("", config)]


def _commands(rows: Kind) -> str:
    """The commands that made the rows, a line each, of those rows that have theirs."""
    made_by = (shlex.join(row["argv"]) for row in rows if "argv" in row)
    return "\n".join(dict.fromkeys(made_by))


def _kind(row: Row) -> str:
    if row["kind"] != ATTACK:
        return metric_name(row) if row["kind"] == METRIC else titles.title(row)
    clean = "corrupted" if row.get("corruption") is not None else "clean"
    if row["attack"] == "none":
        return f"{clean} accuracy, {row['protocol']}"
    on = " on corrupted images" if clean == "corrupted" else ""
    return f"{attack_name(row)}{on}, {row['norm']}, {row['protocol']}"


def _constant(rows: Kind) -> set[str]:
    """What the same is said of the run by every row, and needs no column."""
    return {name for name in RUN if len({_text(row.get(name)) for row in rows}) == 1}


def _settings(row: Row, constant: set[str]) -> str:
    hidden = {*SHOWN, *SOURCE, *constant}
    if row.get("attack") == "pgd":
        hidden |= {"steps"}
    said = row.identity_without(hidden)
    return ", ".join(f"{k} {_text(v)}" for k, v in said.items() if v is not None)


def _of_seeds(values: Sequence[float]) -> tuple[float | None, float | None]:
    return mean_and_sd(values) if values else (None, None)


def _warnings(rows: Kind) -> str:
    says, lost = "", sorted({row["seed"] for row in rows if row.get("diverged")})
    if lost:
        says += f" Seeds left out because they diverged: {', '.join(map(str, lost))}."
    if any(r["protocol"] == "sound" and not r.get("in_ball", True) for r in rows):
        says += " WRONG: some images left the ball or the valid range."
    return says


def _heading(rows: Kind) -> str:
    row = rows[0]
    parts = [f"{row.get('model', 'a net')}"]
    if "depth" in row:
        parts.append(f"{row['depth']} layers, {row.get('trunk')} trunk")
    parts.append(f"{row.get('dataset')}, epoch {row.get('epoch')}")
    seeds = counted(len({row["seed"] for row in rows}), "seed")
    return f"{', '.join(parts)}; {counted(len(rows), 'row')} of {seeds}."


def _plain(value: Any) -> Cell:
    return value if isinstance(value, str | float | int | None) else _text(value)


def _text(value: Any) -> str:
    """A setting for people; of a long list its ends."""
    if isinstance(value, list) and len(value) > 4:
        return f"{value[0]} to {value[-1]} ({len(value)})"
    return value if isinstance(value, str) else json.dumps(value)
