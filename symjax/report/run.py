"""One run as a page, from its rows alone.

page = of_run(Path("runs/baseline"))
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from symjax.evaluation import results, titles
from symjax.evaluation.rows import ATTACK, AUDIT, METRIC, Row, frame
from symjax.evaluation.table import heading, undefined_images, warnings
from symjax.folders import reading
from symjax.formatting import attack_name, format_eps
from symjax.report.corruption import source
from symjax.report.curves import curves
from symjax.report.metric_rows import by_setting
from symjax.report.parts import Cell, Page, Table
from symjax.statistics import mean_and_sd
from symjax.terminal import counted

RUN = (  # entries of the run
    *("run", "model", "depth", "width", "trunk", "group", "basis", "training", "epoch"),
    *("dataset", "dtype", "split"),
)
SHOWN = (  # entries that have columns of their own
    *("kind", "attack", "norm", "eps", "eps_given", "eps_unit", "protocol", "n"),
    *("seed", "metric", "check", "corruption", "severity", "source"),
    *("corruption_seed",),
)
NO_VERDICT = (
    "A run alone decides no claim: claims compare runs, so there are no verdicts here."
)


def of_run(folder: Path) -> Page:
    """The page of one run folder: accuracies, metrics, curves, audit and provenance.

    Diverged seeds are left out, and the captions list them.

    Args:
      folder: with `results.jsonl`, and `config.json` if there is one.

    Raises:
      ValueError: if there are no rows, or a file is not as runs have it.
    """
    rows = results.read_existing([folder])
    accuracy = [row for row in rows if row["kind"] == ATTACK]
    plain = [row for row in accuracy if row["corruption"] is None]
    corrupted = [row for row in accuracy if row["corruption"] is not None]
    metrics = [row for row in rows if row["kind"] == METRIC]
    audit = [row for row in rows if row["kind"] == AUDIT]
    known: Any = frame(rows).astype(str)
    hidden = {name for name in RUN if name not in known or known[name].nunique() == 1}
    tables = []
    if plain:
        tables.append(_accuracy("Accuracy", plain, hidden))
    if corrupted:
        tables.append(_accuracy("Accuracy on corrupted images", corrupted, hidden))
    if metrics:
        tables.append(_metrics(metrics, hidden))
    seeds = counted(len({row["seed"] for row in rows}), "seed")
    size = f"{counted(len(rows), 'row')} of {seeds}"
    return Page(
        title=f"Run {folder.resolve().name}",
        summary=f"{heading(rows[0])}; {size}.\n\n{NO_VERDICT}",
        tables=tables,
        pictures=curves(plain),
        audit=[_audit(audit)] if audit else (),
        provenance=_provenance(folder, rows),
    )


def _accuracy(name: str, rows: list[Row], hidden: set[str]) -> Table:
    lines = []
    for group in by_setting(rows):
        first, alive = group[0], [row for row in group if not row["diverged"]]
        mean, sd = _of_seeds([100 * row["value"] for row in alive])
        images = {name: first[name] for name in ("corruption", "severity")}
        lines.append(
            {
                "attack": attack_name(first),
                "norm": first["norm"] or "",
                "eps": format_eps(first["eps"]),
                "protocol": first["protocol"],
                **(images if first["corruption"] else {}),
                "mean, %": mean,
                "sd": sd,
                "n": first["n"],
                "seeds": len(alive),
                "in ball": all(row.get("in_ball", True) for row in group),
                "settings": _settings(first, hidden),
            }
        )
    caption = (
        "Accuracy in percent, one line per attack, norm, eps and protocol; mean and "
        "sample standard deviation over seeds. Eps is in units of pixels in [0, 1]."
    )
    if rows[0]["corruption"] is not None:
        caption += f" Corruptions: {'; '.join(sorted(set(map(source, rows))))}."
    return _table(name, lines, caption, rows)


def _metrics(rows: list[Row], hidden: set[str]) -> Table:
    lines = []
    for group in by_setting(rows):
        alive = [row for row in group if not row["diverged"]]
        mean, sd = _of_seeds([row["value"] for row in alive])
        low = [row["low"] for row in alive if row.get("low") is not None]
        high = [row["high"] for row in alive if row.get("high") is not None]
        lines.append(
            {
                "metric": titles.metric_name(group[0]),
                "mean": _digits(mean),
                "sd": _digits(sd),
                "low": _digits(min(low, default=None)),
                "high": _digits(max(high, default=None)),
                "n": group[0]["n"],
                "seeds": len(alive),
                "undefined": sum(map(undefined_images, alive)),
                "settings": _settings(group[0], hidden),
            }
        )
    caption = (
        "One line per metric: its mean over images and seeds, the sample standard "
        "deviation of the seeds' means, and the hull of their 95 % intervals, which "
        "are over images. Undefined: images without a value, all seeds."
    )
    return _table("Metrics", lines, caption, rows)


def _audit(rows: list[Row]) -> Table:
    """The checks, with every entry that some row has and that has no column yet."""
    entries = [{**row.identity, **row.facts} for row in rows]
    names = dict.fromkeys(name for entry in entries for name in entry)
    extra = [
        name
        for name in names
        if name not in {*RUN, *SHOWN}
        and any(entry.get(name) not in (None, "") for entry in entries)
    ]
    lines = [
        {
            "check": titles.title(row),
            "seed": row["seed"],
            "n": row["n"],
            "value": _digits(row["value"]),
            **{name: _plain(row.get(name)) for name in extra},
        }
        for row in rows
    ]
    return _table("Audit", lines, "Checks of the attack and of the nets.", rows)


def _table(name: str, lines: list[dict], caption: str, rows: list[Row]) -> Table:
    """A table of dictionaries, with what is wrong with its rows, and their commands."""
    for text in warnings(rows):
        caption += f" {text[0].upper()}{text[1:]}."
    made_by = dict.fromkeys(shlex.join(row["argv"]) for row in rows if "argv" in row)
    cells = [list(line.values()) for line in lines]
    return Table(name, list(lines[0]), cells, caption, "\n".join(made_by))


def _provenance(folder: Path, rows: list[Row]) -> list[Table]:
    known: Any = frame(rows)
    versions = pd.DataFrame([row["versions"] for row in rows if "versions" in row])
    facts = {"run folder": str(folder)}
    for name in (*RUN, "config", "data", "commit", "device", "platform"):
        if name in known and known[name].notna().any():
            label = f"{name}, hash" if name in ("config", "data") else name
            facts[label] = ", ".join(known[name].dropna().map(_text).unique())
    for name in versions:
        texts = versions[name].dropna().astype(str).unique()
        facts[f"version of {name}"] = ", ".join(texts)
    if "utc" in known:
        times = known["utc"].dropna()
        facts["measured, UTC"] = f"{times.min()} to {times.max()}"
    tables = [Table("Origin", ["what", "value"], list(facts.items()))]
    path = folder / "config.json"
    if path.exists():
        with reading(path, "mend or remove it"):
            config = list(_flat("", json.loads(path.read_text())))
        tables.append(Table("Configuration", ["key", "value"], config))
    columns = ["cell", "what", "seed", "value", "commit", "device", "time, UTC"]
    lines = [_origin(row) for row in rows]
    return [*tables, Table("Rows", columns, lines, "Values are as measured.", digits=4)]


def _origin(row: Row) -> list[Cell]:
    commit = row.get("commit")
    if commit:
        commit = commit[:10] + "+changes" * commit.endswith("+changes")
    start = [row["cell_id"], titles.description(row), row["seed"], row["value"]]
    return [*start, commit, row.get("device"), row.get("utc")]


def _flat(prefix: str, value: Any) -> Iterator[list[Cell]]:
    """A configuration, one line per key."""
    if not isinstance(value, dict):
        yield [prefix.removeprefix("."), _text(value)]
        return
    for key, part in value.items():
        yield from _flat(f"{prefix}.{key}", part)


def _settings(row: Row, hidden: set[str]) -> str:
    """The entries of a row that have no column and differ between rows."""
    steps = {"steps"} if row.get("attack") == "pgd" else set()
    settings = row.identity_without({*SHOWN, *hidden, *steps})
    return ", ".join(f"{k} {_text(v)}" for k, v in settings.items() if v is not None)


def _of_seeds(values: Sequence[float]) -> tuple[float | None, float | None]:
    return mean_and_sd(values) if values else (None, None)


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _plain(value: Any) -> Cell:
    return value if isinstance(value, str | float | int | None) else _text(value)


def _text(value: Any) -> str:
    """A setting for people; of a long list its ends."""
    if isinstance(value, list) and len(value) > 4:
        return f"{value[0]} to {value[-1]} ({len(value)})"
    return value if isinstance(value, str) else json.dumps(value)
