"""The documents say what the code does: tables are those that the commands print."""

import json
import re

import pytest

from benchmarks import scaling, turning
from symjax.attacks.sanity import CHECKS
from symjax.evaluation import results
from symjax.evaluation.rows import Row
from symjax.models import MODELS, table
from symjax.report import compare, corruption, statements, summary
from tests.paths import ROOT

ROWS = sorted((ROOT / "results").glob("*.jsonl"))


@pytest.mark.slow
def test_table_of_nets_is_the_commands_output():
    assert table.markdown() in (ROOT / "docs/models.md").read_text()


def test_scaling_table_is_that_of_its_rows():
    lines = (ROOT / "results/benchmarks/scaling_cpu.jsonl").read_text().splitlines()
    table = scaling.table([json.loads(line) for line in lines])
    assert table in (ROOT / "docs/scale.md").read_text()


def test_groups_page_shows_the_errors_of_its_rows():
    lines = (ROOT / "results/benchmarks/turning.jsonl").read_text().splitlines()
    page = (ROOT / "docs/groups.md").read_text()
    assert turning.markdown([json.loads(line) for line in lines]) in page


@pytest.mark.slow
def test_the_layer_in_another_net_is_invariant_as_the_page_says(capsys):
    page = (ROOT / "docs/groups.md").read_text()
    code = (
        page.split("## One layer in another Flax net")[1]
        .split("```python\n")[1]
        .split("```")[0]
    )
    exec(code, {})
    assert float(capsys.readouterr().out) < 1e-5


def test_attacks_page_lists_the_checks_of_the_audit():
    page = (ROOT / "docs/attacks.md").read_text()
    for title, _, source, _ in CHECKS.values():
        (line,) = [row for row in page.splitlines() if row.startswith(f"| {title} |")]
        assert line.endswith(f"| {source} |")


@pytest.mark.slow
def test_the_example_on_a_net_that_is_not_ours_runs(capsys):
    page = (ROOT / "docs/attacks.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    quickly = 'threat, ("apgd-ce", "square"), steps=5, n_queries=20)'
    code = code.replace("[1000:1200]", "[1000:1030]").replace(
        "threat)\n", quickly + "\n"
    )
    found: dict = {}
    exec(code, found)
    result, clean = found["result"], found["logits_fn"](found["test"][0]).argmax(axis=1)
    accuracy = (clean == found["test"][1]).mean()
    assert accuracy > 0.8 and 0 < result.robust.mean() < accuracy
    assert "robust accuracy 0." in capsys.readouterr().out


def test_theory_page_shows_the_committed_rows_and_cells():
    def place(folder):
        return list(MODELS).index(folder.name.removesuffix("-4"))

    page = (ROOT / "docs/theory.md").read_text()
    folders = sorted((ROOT / "results/theory").iterdir(), key=place)
    rows = results.read([folder / "results.jsonl" for folder in folders])
    assert len({row["cell_id"] for row in rows}) == len(rows) > 0
    others = [row for row in rows if not row["metric"].startswith("tolerance")]
    assert statements.table(others) in page
    for metric in ("clever", "distance", "section", "smoothing", "tolerance"):
        assert compare.table(folders, metric) in page


def test_corruptions_page_shows_the_committed_rows():
    page = (ROOT / "docs/corruptions.md").read_text()
    names = "baseline", "parallel_rot", "parallel_rs", "cascaded", "weighted"
    folders = [ROOT / "results/corruption" / name for name in names]
    sound = corruption.read(folders)
    for attack in ("none", "fgsm linf 2/255"):
        assert corruption.table_1(corruption.under(sound, attack)) in page
    assert corruption.mean_errors(corruption.under(sound, "none")) in page
    published = corruption.read(folders, "published")
    for attack in published[published["corruption"] != ""]["attack"].unique():
        table = corruption.table_1(corruption.under(published, attack))
        assert table.count("fgsm") == len(folders)
    assert corruption.table_1(corruption.under(published, "fgsm linf 0.01")) in page


def test_rows_page_shows_a_committed_row():
    page = (ROOT / "docs/rows.md").read_text()
    row = Row.of_nested(json.loads(page.split("```json\n")[1].split("```")[0]))
    committed = results.read([ROOT / "results/cifar10_10_layers.jsonl"])
    (same,) = [other for other in committed if other["cell_id"] == row["cell_id"]]
    assert same["value"] == row["value"] and same["utc"] == row["utc"]


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_committed_rows_are_whole(path):
    rows = results.read([path])
    assert len({row["cell_id"] for row in rows}) == len(rows) > 0
    for row in rows:
        assert row["in_ball"] and 0 <= row["value"] <= 1
    clean = {(r["run"], r["seed"], r["n"]): r for r in rows if r["attack"] == "none"}
    attacked = [row for row in rows if row["attack"] != "none"]
    for row in attacked:
        assert row["value"] <= clean[row["run"], row["seed"], row["n"]]["value"]


def test_no_committed_row_has_a_folder_of_a_machine():
    for path in (ROOT / "results").rglob("*.jsonl"):
        found = re.search(r'"/(home|root|tmp|work|Users|mnt)/', path.read_text())
        assert not found, path


def test_readme_shows_the_committed_rows():
    readme = (ROOT / "results/README.md").read_text()
    for path in ROWS:
        assert summary.table(results.read([path])) in readme
