"""A page of results: one HTML file that asks nothing of a network.

    python -m symjax.report.page runs/baseline --out report.html

    text = render(Page("Results", "What was measured.", tables=[table]))

Verdicts come first, then tables, figures, the audit and the provenance. Tables can be
sorted and filtered; without JavaScript, and on paper, everything is there to read.
"""

import itertools
import math
import numbers
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from symjax.arguments import Parser, command
from symjax.folders import expand
from symjax.io import atomic_write
from symjax.report.parts import VERDICTS, Cell, Page, Picture, Table, Verdict
from symjax.report.run import of_run

__all__ = ["VERDICTS", "Page", "Picture", "Table", "Verdict", "of_run", "render"]

NUMBER = re.compile(
    r"[≈~<>≤≥]?\s*(?P<sign>[-+−]?)(?P<whole>\d[\d,]*\.?\d*|\.\d+)(?P<power>e[-+]?\d+)?"
    r"(?:/(?P<below>\d+(?:\.\d+)?))?(?=$|[\s%±(;,])",
    re.IGNORECASE,
)
MISSING = ("", "-", "–", "—")
PROSE = 36  # characters, from which on a cell is text that may wrap
SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}href"
UNWANTED = ("metadata", "script", "foreignObject", "title", "desc")


class _Shown(NamedTuple):
    """A cell: its text, None if not measured, and what it is ordered by if a number."""

    text: str | None
    key: float | None = None
    kind: str = ""

    @property
    def missing(self) -> bool:
        return self.text is None or self.text.strip() in MISSING

    @property
    def order(self) -> str:
        """The key as JavaScript reads it."""
        return str(self.key).replace("inf", "Infinity")


class _Column(NamedTuple):
    name: str
    numeric: bool
    prose: bool


class _View(NamedTuple):
    """A table as the template has it."""

    id: str
    table: Table
    columns: list[_Column]
    rows: list[list[_Shown]]


class _Drawn(NamedTuple):
    """A picture as the template has it."""

    id: str
    picture: Picture
    svg: Markup
    data: _View | None


