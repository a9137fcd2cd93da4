"""A page says what it is given, loads nothing, and can be worked without a mouse."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver import Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from symjax.report import page as pages
from symjax.report.__main__ import main
from symjax.report.page import Page, Picture, Table, Verdict, render
from symjax.report.run import of_run
from tests import made_rows

SVG = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" width="300pt" height="200pt"
     viewBox="0 0 300 200" onload="alert(1)"><script>alert(1)</script>
 <circle id="p" cx="100" cy="100" r="80"/>
 <image href="https://elsewhere.example/a.png" width="3" height="3"/>
</svg>"""
FOUR = ("stands", "stands only under", "does not stand", "open")
NUMBERS = ["9.5 ± 0.4", None, "12.3 ± 0.4", "100.0 ± 1", "-1.2"]


def sample():
    verdicts = [
        Verdict(f"Claim {i}", f"Table {i}", "80.1", "79.0 ± 0.4", says, "five seeds")
        for i, says in enumerate([*FOUR, "stands only under FGSM", "does not stand"])
    ]
    rows = [[f"net {i}", text, 8 - i] for i, text in enumerate(NUMBERS)]
    wide = [[f"net {i}", *range(30)] for i in range(3)]
    names = ["net", *(f"a long name of column {i}" for i in range(30))]
    tables = [
        Table("Nets", ["net", "accuracy", "depth"], rows, "In percent.", "python x.py"),
        Table("Wide", names, wide),
    ]
    data = Table("Data of a figure", ["eps", "value"], [["1/255", 0.5]])
    pictures = [Picture("Curves", SVG, "Two falling curves", "Means.", data)] * 2
    audit = [Table("Audit", ["check", "passed"], [["transfer", True]])]
    many = [[f"cell {i}", i] for i in range(700)]
    provenance = [Table("Rows", ["cell", "seed"], many)]
    text = "First.\n\nSecond."
    return Page("What stands", text, verdicts, tables, pictures, audit, provenance)


@pytest.fixture(scope="module")
def html():
    return render(sample())


def test_sections_come_in_order_and_empty_ones_not_at_all(html):
    found = re.findall(r"<h([12])[^>]*>([^<]*)</h", html)
    names = ["Verdicts", "Figures", "Tables", "Audit", "Provenance"]
    assert found == [("1", "What stands"), *(("2", name) for name in names)]
    assert html.index("First.") < html.index("Claim 0") < html.index("net 0")
    assert html.startswith("<!DOCTYPE html>\n<html lang=")
    bare = render(Page("Title", "Summary."))
    assert "<section" not in bare and "Summary." in bare
    table, verdict = Table("Parity", ["x"], [[1]]), Verdict("c", "w", "", "", "stands")
    text = render(Page("Title", "Summary.", [verdict], reproduction=[table]))
    assert text.index(">Parity</h3>") < text.index('<section id="verdicts"')


def test_texts_are_escaped_wherever_they_stand():
    bad = "<script>alert(1)</script>\"'&"
    table = Table(bad, [bad], [[bad]], bad, bad)
    verdict = Verdict(bad, bad, bad, bad, "stands " + bad, bad)
    picture = Picture(bad, SVG, bad, bad, table)
    text = render(Page(bad, bad, [verdict], [table], [picture], [table], [table]))
    assert "alert(1)</script>" not in text
    assert text.count("<script>") == 1 and text.count("</script>") == 1
    assert text.count("&lt;script&gt;alert(1)") > 20


def test_nothing_is_loaded_from_elsewhere_and_pictures_are_images(html):
    assert "default-src 'none'" in html and "elsewhere" not in html
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", html)
    assert not re.search(r"url\(|@import", html) and "onload" not in html
    images = re.findall(
        r'<img src="data:image/svg\+xml;base64,(.*?)" alt="(.*?)">', html
    )
    assert [alt for _, alt in images] == ["Two falling curves"] * 2
    assert base64.b64decode(images[0][0]).decode() == SVG


