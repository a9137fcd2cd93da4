"""Makes every table, figure and page of the study, from the rows only.

    build(Path("results/study"), Path("docs"))

It writes `paper.md` (verdicts and tables), `report.html` (the same with figures, the
audit and every measurement, in one file) and `figures/study/`. No net is run.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from study import figures, provenance, tables
from study.claims import CLAIMS
from study.results import StudyResults
from study.status import progress
from symjax.formatting import markdown as markdown_table
from symjax.io import atomic_write
from symjax.report.page import render
from symjax.report.parts import Cell, Page, Table, Verdict

TITLE = "Bridging Symmetry and Robustness, measured again"
COMMAND = "python -m study build"
HEAD = """\
# The paper, claim by claim

Made by `{command}` from the rows in `results/`; do not edit. The same with figures, the
audit and every measurement: [report.html](report.html).

{summary}
"""


def build(folder: Path, out: Path, console: Console | None = None) -> list[Path]:
    """Writes everything, each file whole or not at all.

    Args:
      folder: of the study's rows, of all sizes.
      out: where to.
      console: told what was written.

    Returns:
      The files.
    """
    console = console or Console()
    results, out = StudyResults(folder), Path(out)
    page = of_study(results, folder)
    texts = {"paper.md": markdown(page), "report.html": render(page)}
    for name, text in texts.items():
        with atomic_write(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    written = [out / name for name in texts]
    written += figures.save(results, out / "figures" / "study")
    for path in written:
        console.print(str(path), highlight=False, soft_wrap=True)
    return written


def of_study(results: StudyResults, folder: Path) -> Page:
    """The page of the study.

    Args:
      results: the rows.
      folder: of all sizes; pilot runs and parity lie beside it.
    """
    pilot, parity = provenance.read_pilot(folder), provenance.read_parity(folder)
    return Page(
        TITLE,
        summary(results),
        [claim.verdict(results, pilot) for claim in CLAIMS],
        [*tables.tables(results), *([provenance.pilot(pilot)] if len(pilot) else [])],
        figures.pictures(results),
        [provenance.audits(results)],
        [provenance.runs(results), provenance.measurements(results)],
        [provenance.parity(parity)] if parity else [],
    )


def summary(results: StudyResults) -> str:
    """How far the study is, and how verdicts are derived."""
    states = [progress(x, results) for x in results.size.trainings.values()]
    done = sum(state.complete for state in states)
    rows, needed = (sum(getattr(x, k) for x in states) for k in ("rows", "needed"))
    return (
        f"Of {len(states)} runs {done} are completely measured, and {rows:,} of "
        f"{needed:,} cells have a row. A verdict rests on the full size only: five "
        "seeds, the published number of epochs, 10,000 test images (1,000 of "
        "AutoAttack). What is missing makes a claim inconclusive, whatever smaller "
        "runs show.\n\n"
        "Published protocol: each net attacked as the published code attacks it, "
        "epsilons in units of its input. Sound protocol: one epsilon in pixel units "
        "for all, valid pixels, running averages, random starts, best iterates. A "
        "comparison holds under a protocol if every paired 95 % interval (images "
        "and seeds redrawn) is on its side, fails if one is on the other, and is "
        "open otherwise; what is judged in another way is marked. Some claims are "
        "settled by the published code, or by the paper's own numbers. Nets of twelve "
        "epochs, the last table, are context: no verdict rests on them."
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
    return markdown_table(columns, rows)


def _table(table: Table) -> str:
    rows = [[_text(cell, table.digits) for cell in row] for row in table.rows]
    return markdown_table(table.columns, rows)


def _text(cell: Cell, digits: int) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.{digits}f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