def render(page: Page) -> str:
    """The page as one HTML document, with nothing to load.

    Args:
      page: what is on it. All its texts are escaped; of a picture what could run or
        load anything is left out.

    Raises:
      ValueError: if a picture is not an SVG.
    """
    counter = itertools.count(1)

    def views(tables) -> list[_View]:
        return [_view(table, f"table-{next(counter)}") for table in tables]

    verdicts = None
    if page.verdicts:
        verdicts = _verdicts(page.verdicts, "table-verdicts")
    drawn = [
        _Drawn(
            f"figure-{number}",
            picture,
            _inline(picture, f"figure-{number}-"),
            picture.data and _view(picture.data, f"figure-{number}-data"),
        )
        for number, picture in enumerate(page.pictures, 1)
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("symjax", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assets = Path(__file__).parent
    text = environment.get_template("page.html.jinja").render(
        page=page,
        paragraphs=[
            part for part in re.split(r"\n\s*\n", page.summary) if part.strip()
        ],
        verdicts=verdicts,
        kinds=[
            (kind, sum(verdict.kind == kind for verdict in page.verdicts))
            for kind in VERDICTS
        ],
        tables=views(page.tables),
        pictures=drawn,
        audit=views(page.audit),
        provenance=views(page.provenance),
        reproduction=views(page.reproduction),
        css=Markup((assets / "page.css").read_text(encoding="utf-8")),
        js=Markup((assets / "page.js").read_text(encoding="utf-8")),
    )
    return text.strip() + "\n"


def _view(table: Table, name: str) -> _View:
    rows = [[_shown(cell, table.digits) for cell in row] for row in table.rows]
    columns = []
    for place, title in enumerate(table.columns):
        cells = [row[place] for row in rows if not row[place].missing]
        numeric = bool(cells) and all(cell.key is not None for cell in cells)
        texts = [cell.text or "" for cell in cells]
        prose = any(len(text) > PROSE and " " in text for text in texts)
        columns.append(_Column(title, numeric, prose))
    return _View(name, table, columns, rows)


def _shown(cell: Cell | Any, digits: int) -> _Shown:
    """A cell's text and number; of NumPy's numbers as of Python's."""
    if cell is None:
        return _Shown(None)
    if isinstance(cell, bool):
        return _Shown("yes" if cell else "no")
    if isinstance(cell, numbers.Integral):
        return _Shown(f"{int(cell):,}", int(cell))
    if isinstance(cell, numbers.Real):
        value = float(cell)
        if math.isfinite(value):
            return _Shown(f"{value:z,.{digits}f}", value)
        text = "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
        return _Shown(text, value)
    return _Shown(str(cell), _key(str(cell)))


def _key(text: str) -> float | None:
    """The number that a text begins with, and is: of "12.3 ± 0.4" 12.3."""
    found = NUMBER.match(text.strip())
    if not found:
        return None
    value = float(found["whole"].replace(",", "") + (found["power"] or ""))
    if found["below"]:
        below = float(found["below"])
        value = value / below if below else math.inf
    return -value if found["sign"] in ("-", "−") and found["sign"] else value


def _verdicts(verdicts, name: str) -> _View:
    """The verdicts as a table; a cell's kind says which of `VERDICTS` it is."""
    rows = [
        (
            each.claim,
            each.where,
            each.published,
            each.sound,
            each.verdict,
            each.evidence,
        )
        for each in verdicts
    ]
    columns = ("Claim", "Where", "Published", "Sound", "Verdict", "Evidence")
    view = _view(Table("Verdicts", columns, rows), name)
    for each, row in zip(verdicts, view.rows, strict=True):
        row[4] = _Shown(each.verdict, VERDICTS.index(each.kind), each.kind)
    view.columns[4] = view.columns[4]._replace(numeric=True)
    return view


def _inline(picture: Picture, prefix: str) -> Markup:
    """A picture's `<svg>` for HTML: own ids, own style, nothing that runs or loads."""
    try:
        root = ElementTree.fromstring(picture.svg.strip())
    except ElementTree.ParseError as error:
        raise ValueError(f"picture {picture.name!r} is not an SVG: {error}.") from None
    if root.tag.removeprefix(SVG) != "svg":
        raise ValueError(
            f"picture {picture.name!r} is not an SVG: its root is <{root.tag}>."
        )
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str):
                parent.remove(child)
            elif child.tag.split("}")[-1] in UNWANTED:
                parent.remove(child)
    ids = {element.get("id") for element in root.iter()} - {None}

    def rename(text: str) -> str:
        return re.sub(
            r"#([\w.:-]+)",
            lambda match: f"#{prefix}{match[1]}" if match[1] in ids else match[0],
            text,
        )

    for element in root.iter():
        _clean(element, prefix, rename)
    root.attrib |= {"id": prefix + "svg", "aria-hidden": "true", "focusable": "false"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(element, prefix: str, rename: Callable[[str], str]) -> None:
    """Takes namespaces, handlers and links to elsewhere off an element."""
    element.tag = element.tag.split("}")[-1]
    found = dict(element.attrib)
    element.attrib.clear()
    for name, value in found.items():
        name = "href" if name == XLINK else name
        if name.startswith(("{", "on")):
            continue
        if name == "href" and not value.startswith(("#", "data:image/")):
            continue
        if re.search(r"url\(\s*['\"]?\s*(?!['\"#])", value):
            continue
        element.set(name, prefix + value if name == "id" else rename(value))
    if element.tag == "style":  # or it would be that of the whole page
        element.text = f"#{prefix}svg {{ {rename(element.text or '')} }}"


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page of a run."""
    parser = Parser("python -m symjax.report.page", __doc__)
    parser.add_argument("run", type=expand, help="run folder")
    parser.add_argument("--out", type=expand, help="default: RUN/report.html")
    options = parser.parse_args(arguments)
    out = options.out or options.run / "report.html"
    text = render(of_run(options.run))
    with atomic_write(out) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"page in {out}")


if __name__ == "__main__":
    main()
