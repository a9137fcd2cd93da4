"""The two commands, as a user calls them."""

import os
import re
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from symjax import command
from symjax.evaluation import results
from tests.paths import ROOT

TINY = [  # the shapes of the shared `trained` run, so that programs are compiled once
    "--config=configs/quickstart.py",
    "--config.model.name=baseline",
    "--config.model.width=0.1",
    "--config.batch_size=32",
    "--config.dataset.train_images=430",
    "--config.optimizer.rate=0.01",
]


def call(script, *arguments, cwd=ROOT, **environment):
    words = [sys.executable, str(ROOT / script), *arguments]
    asked = {"cwd": cwd, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(words, env={**os.environ, **environment}, **asked)


@pytest.mark.slow
def test_train_resume_and_evaluate(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    ascii = {"PYTHONIOENCODING": "ascii"}
    trained = call("train.py", *TINY, workdir, "--config.epochs=1", **ascii)
    assert trained.returncode == 0, trained.stderr
    assert "epoch 1:" in trained.stdout
    *_, closing, _, following = trained.stdout.splitlines()
    assert re.match(r"trained 1 epoch of 2 seeds: test accuracy \d+\.\d%", closing)
    run = tmp_path / "run"
    assert following.split() == f"python evaluate.py --attack pgd --run {run}".split()
    resumed = call("train.py", *TINY, workdir, "--config.epochs=2")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after epoch 1 of 2" in resumed.stdout
    arguments = f"--run={tmp_path / 'run'}", "--n=30", "--steps=2"
    eps = "--eps=1/255,8/255"
    result = call("evaluate.py", "--attack=PGD", eps, *arguments, **ascii)
    assert result.returncode == 0, result.stderr
    for text in ("8/255", "clean", "pgd-2", "30 test images, 2 seeds", " +- "):
        assert text in result.stdout
    path = tmp_path / "run/results.jsonl"
    rows = results.read([path])
    assert [(row["attack"], row["seed"]) for row in rows] == [
        ("none", 0),
        ("none", 1),
        *[("pgd", 0), ("pgd", 1)] * 2,
    ]
    published = "--attack=fgsm", "--protocol=published", "--eps=0.02"
    for switches in ((), ("--switches=clip range",)):
        result = call("evaluate.py", *published, *switches, *arguments[:2])
        assert result.returncode == 0, result.stderr
        assert "which the published protocol allows" in result.stdout
    rows = [row for row in results.read([path]) if row["attack"] == "fgsm"]
    assert [(row["protocol"], row["eps"]) for row in rows] == [
        *[("published", 0.01)] * 2,
        *[("switched", 0.02)] * 2,
    ]
    other = call("train.py", *TINY, workdir, "--config.seeds=1")
    assert other.returncode == 2 and "seeds (was 2, is 1)" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "text"),
    [
        ("train.py", [*TINY, "--config.model.depth=5"], "depth 5: expected one of"),
        ("train.py", [*TINY, "here"], "arguments ['here']: expected only flags"),
        (
            "train.py",
            [*TINY, "--workdir=README.md/run"],
            "run cannot be written to (Not a directory)",
        ),
        ("evaluate.py", ["--attack=pdg"], "did you mean 'pgd'?"),
    ],
)
@pytest.mark.slow
def test_what_a_user_can_put_right_is_no_stack_trace(script, arguments, text):
    result = call(script, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert text in result.stderr


@pytest.fixture
def refused(monkeypatch, capsys):
    """`refused("--config=x.py")`: the one line that these flags of train.py get."""
    before = set(flags.FLAGS)
    config_flags.DEFINE_config_file("config", None, "A file.")
    flags.DEFINE_string("workdir", None, "A folder.")
    flags.DEFINE_list("sizes", ["15"], "Numbers.")
    monkeypatch.chdir(ROOT)

    def call(*given, whole=False):
        monkeypatch.setattr(sys, "argv", ["train.py", *given])
        sys.modules.pop("config_config", None)  # the configuration loaded before
        with pytest.raises(SystemExit) as exit:
            command._parse(sys.argv)
        err = capsys.readouterr().err
        assert exit.value.code == 2 and (whole or err.count("\n") == 1)
        return err

    yield call
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            ["--config=a.py", "--config", "b.py"],
            "--config: a.py and b.py are given; expected one configuration. --config",
        ),
        (["--config="], "--config='': expected a file, such as configs/quickstart.py."),
        (
            ["--config=configs/quikstart.py", "--config.seeds=2"],
            "quikstart.py: there is no such file. Did you mean configs/quickstart.py?",
        ),
        ([TINY[0], "--workdir", " "], "--workdir='': expected a value. Leave the flag"),
        ([TINY[0], "--sizes="], "--sizes='': expected a value. Leave the flag out for"),
        ([TINY[0], "--config.seeds=x"], "--config.seeds=x: invalid literal"),
        (
            [TINY[0], "--config.modle.name=x"],
            "--config.modle.name: configs/quickstart.py has no such key. Did you mean "
            '"model.name"?',
        ),
        (
            [TINY[0], "--config.seeds.x=1"],
            "--config.seeds.x: configs/quickstart.py has",
        ),
        ([TINY[0], "--noconfig.dataset.augmnt"], 'Did you mean "dataset.augment"?'),
    ],
)
def test_flags_that_cannot_be_are_one_line(refused, given, text):
    assert text in refused(*given)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("x = ", "{path}, line 1: invalid syntax"),
        ("import nothing", "{path}, line 1: ModuleNotFoundError: No module named"),
        (
            "\ndef get_config():\n  return 1 / 0",
            "{path}, line 3: ZeroDivisionError: div",
        ),
        ("x = 1", "{path} defines no function get_config."),
        (
            "from configs import base\nconfig = base.get_config()\nconfig.epoch = 3",
            'line 3: AttributeError: Key "epoch" .* Did you mean "epochs" instead',
        ),
    ],
)
def test_a_configuration_that_is_wrong_is_one_line(refused, tmp_path, code, text):
    path = tmp_path / "mine.py"
    path.write_text(code)
    found = refused(f"--config={path}", "--config.seeds=2")
    assert re.match("error: .*" + text.format(path=path), found), found


