"""What a page of results is made of; `page` makes HTML of it.

Page("Table 2", "A summary.", verdicts=[Verdict(...)], tables=[Table(...)])
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from symjax.io import atomic_write

VERDICTS = ("stands", "stands only under", "does not stand", "inconclusive")
Cell = str | float | int | None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
      claim: in a sentence.
      where: the place that claims it: a table, a section.
      published: what is said there.
      sound: what was measured.
      verdict: begins with one of `VERDICTS`, and may say more.
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
      columns: their names; the first column names its row.
      rows: as many cells as columns each; None is what was not measured. A text that
        begins with a number, as "12.3 ± 0.4" or "8/255", is ordered by it.
      caption: what the numbers are: units, how many images and seeds.
      command: that makes the rows.
      digits: decimals of its floats.

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
    """A drawing, and what it shows in words and numbers.

    Attributes:
      name: its heading.
      svg: an `<svg>` element, or a whole file of one.
      alt: what is to be seen, for who does not see it.
      caption: what is drawn.
      data: the numbers.
    """

    name: str
    svg: str
    alt: str
    caption: str = ""
    data: Table | None = None


@dataclasses.dataclass(frozen=True)
class Page:
    """A page; sections without content are left out.

    Attributes:
      title, summary: a blank line in the summary begins a paragraph.
      verdicts, tables, pictures: in the order of the page.
      audit: what shows that the numbers can be trusted.
      provenance: where they come from.
      reproduction: what shows that published code is reproduced; before the verdicts.
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
