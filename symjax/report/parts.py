"""The parts of a page of results; `page.render` makes HTML of them.

Page("Table 2", "A summary.", verdicts=[Verdict(...)], tables=[Table(...)])
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from symjax.io import atomic_write

VERDICTS = ("stands", "stands only under", "does not stand", "open", "not measured")
SVG = "http://www.w3.org/2000/svg"
Cell = str | float | int | None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    Attributes:
      claim: in a sentence.
      where: the place of the claim: a table, a section.
      published: the published value.
      sound: the measured value.
      verdict: one of `VERDICTS`, and more text if need be.
      evidence: what the verdict rests on.

    Raises:
      ValueError: if the verdict begins with none of them.
    """

    claim: str
    where: str
    published: str
    sound: str
    verdict: str
    evidence: str = ""

    def __post_init__(self):
        if not self.verdict.startswith(VERDICTS):
            raise ValueError(
                f"verdict {self.verdict!r} of {self.claim!r}: expected one that begins "
                f"with one of {list(VERDICTS)}."
            )

    @property
    def kind(self) -> str:
        """Which of `VERDICTS` it is; the longest that fits."""
        return max(filter(self.verdict.startswith, VERDICTS), key=len)


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under named columns.

    Attributes:
      name: its heading.
      columns: their names; the first column names the row.
      rows: as many cells as columns each; None where nothing was measured. A text that
        begins with a number, as "12.3 ± 0.4" or "8/255", is ordered by it.
      caption: units, and the numbers of images and seeds.
      command: the command that makes the rows.
      digits: decimals of floats.

    Raises:
      ValueError: if a row has more or fewer cells than there are columns.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    command: str = ""
    digits: int = 2

    def __post_init__(self):
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name!r}, row {number} has {len(row)} cells: expected "
                    f"{len(self.columns)}, one for each of {list(self.columns)}."
                )


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture, with its content in words and numbers.

    Attributes:
      name: its heading.
      svg: the text of an SVG file.
      alt: a description, for readers who do not see the picture.
      caption: what is drawn.
      data: the numbers that are drawn.

    Raises:
      ValueError: if `svg` is not an SVG file.
    """

    name: str
    svg: str
    alt: str
    caption: str = ""
    data: Table | None = None

    def __post_init__(self):
        if "<svg" not in self.svg or SVG not in self.svg:
            raise ValueError(
                f"picture {self.name!r} is not an SVG file: expected an <svg> with "
                f'xmlns="{SVG}", as figure.savefig(format="svg") writes.'
            )


@dataclasses.dataclass(frozen=True)
class Page:
    """A page; sections without content are left out.

    Attributes:
      title, summary: a blank line in the summary begins a paragraph.
      verdicts, tables, pictures: in the order of the page.
      audit: checks of the numbers.
      provenance: the origin of the numbers.
      reproduction: comparisons with published code, which stand before the verdicts.
    """

    title: str
    summary: str
    verdicts: Sequence[Verdict] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    audit: Sequence[Table] = ()
    provenance: Sequence[Table] = ()
    reproduction: Sequence[Table] = ()


def save_figure(figure: Figure, path: Path) -> None:
    """Writes an image file, in the format of its suffix; PNG if there is none."""
    with atomic_write(path) as partial:
        figure.savefig(partial, format=path.suffix[1:] or "png", dpi=150)
