"""Makes every table, figure and page of the study, from the rows only.

    build(Path("results/study"), Path("docs"))

It writes `paper.md` (verdicts, figures and tables), `report.html` (the same with the
audit and the origin of every run, in one file) and `figures/study/`. No net is run.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from study import figures, provenance, tables
from study.claims import CLAIMS
from study.results import PROTOCOLS, Gpu12, StudyResults, of_sizes
from study.runs import NETS, PUBLISHED
from study.status import progress
from symjax.formatting import format_eps
from symjax.formatting import markdown as markdown_table
from symjax.io import atomic_write
from symjax.report.page import render
from symjax.report.parts import VERDICTS, Cell, Page, Table, Verdict

TITLE = "Bridging Symmetry and Robustness, measured again"
COMMAND = "python -m study build"
HEAD = """\
# The paper, claim by claim

{summary}

Made by `{command}` from the rows in `results/`; do not edit. The same with the origin
of every run: [report.html](report.html).
"""
HOW = (
    "Published protocol: each net attacked as the published code attacks it, epsilons "
    "in units of its input. Sound protocol: one epsilon in pixel units for all, valid "
    "pixels, running averages, random starts, best iterates. A claim that one net is "
    "more accurate than another holds under a protocol if every paired 95 % interval "
    "(images and seeds resampled) lies above 0, does not hold if one lies below 0, and "
    "is open otherwise; what is judged in another way is marked. Some claims are "
    "settled by the published code, or by the paper's own numbers. Every other claim "
    "is judged from the first of these sizes that decides it: full (the published "
    "training, five seeds, 10,000 test images), gpu12 (10 layers at full width, twelve "
    "epochs, five seeds, 1,000 images, sound protocol only), reduced (narrower nets, "
    "fewer epochs, three seeds or one, 1,000 images). Intervals are not corrected for "
    "the number of comparisons of a claim."
)


def build(folder: Path, out: Path, console: Console | None = None) -> list[Path]:
    """Writes everything, each file whole or not at all.

    Args:
      folder: of the study's rows, of all sizes.
      out: where to.
      console: told what was written.

    Returns:
      The files.
    """
    console, out = console or Console(), Path(out)
    sizes = of_sizes(folder)
    drawn = figures.drawn(sizes)
    written = [path for each in drawn for path in each.save(out / "figures" / "study")]
    page = of_study(sizes, folder, drawn)
    pngs = [f"figures/study/{each.name}.png" for each in drawn]
    texts = {"paper.md": markdown(page, pngs), "report.html": render(page)}
    for name, text in texts.items():
        with atomic_write(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    written = [*(out / name for name in texts), *written]
    for path in written:
        console.print(str(path), highlight=False, soft_wrap=True)
    return written


def of_study(
    sizes: tuple[StudyResults, Gpu12, StudyResults],
    folder: Path,
    drawn: Sequence[figures.CaptionedFigure],
) -> Page:
    """The page of the study.

    Args:
      sizes: the rows of each size, see `results.of_sizes`.
      folder: of all sizes; the comparison with the published code lies beside it.
      drawn: the figures.
    """
    full, gpu12, reduced = sizes
    verdicts = [claim.verdict(sizes) for claim in CLAIMS]
    parity = provenance.read_parity(folder)
    measured = [results for results in (full, reduced) if len(results.frame)]
    return Page(
        TITLE,
        "\n\n".join(
            [
                answer(verdicts),
                *(tables.largest(sizes, sentences) or []),
                *([provenance.parity_sentence(parity)] if parity else []),
                progress_text(sizes),
                HOW,
            ]
        ),
        verdicts,
        [
            *tables.tables(sizes),
            *([provenance.gpu12(gpu12)] if len(gpu12.frame) else []),
        ],
        [each.picture for each in drawn],
        [provenance.audits(results) for results in measured],
        [provenance.runs(results) for results in measured],
        [provenance.parity(parity)] if parity else [],
    )


def answer(verdicts: Sequence[Verdict]) -> str:
    """How many claims have which verdict, and which claims stand."""
    of_kind = {kind: [x for x in verdicts if x.kind == kind] for kind in VERDICTS}
    words = {kind: f"{len(found)} {_verb(kind, len(found))}"
             for kind, found in of_kind.items() if found}  # fmt: skip
    text = f"Of {len(verdicts)} claims {_listed(list(words.values()))}."
    for kind in ("stands", "stands only under", "does not stand"):
        if found := of_kind[kind]:
            quotes = "; ".join(f'"{x.claim}" ({x.where})' for x in found)
            text += f" {_verb(kind, 2).capitalize()}: {quotes}."
    return text


def _verb(kind: str, count: int) -> str:
    """A verdict as a verb: "stand", "does not stand", "are open"."""
    if kind in ("open", "not measured"):
        return f"{'is' if count == 1 else 'are'} {kind}"
    many = {"stands": "stand", "does not stand": "do not stand"}
    many["stands only under"] = "stand only under one protocol"
    one = {"stands only under": "stands only under one protocol"}
    return one.get(kind, kind) if count == 1 else many[kind]


def _listed(texts: Sequence[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last


def sentences(results: StudyResults) -> list[str] | None:
    """The accuracies of the published nets on CIFAR-10 under PGD, a sentence for each
    depth of which there are rows; None without any."""
    texts = []
    for depth in (4, 10):
        nets = {NETS[x.net].label: x.name for x in results.size.trainings.values()
                if (x.dataset, x.depth, x.kind, x.variant)
                == ("cifar10", depth, PUBLISHED, "")}  # fmt: skip
        parts = []
        for protocol, eps in (
            ("published", 0.01),
            ("sound", 2 / 255),
            ("sound", 8 / 255),
        ):
            means = {label: results.mean(name, protocol, "pgd", eps)
                     for label, name in nets.items()}  # fmt: skip
            known = {label: x for label, x in means.items() if x is not None}
            if known:
                low, high = (key(known, key=known.__getitem__) for key in (min, max))
                parts.append(
                    f"from {known[low]:.1f} % ({low}) to {known[high]:.1f} % ({high}) "
                    f"at {format_eps(eps)} under the {protocol} protocol"
                )
        if parts:
            texts.append(
                f"Of the {depth}-layer nets for CIFAR-10, in the {results.size.name} "
                f"size, PGD leaves an accuracy {'; '.join(parts)}."
            )
    return texts or None


def progress_text(sizes: Sequence[StudyResults]) -> str:
    """How far each size is, and what is not shown for want of rows."""
    parts = []
    for results in sizes:
        if results.protocols == PROTOCOLS:
            states = [progress(x, results) for x in results.size.trainings.values()]
            rows = sum(state.rows for state in states)
            needed = sum(state.needed for state in states)
            done = sum(state.complete for state in states)
            parts.append(
                f"in the {results.size.name} size {done} of {len(states)} runs and "
                f"{rows:,} of {needed:,} cells"
            )
    text = f"Measured so far: {'; '.join(parts)}."
    absent = [
        name
        for made in (tables.TABLES, figures.FIGURES)
        for name, make in made.items()
        if tables.largest(sizes, make) is None
    ]
    if absent:
        reduced = sizes[-1].size.name
        text += (
            f" Not measured yet, and therefore not shown: {'; '.join(absent)}. "
            f"`python -m study run --size {reduced}` measures what is missing."
        )
    return text


def markdown(page: Page, pngs: Sequence[str]) -> str:
    """A page as Markdown.

    Args:
      page: the page.
      pngs: the files of its figures, in the same order.
    """
    parts = [HEAD.format(command=COMMAND, summary=page.summary)]
    parts += _sections(page.reproduction)
    parts += ["## Verdicts\n", _verdicts(page.verdicts)]
    for picture, path in zip(page.pictures, pngs, strict=True):
        parts.append(f"## {picture.name}\n\n![{picture.alt}]({path})\n")
        parts.append(f"{picture.caption}\n")
    parts += [*_sections(page.tables), *_sections(page.audit)]
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