def test_the_nearest_configuration_is_of_the_folder_that_was_given(
    refused, tmp_path, monkeypatch
):
    (tmp_path / "mine.py").touch()
    wrong = tmp_path / "mime.py"
    expected = (
        f"--config={wrong}: there is no such file. Did you mean {tmp_path}/mine.py?"
    )
    assert expected in refused(f"--config={wrong}")
    monkeypatch.chdir(tmp_path)
    assert "Did you mean mine.py?" in refused("--config=mime.py")
    assert "Without --config all are listed" in refused("--config=nothing/alike.py")


def test_train_help_lists_flags_and_configurations():
    result = call("train.py", "--help")
    assert result.returncode == 0 and not result.stderr
    heads = re.findall(r"^  --(?:\[no\])?(\w+)", result.stdout, re.MULTILINE)
    assert heads == ["config", "workdir", "resume", *command.SHARED]
    assert result.stdout.count("  python train.py --config configs/") == 2
    assert "\n  configs/quickstart.py  A parallel rot & scale net" in result.stdout
    assert "configs/base.py  " not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_train_without_a_configuration_lists_them(refused):
    first, *lines = refused("--workdir=x", whole=True).splitlines()
    assert first == "error: --config is missing: name one of these configurations."
    files = {f"configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    listed = {line.split()[0] for line in lines if line.startswith("  configs/")}
    assert listed == files - {"configs/base.py", "configs/__init__.py"}


@pytest.mark.slow
def test_a_run_that_cannot_start_leaves_no_folder(tmp_path):
    for config, change, text in (
        (ROOT / "configs/quickstart.py", "batch_size=5000", "batch_size=5000 is more"),
        (tmp_path / "mine.py", "", "the configuration is 3: expected a ConfigDict"),
    ):
        (tmp_path / "mine.py").write_text("def get_config(): return 3")
        flags = [f"--config={config}", *([f"--config.{change}"] if change else [])]
        result = call("train.py", *flags, cwd=tmp_path)
        assert result.returncode == 2 and text in result.stderr
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_without_a_run_it_says_how_to_make_one(tmp_path):
    result = call("evaluate.py", "--attack=pgd", cwd=tmp_path)
    assert result.returncode == 2
    assert "train.py --config configs/quickstart.py" in result.stderr


def test_help_lists_the_flags_and_is_no_error():
    result = call("evaluate.py", "--help")
    assert result.returncode == 0 and not result.stderr
    for text in ("Examples:", "The attack:", "  --[no]force", "--attack none|fgsm|pgd"):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
