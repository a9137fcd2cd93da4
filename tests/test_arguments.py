"""Flags of the commands that are run by `python -m`: each error is one line."""

import sys

import pytest

from benchmarks import setting
from study import __main__ as study
from symjax import terminal
from symjax.arguments import Parser, command
from symjax.evaluation import cells
from symjax.models import table
from symjax.nn import audit
from symjax.report import __main__ as report


@pytest.fixture
def refused(capsys):
    """`refused(call, *arguments)`: the line that it prints, with exit code 2."""

    def run(call, *arguments):
        with pytest.raises(SystemExit) as exit:
            call([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert exit.value.code == 2 and not printed.out
        assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
        return printed.err.removeprefix("error: ").rstrip()

    return run


@pytest.fixture
def parser():
    made = Parser("python -m x")
    made.add_argument("run")
    made.add_argument("--number", type=float, default=0.0)
    made.add_argument("--out", required=True)
    return made


MISTYPED = [  # the command, its arguments, the flag that is meant
    (audit.main, ["--size", "7"], "--sizes"),
    (table.main, ["--hlp"], "--help"),
    (cells.main, ["RUN", "--mach", "eps=8"], "--match"),
    (report.main, ["summary", "--hepl"], "--help"),
    (report.main, ["RUN", "--ou", "x.html"], "--out"),
    (report.main, ["compare", "--metrics=clever", "RUN"], "--metric"),
    (report.main, ["statements", "--metrik", "clever", "x.jsonl"], "--metric"),
    (report.main, ["distance_bounds", "RUN", "--output", "x.png"], "--out"),
    (report.main, ["tolerance", "RUN", "-out", "x.png"], "--out"),
    (report.main, ["corruption", "RUN", "--protocl", "sound"], "--protocol"),
    (study.main, ["--result", "x", "list"], "--results"),
    (study.main, ["run", "--minuts", "1"], "--minutes"),
    (setting.parser("x", 1).parse_args, ["--repeat=1"], "--repeats"),
]


@pytest.mark.parametrize(("call", "arguments", "meant"), MISTYPED)
def test_a_mistyped_flag_is_refused_with_the_nearest(refused, call, arguments, meant):
    name = next(word for word in arguments if word.startswith("-")).split("=")[0]
    expected = f"{name}: there is no such flag. Did you mean {meant}?"
    assert refused(call, *arguments) == expected


@pytest.mark.parametrize("name", ["", "page", *report.COMMANDS])
def test_a_folder_that_is_missing_is_refused(refused, tmp_path, name):
    out = ["--out", tmp_path / "x.png"] * (name in ("distance_bounds", "tolerance"))
    missing = str(tmp_path / "missing")
    assert missing in refused(cells.main, missing)
    assert missing in refused(report.main, *[name] * bool(name), missing, *out)
    assert not list(tmp_path.iterdir())


def test_the_reports_command_lists_its_commands_and_needs_a_run(capsys, refused):
    with pytest.raises(SystemExit) as exit:
        report.main(["--help"])
    printed = capsys.readouterr().out
    assert exit.value.code == 0
    assert all(f"    {name}" in printed for name in ("page", *report.COMMANDS))
    assert "arguments are required: RUN" in refused(report.main)
    assert refused(report.main, "compar", "a", "b").endswith("Did you mean compare?")
    assert refused(report.main, "RUN", "--metric", "clever").startswith("unrecog")


def test_the_table_of_nets_takes_no_arguments(refused):
    assert refused(table.main, "x") == "unrecognized arguments: x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--out=x", "--nope"], "--nope: there is no such flag. --help lists"),
        (["a", "-x"], "-x: there is no such flag"),
        (["a"], "the following arguments are required: --out"),
        (["a", "b", "--out", "x"], "unrecognized arguments: b"),
        (["a", "--out", "x", "--number=one"], "--number: invalid float value: 'one'"),
        (["a", "--out"], "argument --out: expected one argument"),
    ],
)
def test_what_argparse_refuses_is_one_line(refused, parser, arguments, message):
    assert message in refused(parser.parse_args, *arguments)


def test_what_only_looks_like_a_flag_is_a_value(parser, monkeypatch):
    asked = parser.parse_args(["-", "--number", "-.5", "--out", "--x y"])
    assert (asked.run, asked.number, asked.out) == ("-", -0.5, "--x y")
    monkeypatch.setattr(sys, "argv", ["x", "--out=--a", "--", "--b"])
    asked = parser.parse_args()
    assert (asked.run, asked.out) == ("--b", "--a")


def test_an_error_of_several_lines_is_printed_in_one(refused):
    @command()
    def main(arguments):
        raise arguments[0]

    def fails(error):
        return refused(lambda _: main([error]))

    assert fails(ValueError("no\n  such\nfile")) == "no such file"
    assert fails(FileNotFoundError(2, "None", "x")) == "[Errno 2] None: 'x'"
    with pytest.raises(KeyError):
        main([KeyError("a fault of ours")])
    assert terminal.fail("x") == 2


@pytest.mark.parametrize("flag", ["--minutes", "--together"])
@pytest.mark.parametrize("value", ["nan", "-1", "inf", "x", "-nan"])
def test_the_study_refuses_numbers_that_cannot_be(refused, flag, value, tmp_path):
    message = refused(study.main, "run", f"{flag}={value}", "--runs", tmp_path)
    whole = "whole " if flag == "--together" else ""
    expected = f"argument {flag}: {value}: expected a {whole}number from 0 on"
    assert message == expected


@pytest.mark.parametrize("name", ["list", "build"])
def test_the_study_refuses_a_folder_of_rows_that_is_missing(refused, name, tmp_path):
    missing = tmp_path / "missing"
    expected = f"--results {missing}: there is no such folder."
    assert refused(study.main, "--results", missing, name) == expected


def test_the_study_without_rows_lists_what_is_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    study.main(["list", "--only", "1/44"])
    assert "1 of 1 runs have cells without a row" in capsys.readouterr().out
