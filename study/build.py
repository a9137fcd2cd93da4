"""Makes every table, figure and page of the study, from rows alone.

    build(Path("results/study"), Path("docs"))

It writes `paper.md` (verdicts and tables), `report.html` (the same with figures, the
audit and every command, in one file) and `figures/study/`. No net is run, and nothing
is missing that a laptop does not have.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from symjax.report.page import render
from symjax.report.parts import Cell, Page, Table, Verdict
from symjax.study import attribution, earlier, figures, parity, tables
from symjax.study.claims import CLAIMS
from symjax.study.evidence import Evidence
from symjax.study.listing import progress
from symjax.study.provenance import audits, provenance

TITLE = "Bridging Symmetry and Robustness, measured again"
COMMAND = "python -m symjax.study build"
HEAD = """\
# The paper, claim by claim

Made by `{command}` from the rows in `results/`; do not edit. The same with figures, the
audit and the command of every cell: [report.html](report.html).

{summary}
"""


def build(results: Path, out: Path, console: Console | None = None) -> list[Path]:
    """Writes everything, each file whole or not at all.

    Args:
      results: the folder of the study's rows, of all sizes.
      out: where to.
      console: told what was written.

    Returns:
      The files.
    """
    console = console or Console()
    evidence, out = Evidence(results), Path(out)
    page = of_study(evidence, results)
    written = [
        _write(out / "paper.md", markdown(page)),
        _write(out / "report.html", render(page)),
        *figures.save(evidence, out / "figures" / "study"),
    ]
    for path in written:
        console.print(str(path), highlight=False, soft_wrap=True)
    return written


def of_study(evidence: Evidence, results: Path) -> Page:
    """The page of the study."""
    before = earlier.read(results)
    found = [*tables.tables(evidence), *attribution.tables(evidence)]
    if before:
        found.append(earlier.differences(before))
    return Page(
        TITLE,
        summary(evidence, results),
        [claim.judge(evidence, before) for claim in CLAIMS],
        found,
        figures.pictures(evidence),
        audits(evidence),
        provenance(evidence),
        [parity.table(rows)] if (rows := parity.read(results)) else [],
    )


def summary(evidence: Evidence, results: Path) -> str:
    """How far the study is, and how verdicts are come by."""
    states = [
        progress(x, evidence.size, results) for x in evidence.size.trainings.values()
    ]
    done = sum(state.complete for state in states)
    rows, needed = (sum(getattr(x, k) for x in states) for k in ("rows", "needed"))
    return (
        f"Of {len(states)} runs {done} are measured whole, and {rows:,} of {needed:,} "
        "cells have a row. A verdict rests on the full size alone: five seeds, the "
        "published number of epochs, 10,000 test images (1,000 of AutoAttack). What is "
        "missing makes a claim inconclusive, whatever smaller runs say.\n\n"
        "Published protocol: each net attacked as the published code attacks it, "
        "epsilons in units of its input. Sound protocol: one epsilon in pixel units "
        "for all, valid pixels, running averages, random starts, best iterates. A "
        "comparison holds under a protocol where every paired 95 % interval (images "
        "and seeds redrawn) is on its side, fails where one is on the other, and is "
        "open else; what is judged otherwise says so. Some claims are settled by the "
        "published code, or by the paper's own numbers. Nets of twelve epochs, the "
        "last table, are context: no verdict rests on them."
    )


def markdown(page: Page) -> str:
    """Verdicts and tables of a page."""
    parts = [HEAD.format(command=COMMAND, summary=page.summary)]
    parts += _sections(page.reproduction)
    parts += ["## Verdicts\n", _verdicts(page.verdicts), *_sections(page.tables)]
    parts.append("## Audit\n")
    parts += [f"{_table(table)}\n{table.caption}\n" for table in page.audit]
    return "\n".join(parts)


def _sections(tables: Sequence[Table]) -> list[str]:
    """A heading, table, caption and command of each."""
    parts = []
    for table in tables:
        parts.append(f"## {table.name}\n\n{_table(table)}\n{table.caption}\n")
        if table.command:
            parts.append(f"    {table.command}\n")
    return parts


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [x.claim, x.where, x.published, x.sound, f"**{x.verdict}**", x.evidence]
        for x in verdicts
    ]
    columns = ["claim", "where", "published protocol", "sound", "verdict", "evidence"]
    return _table(Table("", columns, rows))


def _table(table: Table) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns)]
    lines += [[_text(cell, table.digits) for cell in row] for row in table.rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(cell: Cell, digits: int) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.{digits}f}"
    return f"{cell:,}" if isinstance(cell, int) else cell.replace("|", "\\|")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path