def test_links_and_labels_refer_to_what_is_there_once(html):
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(set(ids)) == len(ids) > 10
    referred = re.findall(r'(?:href="#|aria-labelledby="|for=")([^"]*)"', html)
    assert len(referred) > 10 and set(referred) <= set(ids)
    for name in ("Filter Verdicts", "Filter Nets"):
        assert name in re.sub("<[^>]+>", "", html)


def test_numbers_have_their_digits_and_what_was_not_measured_says_so():
    cells = [1.23456, 10000, None, np.float32(0.5), -0.001, np.inf, np.nan, True, "a"]
    text = render(Page("t", "s", tables=[Table("T", ["x"], [[x] for x in cells])]))
    shown = re.findall(r"<th scope=\"row\"[^>]*>(.*?)</th>", text)
    missing = (
        '<span aria-hidden="true">–</span><span class="unseen">not measured</span>'
    )
    wanted = ["1.23", "10,000", missing, "0.50", "0.00", "∞", "NaN", "yes", "a"]
    assert shown == wanted
    four = Table("T", ["x"], [[1.23456]], digits=4)
    assert ">1.2346<" in render(Page("t", "s", tables=[four]))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("12.3 ± 0.4", 12.3), ("1,234", 1234), ("8/255", 8 / 255), ("3e-7", 3e-7)],
        *[("-2.5 (-3 to -2)", -2.5), ("−4 %", -4), ("< 0.1", 0.1), ("5 %", 5)],
        *[("81c8d64", None), ("2026-11-23", None), ("pgd-40", None), ("3 of us", 3)],
    ],
)
def test_what_a_text_is_ordered_by(text, number):
    assert pages._number(text) == number


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(ValueError, match="'holds' of 'A claim': expected one that beg"):
        Verdict("A claim", "here", "1", "2", "holds")
    assert Verdict("", "", "", "", "stands only under FGSM").kind == FOUR[1]
    with pytest.raises(ValueError, match="'T', row 2 has 1 cells: expected 2"):
        Table("T", ["a", "b"], [[1, 2], [1]])
    for svg in ("no xml", "<p>a</p>", "<svg></svg>"):
        with pytest.raises(ValueError, match="picture 'P' is not an SVG"):
            Picture("P", svg, "alt")


# One run.


def write(folder, values, extra=(), **changes):
    """A row per seed."""
    for seed, value in enumerate(values):
        where = {"config": "c0f", "data": "da7a", "commit": "abc123", "device": "cpu"}
        where |= {"versions": {"jax": "0.10"}, "utc": f"2026-01-0{seed + 1}"}
        facts = {"diverged": False, "in_ball": True, **dict(extra)}
        row = {"epoch": 3, "n": 100, "seed": seed, **changes}
        made_rows.add(folder, value, facts=facts, provenance=where, **row)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "net"
    write(folder, [0.9, 0.8])
    pgd = {"attack": "pgd", "steps": 40, "norm": "linf", "start": "uniform"}
    pgd["extra"] = {"argv": ["evaluate.py", "--run", "a net", "--eps", "2/255,8/255"]}
    write(folder, [0.5, 0.6], eps=2 / 255, **pgd)
    write(folder, [0.2, 0.1], eps=8 / 255, **pgd)
    write(folder, [0.3], metric="clever", radius=0.5, extra={"low": 0.1, "high": 0.4})
    write(folder, [0.04], check="transfer", extra={"measured": 0.5})
    (folder / "config.json").write_text(json.dumps({"model": {"depth": 4}}))
    return folder


