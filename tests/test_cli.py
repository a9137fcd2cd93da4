"""The two commands, as a user calls them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = [  # the shapes of the shared `trained` run, so that programs are compiled once
    "--config=configs/quickstart.py",
    "--config.model.name=baseline",
    "--config.model.width=0.1",
    "--config.batch_size=32",
    "--config.dataset.train_images=430",
    "--config.optimizer.rate=0.01",
]


def call(script, *arguments, cwd=ROOT, **environment):
    command = [sys.executable, str(ROOT / script), *arguments]
    asked = {"cwd": cwd, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(command, env={**os.environ, **environment}, **asked)


def test_train_resume_and_evaluate(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    ascii = {"PYTHONIOENCODING": "ascii"}
    trained = call("train.py", *TINY, workdir, "--config.epochs=1", **ascii)
    assert trained.returncode == 0, trained.stderr
    assert "epoch 1:" in trained.stdout
    resumed = call("train.py", *TINY, workdir, "--config.epochs=2")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after epoch 1 of 2" in resumed.stdout
    arguments = f"--run={tmp_path / 'run'}", "--n=30", "--steps=2"
    eps = "--eps=1/255,8/255"
    result = call("evaluate.py", "--attack=PGD", eps, *arguments, **ascii)
    assert result.returncode == 0, result.stderr
    for text in ("8/255", "clean", "pgd-2", "30 test images, 2 seeds", " +- "):
        assert text in result.stdout
    lines = (tmp_path / "run/results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["attack"], row["seed"]) for row in rows] == [
        ("none", 0),
        ("none", 1),
        *[("pgd", 0), ("pgd", 1)] * 2,
    ]
    published = "--attack=fgsm", "--protocol=reference", "--eps=0.02"
    for switches in ((), ("--switches=clip range",)):
        result = call("evaluate.py", *published, *switches, *arguments[:2])
        assert result.returncode == 0, result.stderr
        assert "WRONG: some images left the ball" in result.stdout
    lines = (tmp_path / "run/results.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["attack"] == "fgsm"]
    assert [(row["protocol"], row["eps"]) for row in rows] == [
        *[("reference", 0.01)] * 2,
        *[("switched", 0.02)] * 2,
    ]
    other = call("train.py", *TINY, workdir, "--config.seeds=1")
    assert other.returncode == 2 and "seeds (was 2, is 1)" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "text"),
    [
        ("train.py", [*TINY, "--config.seedz=3"], 'Did you mean "seeds"'),
        ("train.py", [*TINY, "--config.model.depth=5"], "depth 5: expected one of"),
        ("train.py", ["--config=configs/nothing.py"], "configs/nothing.py"),
        ("evaluate.py", ["--attack=pgd", "--eps=x"], "--eps='x'"),
        ("evaluate.py", ["--attack=pdg"], "did you mean 'pgd'?"),
        (
            "evaluate.py",
            ["--attack=pgd", "--protocol=reference", "--restarts=2"],
            "--restarts: the reference protocol has its own",
        ),
    ],
)
def test_what_a_user_can_put_right_is_no_stack_trace(script, arguments, text):
    result = call(script, *arguments)
    assert result.returncode == 2
    assert text in result.stderr and "Traceback" not in result.stderr


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
