"""Where each number of the study comes from, and the audits, as tables.

for table in provenance(evidence):
    table.rows
"""

import collections

from symjax.evaluation import titles
from symjax.evaluation.rows import Row
from symjax.report.parts import Cell, Table
from symjax.study.evidence import Evidence
from symjax.study.measurements import Audit, of_training
from symjax.study.trainings import Training

FIELDS = ("config", "data", "commit", "device", "trained_in")


def provenance(evidence: Evidence) -> list[Table]:
    """Every run, and every measurement with its command."""
    return [_runs(evidence), _measurements(evidence)]


def audits(evidence: Evidence) -> list[Table]:
    """Which checks each net fails, under both protocols."""
    rows: list[list[Cell]] = []
    for name, training in evidence.size.trainings.items():
        for protocol in ("sound", "published"):
            if Audit(protocol) in list(of_training(training, evidence.size)):
                rows.append([name, protocol, *_audit(evidence.audit(name, protocol))])
    columns = ["run", "protocol", "passed", "failed", "no answer", "what fails"]
    caption = (
        "Sanity checks of seed 0's net and of PGD at 0.03, in pixels or in the "
        "published unit. Passing is necessary for a number to be believed, not "
        "sufficient."
    )
    asked = Audit("published").command("RUN", evidence.size)
    return [Table("Audit", columns, rows, caption, asked)]


def _audit(rows: list[Row]) -> list[Cell]:
    if not rows:
        return [None] * 4
    counts = collections.Counter(row["value"] for row in rows)
    failed = [
        f"{titles.title(row)}: {row['detail']} ({row['measured']:.3g})"
        for row in rows
        if row["value"] == 0
    ]
    return [counts[True], counts[False], counts[None], "; ".join(failed) or "nothing"]


def _runs(evidence: Evidence) -> Table:
    columns = ["run", "rows", "configuration", "data", "commit", "device", "trained in"]
    columns += ["versions", "last row, UTC", "command"]
    rows: list[list[Cell]] = []
    for name, training in evidence.size.trainings.items():
        there = list(evidence.rows(name).values())
        facts: list[Cell] = [_joined(there, field) for field in FIELDS]
        versions = dict.fromkeys(
            ", ".join(f"{k} {v}" for k, v in row["versions"].items()) for row in there
        )
        last = max((row["utc"] for row in there), default=None)
        facts += ["; ".join(versions) or None, last]
        rows.append([name, len(there), *facts, command(training, evidence)])
    caption = "Hashes of configuration and data are in every row."
    return Table("Runs", columns, rows, caption)


def command(training: Training, evidence: Evidence) -> str:
    """What trains a run."""
    return training.command(evidence.size.changes(training))


def _joined(rows: list[Row], field: str) -> str | None:
    return ", ".join(dict.fromkeys(str(row[field]) for row in rows)) or None


def _measurements(evidence: Evidence) -> Table:
    rows: list[list[Cell]] = []
    for name, training in evidence.size.trainings.items():
        there = evidence.rows(name)
        for each in of_training(training, evidence.size):
            cells = [
                cell
                for seed in range(evidence.size.seeds_of(training))
                for cell in evidence.cells(name, each, seed)
            ]
            found = sum(cell in there for cell in cells)
            rows.append(
                [
                    name,
                    f"{found:,} of {len(cells):,}",
                    each.command(name, evidence.size),
                ]
            )
    columns = ["run", "rows", "command"]
    return Table("Every measurement and its command", columns, rows)