def test_a_run_has_its_tables_its_picture_and_where_they_come_from(run):
    page = of_run(run)
    accuracy, metrics = page.tables
    lines = [dict(zip(accuracy.columns, row, strict=True)) for row in accuracy.rows]
    assert [(x["attack"], x["eps"], x["n"], x["seeds"]) for x in lines] == [
        ("none", "0", 100, 2),
        ("pgd-40", "2/255", 100, 2),
        ("pgd-40", "8/255", 100, 2),
    ]
    assert [x["mean, %"] for x in lines] == pytest.approx([85, 55, 15])
    assert [x["sd"] for x in lines] == pytest.approx([50**0.5] * 3)
    assert metrics.rows[0][:5] == ["clever", "0.3", None, "0.1", "0.4"]
    assert page.audit[0].rows[0][0] == "audit, transfer breaks no more images"
    assert "measured" in page.audit[0].columns
    (picture,) = page.pictures
    assert picture.data is not None
    assert [row[1] for row in picture.data.rows] == ["0", "2/255", "8/255"]
    assert "85.0 % at 0 to 15.0 % at 8/255" in picture.alt
    assert not page.verdicts and "decides no claim" in page.summary
    text = render(page)
    for part in ("c0f", "da7a", "abc123", "0.10", "cpu", "model.depth"):
        assert part in text
    command = "evaluate.py --run 'a net' --eps 2/255,8/255"
    assert accuracy.command == command and "--eps 2/255,8/255</code>" in text
    assert not metrics.command and not page.audit[0].command


def test_a_run_says_what_is_wrong_with_its_rows(tmp_path):
    write(tmp_path, [0.9, 0.1], extra={"diverged": True})
    write(tmp_path, [0.5], n=7, extra={"in_ball": False})
    (table,) = of_run(tmp_path).tables
    assert "Seeds left out because they diverged: 0, 1." in table.caption
    assert "WRONG: some images left the ball" in table.caption
    assert table.rows[0][4:6] == [None, None]


