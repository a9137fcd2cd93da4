"""The text of `--help`: flags in groups, defaults, the width of a terminal."""

import pytest
from absl import flags

from symjax import command_help
from symjax.command_help import exit_if_asked, show_help


@pytest.fixture
def text(monkeypatch):
    known = flags.FlagValues()
    long = "This sentence is repeated until it is wider than a terminal is. " * 3
    flags.DEFINE_enum("norm", "linf", ["linf", "l2"], long, flag_values=known)
    flags.DEFINE_bool("resume", True, "Go on.", flag_values=known)
    flags.DEFINE_list("sizes", ["15", "16"], "Sides.", flag_values=known)
    flags.DEFINE_string("run", None, "The run.", flag_values=known)
    flags.DEFINE_integer("absl_own", 1, "Only in the full help.", flag_values=known)
    monkeypatch.setattr(command_help, "FLAGS", known)
    groups = {"The attack": ["norm"], "The run": ["resume", "sizes", "run"]}
    return show_help("Does\n  it.", ["python one.py", "python two.py"], groups)


def test_flags_stand_under_their_headings_with_values_and_defaults(text):
    parts = text.split("\n\n")
    assert parts[:2] == ["Does it.", "Examples:\n  python one.py\n  python two.py"]
    attack, run = parts[2:4]
    assert attack.startswith("The attack:\n  --norm linf|l2\n      This sentence")
    assert attack.endswith("The default is linf.") and "<linf" not in attack
    assert run.splitlines() == [
        "The run:",
        "  --[no]resume",
        "      Go on. It is on by default; --noresume turns it off.",
        "  --sizes A,B,...",
        "      Sides. The default is 15,16.",
        "  --run TEXT",
        "      The run.",
    ]
    assert "absl_own" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("word", ["--help", "-h", "-?", "--helpshort", "--helpfull"])
def test_who_asks_for_help_gets_it_and_exit_code_0(text, word, capsys):
    exit_if_asked(["x", "--run=-h"], text)
    exit_if_asked(["x", "--", word], text)
    assert not capsys.readouterr().out
    with pytest.raises(SystemExit) as exit:
        exit_if_asked(["train.py", "--run=x", word], text)
    out = capsys.readouterr().out
    assert exit.value.code == 0 and out.startswith(text)
    assert ("Only in the full help." in out) == (word == "--helpfull")


def test_a_flag_that_is_not_defined_is_an_error(text):
    with pytest.raises(ValueError, match="--epsilon: expected the name"):
        show_help("Does it.", [], {"The run": ["epsilon"]})
