"""A page of results as one HTML file that loads nothing from a network.

    text = render(Page("Results", "What was measured.", tables=[table]))

Tables can be sorted and filtered. Without JavaScript and on paper all rows are shown.
"""

import base64
import itertools
import math
import numbers
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from symjax.report.parts import VERDICTS, Page, Picture, Table, Verdict

NUMBER = re.compile(
    r"[≈~<>≤≥]?\s*(?P<sign>[-+−]?)(?P<whole>\d[\d,]*\.?\d*|\.\d+)(?P<power>e[-+]?\d+)?"
    r"(?:/(?P<below>\d+(?:\.\d+)?))?(?=$|[\s%±(;,])",
    re.IGNORECASE,
)
MISSING = ("", "-", "–", "—")
PROSE = 36  # characters, from which on a cell is text that may wrap


class _Cell(NamedTuple):
    """A cell: its text, its number if it is one, and of a verdict its kind."""

    text: str | None  # None if it was not measured
    number: float | None = None
    kind: str = ""

    @property
    def is_missing(self) -> bool:
        return self.text is None or self.text.strip() in MISSING

    @property
    def order(self) -> str:
        """The number as JavaScript reads it."""
        return str(self.number).replace("inf", "Infinity")


class _Column(NamedTuple):
    """A column: whether numbers order it, and the class of its cells."""

    name: str
    numeric: bool
    style: str


class _Part(NamedTuple):
    """A part of a section as the template reads it: a table, a picture or both."""

    id: str
    name: str
    table: Table | None
    columns: Sequence[_Column] = ()
    rows: Sequence[list[_Cell]] = ()
    picture: Picture | None = None
    uri: str = ""


def render(page: Page) -> str:
    """The page as one HTML document, with nothing to load.

    Args:
      page: its content. All texts are escaped. Pictures are images in data URIs, in
        which no script runs and from which nothing is loaded.
    """
    number = itertools.count(1)

    def parts(tables: Iterable[Table]) -> list[_Part]:
        return [_table(table, f"table-{next(number)}") for table in tables]

    sections = {
        "Reproduction": parts(page.reproduction),
        "Verdicts": _verdicts(page.verdicts),
        "Figures": [_picture(x, f"figure-{i}") for i, x in enumerate(page.pictures, 1)],
        "Tables": parts(page.tables),
        "Audit": parts(page.audit),
        "Provenance": parts(page.provenance),
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("symjax", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assets = Path(__file__).parent
    text = environment.get_template("page.html.jinja").render(
        title=page.title,
        paragraphs=[x for x in re.split(r"\n\s*\n", page.summary) if x.strip()],
        sections={name: part for name, part in sections.items() if part},
        kinds=[(kind, sum(x.kind == kind for x in page.verdicts)) for kind in VERDICTS],
        css=Markup((assets / "page.css").read_text(encoding="utf-8")),
        js=Markup((assets / "page.js").read_text(encoding="utf-8")),
    )
    return text.strip() + "\n"


def _table(table: Table, id: str) -> _Part:
    rows = [[_cell(value, table.digits) for value in row] for row in table.rows]
    columns = []
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in rows if not row[place].is_missing]
        numeric = bool(cells) and all(cell.number is not None for cell in cells)
        texts = [cell.text or "" for cell in cells]
        prose = any(len(text) > PROSE and " " in text for text in texts)
        style = "number" if numeric else "prose" if prose else ""
        columns.append(_Column(name, numeric, style))
    return _Part(id, table.name, table, columns, rows)


def _picture(picture: Picture, id: str) -> _Part:
    data = base64.b64encode(picture.svg.strip().encode()).decode()
    part = _Part(id, picture.name, None)
    if picture.data:
        part = _table(picture.data, id)._replace(name=picture.name)
    return part._replace(picture=picture, uri=f"data:image/svg+xml;base64,{data}")


def _verdicts(verdicts: Sequence[Verdict]) -> list[_Part]:
    """The verdicts as a table, if there are any."""
    if not verdicts:
        return []
    rows = [
        [x.claim, *(y or None for y in (x.where, x.published, x.sound)), "", x.evidence]
        for x in verdicts
    ]
    columns = ("Claim", "Where", "Published", "Sound", "Verdict", "Evidence")
    part = _table(Table("Verdicts", columns, rows), "table-verdicts")
    for verdict, row in zip(verdicts, part.rows, strict=True):
        row[4] = _Cell(verdict.verdict, VERDICTS.index(verdict.kind), verdict.kind)
    numeric = [x.numeric or x.name == "Verdict" for x in part.columns]
    made = [_Column(*pair, "prose") for pair in zip(columns, numeric, strict=True)]
    return [part._replace(columns=made)]


def _cell(value: Any, digits: int) -> _Cell:
    """A cell's text and number; of NumPy's numbers as of Python's."""
    if value is None:
        return _Cell(None)
    if isinstance(value, bool):
        return _Cell("yes" if value else "no")
    if isinstance(value, numbers.Integral):
        return _Cell(f"{int(value):,}", int(value))
    if isinstance(value, numbers.Real):
        number = float(value)
        if math.isfinite(number):
            return _Cell(f"{number:z,.{digits}f}", number)
        text = "NaN" if math.isnan(number) else "∞" if number > 0 else "−∞"
        return _Cell(text, number)
    return _Cell(str(value), _number(str(value)))


def _number(text: str) -> float | None:
    """The number that a text begins with, and is: of "12.3 ± 0.4" 12.3."""
    match = NUMBER.match(text.strip())
    if not match:
        return None
    value = float(match["whole"].replace(",", "") + (match["power"] or ""))
    if match["below"]:
        below = float(match["below"])
        value = value / below if below else math.inf
    return -value if match["sign"] in ("-", "−") and match["sign"] else value