def test_the_command_writes_the_page_or_says_in_a_line_why_not(run, tmp_path, capsys):
    main([str(run)])
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert capsys.readouterr().out == f"page in {run / 'report.html'}\n"
    config = run / "config.json"
    rows = run / "results.jsonl"
    rows.write_text(rows.read_text() + '{"metric": "accuracy"}\n')
    for folder, reason in (
        (tmp_path / "nothing", "has no rows: measure some with `python evaluate.py"),
        (run, r"results.jsonl, line 9 cannot be read \(the row .+ convert"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["page", str(folder), "--out", str(config)])
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
        assert re.search(reason, said)


# In a browser.

FLAGS = """--headless=new --no-sandbox --disable-gpu --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
    --disable-dev-shm-usage""".split()
REQUEST = "Network.requestWillBeSent"
CONTRAST = """
const ground = node => {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (!/, 0\\)$|transparent/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
};
const light = colour => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(x => x / 255)
    .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return [...document.querySelectorAll(arguments[0])].map(node => {
  const [a, b] = [getComputedStyle(node).color, ground(node)].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
});
"""


class Browser:
    """A page in Chromium, and what is asked of it."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url
        self.run, self.ask = driver.execute_script, driver.execute_cdp_cmd

    def open(self, scheme="light"):
        size = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", size)
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self.ask("Emulation.setEmulatedMedia", {"media": "", "features": features})
        self.driver.get(self.url)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def column(self, table, number=1):
        script = """return [...document.querySelectorAll(arguments[0] + " tbody tr")]
            .filter(row => !row.hidden)
            .map(row => row.cells[arguments[1]].innerText)"""
        return self.run(script, table, number)

    def type(self, *keys):
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()


@pytest.fixture(scope="module")
def chromium(html, tmp_path_factory):
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("needs chromedriver")
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_text(html, encoding="utf-8")
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    if binary := shutil.which("chromium"):
        options.binary_location = binary
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    driver = webdriver.Chrome(options=options, service=Service(driver))
    yield Browser(driver, (folder / "page.html").as_uri())
    driver.quit()


@pytest.fixture
def browser(chromium):
    chromium.open()
    return chromium


@pytest.mark.slow
def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(browser):
    browser.run("document.querySelectorAll('main button').forEach(x => x.click())")
    log = [json.loads(x["message"]) for x in browser.driver.get_log("performance")]
    entries = [x["message"]["params"] for x in log if REQUEST in x["message"]["method"]]
    pages = [x for x in entries if x["documentURL"] == browser.url]  # not a new tab's
    sent = [entry["request"]["url"] for entry in pages]
    assert browser.url in sent
    assert not [url for url in sent if not url.startswith(("file:", "data:"))]
    assert browser.driver.get_log("browser") == []


@pytest.mark.slow
def test_columns_are_sorted_as_numbers_and_rows_are_filtered(browser):
    """What is missing stays last; verdicts are filtered by their kind as well."""
    head = browser.find("#table-1 th:nth-child(2)")
    states = []
    for _ in range(3):
        head.find_element(By.TAG_NAME, "button").click()
        states.append((head.get_attribute("aria-sort"), browser.column("#table-1")))
    up = ["-1.2", "9.5 ± 0.4", "12.3 ± 0.4", "100.0 ± 1"]
    missing = browser.column("#table-1")[1]
    assert "–" in missing
    assert states[0] == ("ascending", [*up, missing])
    assert states[1] == ("descending", [*up[::-1], missing])
    assert states[2][0] is None and states[2][1][0] == "9.5 ± 0.4"
    field, count = browser.find("#table-1 .filter"), browser.find("#table-1 .count")
    assert count.text == "5 rows"
    field.send_keys("NET 0.4")
    assert browser.column("#table-1", 0) == ["net 0", "net 2"]
    assert count.text == "2 of 5 rows shown"
    count = browser.find("#verdicts .count")
    button = browser.find("button[data-kind='does not stand']")
    for shown, text in (
        (["Claim 2", "Claim 5"], "2 of 6 rows shown"),
        ([f"Claim {i}" for i in range(6)], "6 rows"),
    ):
        button.click()
        assert browser.column(".verdicts", 0) == shown and count.text == text
    browser.find(".verdicts th:nth-child(5) button").click()
    order = [0, 1, 4, 2, 5, 3]
    assert browser.column(".verdicts", 0) == [f"Claim {i}" for i in order]


@pytest.mark.slow
def test_the_keyboard_alone_skips_and_sorts(browser):
    name = "return document.activeElement.innerText"
    browser.type(Keys.TAB)
    assert browser.run(name).startswith("Skip to")
    browser.type(Keys.ENTER)
    for _ in range(30):
        browser.type(Keys.TAB)
        style = "getComputedStyle(document.activeElement)"
        assert browser.run(f"return {style}.outlineStyle") == "solid"
        assert browser.run(f"return parseFloat({style}.outlineWidth)") >= 2
        if browser.run(name) == "depth":
            break
    for key, order in ((Keys.ENTER, "45678"), (Keys.SPACE, "87654")):
        browser.type(key)
        assert browser.column("#table-1", 2) == list(order)
    count = browser.find("#table-1 .count")
    assert count.text == "5 rows, by depth, descending"
    assert count.get_attribute("aria-live") == "polite"


@pytest.mark.slow
def test_texts_stand_out_in_both_schemes_and_both_can_be_chosen(browser):
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    texts = "p, a, td, th, button, .verdict strong, .more, .caption, .how-many, code,"
    texts += " summary, figcaption, label, .count"
    grounds = []
    for scheme in ("light", "dark"):
        browser.open(scheme)
        for _ in range(2):
            contrasts = browser.run(CONTRAST, texts)
            assert len(contrasts) > 100 and min(contrasts) >= 4.5
            grounds.append(browser.run(ground))
            browser.find("#colors").click()
    light, dark, also_dark, also_light = grounds
    assert light == also_light != dark == also_dark


@pytest.mark.slow
def test_paper_has_all_rows_and_no_controls(browser):
    browser.find("#table-1 .filter").send_keys("nothing like that")
    assert browser.column("#table-1") == []
    browser.ask("Emulation.setEmulatedMedia", {"media": "print"})
    heights = """return [...document.querySelectorAll(arguments[0])]
        .map(x => x.getBoundingClientRect().height)"""
    assert min(browser.run(heights, "#table-1 tbody tr, details tbody tr")) > 0
    assert max(browser.run(heights, "header, .tools, .copy")) == 0
