"""The Markdown table of accuracies: which rows count, and none is averaged unseen."""

import sys
from io import BytesIO, TextIOWrapper

import pytest

from symjax.report.__main__ import main
from symjax.report.summary import table as summary
from tests import made_rows
from tests.paths import ROOT

NET = {"run": "a", "model": "baseline", "depth": 4, "trunk": "matched", "epoch": 3}
CLEAN = {"attack": "none", "norm": None, "eps": 0.0, "steps": None, "n_restarts": None}
PGD = {"attack": "pgd", "norm": "linf", "eps": 2 / 255, "steps": 40, "n_restarts": 1}


def row(value, seed=0, diverged=False, in_ball=True, **changes):
    attack = {} if "metric" in changes else CLEAN
    facts = {"diverged": diverged, "in_ball": in_ball}
    return made_rows.row(
        value, facts, **{**NET, **attack, "n": 10, "seed": seed, **changes}
    )


def test_it_is_mean_and_sample_deviation_and_empty_where_not_measured():
    rows = [row(0.5, 0), row(0.7, 1), row(0.1, 2, diverged=True)]
    rows += [row(0.25, **PGD), row(0.5, model="b")]
    head, _, first, second = summary(rows).splitlines()
    columns = "clean, n=10 | pgd-40, linf 2/255, n=10"
    assert head == f"| model | depth | trunk | epoch | seeds | {columns} |"
    assert first == "| baseline | 4 | matched | 3 | 2 | 60.00 ± 14.14 | 25.00 |"
    assert second == "| b | 4 | matched | 3 | 1 | 50.00 |  |"


def test_only_accuracy_on_clean_images_counts():
    others = [
        row(812.5, metric="cost"),
        row(0.1, corruption="fog", severity=3, source="generated"),
        row(1.0, check="doubling_steps"),
        row(0.3, metric="distance"),
    ]
    assert summary([row(0.5), *others]) == summary([row(0.5)])
    with pytest.raises(ValueError, match="no rows of accuracy on clean images"):
        summary(others)
    with pytest.raises(ValueError, match="all of them are of seeds that diverged"):
        summary([row(0.1, diverged=True)])


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ({"protocol": "published"}, ["n=10 |", "published protocol, n=10 |"]),
        ({"n_restarts": 4}, ["n=10, n_restarts 1 |", "n=10, n_restarts 4 |"]),
        ({"n": 20}, ["n=10 |", "n=20 |"]),
    ],
)
def test_other_settings_are_another_column(change, columns):
    head, _, line = summary([row(0.5, **PGD), row(0.1, **PGD | change)]).splitlines()
    assert line.endswith("| 1 | 50.00 | 10.00 |")
    for column in columns:
        assert f"| pgd-40, linf 2/255, {column}" in head


def test_other_nets_are_other_lines_and_two_runs_of_a_seed_are_refused():
    head, *_, last = summary([row(0.5), row(0.1, dataset="cifar10")]).splitlines()
    assert head.startswith("| model | depth | trunk | epoch | dataset | seeds |")
    assert last.endswith("| cifar10 | 1 | 10.00 |")
    assert "| 2 | 60.00" in summary([row(0.5), row(0.7, 1, run="b")])
    with pytest.raises(ValueError, match=r"seed 0 .* of the runs \['a', 'b'\]"):
        summary([row(0.5), row(0.7, run="b")])


def test_images_outside_the_ball_are_not_passed_over():
    assert "WRONG" in summary([row(0.5), row(0.1, in_ball=False, **PGD)])
    outside = row(0.1, in_ball=False, **PGD | {"protocol": "published"})
    assert "WRONG" not in summary([row(0.5), outside])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("", "has no rows: measure some"),
        ("nonsense\n", "rows.jsonl, line 1 cannot be read (Expecting value"),
        ("[1]\n", "expected one JSON object per line): correct the line, or remove it"),
        (
            '{"device": "cpu"}\n',
            "line 1 cannot be read (identity=None: expected an object",
        ),
        (b"\xff\xfe\n", "it has to be a text file of rows"),
    ],
)
def test_a_file_that_is_no_rows_is_one_line(tmp_path, capsys, text, message):
    path = tmp_path / "rows.jsonl"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit) as exit:
        main(["summary", str(path)])
    said = capsys.readouterr()
    assert exit.value.code == 2 and not said.out
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    assert message in said.err


def test_a_run_folder_will_do(tmp_path, capsys):
    made_rows.add(tmp_path, 0.5)
    main(["summary", str(tmp_path)])
    assert "| 50.00 |" in capsys.readouterr().out


def test_an_ascii_terminal_gets_the_nearest_text(monkeypatch):
    written = BytesIO()
    stream = TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    main(["summary", str(ROOT / "results/cifar10_4_layers.jsonl")])
    print("≤ é 中 ━")
    stream.flush()
    table, characters, _ = written.getvalue().decode("ascii").rsplit("\n", 2)
    assert " +- " in table and characters == "<= e ? -"
