"""Several devices and several processes compute what one device computes."""

import os
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from symjax import evaluation, mesh
from symjax.evaluation import results
from symjax.training import journal
from tests.paths import ROOT

CHANGES = {
    "epochs": 2,
    "batch_size": 32,
    "model.width": 0.1,
    "dataset.train_images": 205,
    "training.drop_last": False,  # 13 images, which no two devices can share
    "optimizer.rate": 0.001,
    "checkpoint.every_epochs": 1,
}
LOSS = 2e-3
"""Relative, after 14 steps of Adam: sums over a batch are taken in another order, and
Adam divides by gradients that are close to nothing."""
ACCURACY = 2 / 360  # two test images


@pytest.fixture(scope="module")
def config(tiny):
    return tiny(CHANGES)


@pytest.fixture(scope="module")
def one_device(config, train_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mesh") / "one"
    trained = train_run(config, folder)
    run = evaluation.Run.open(folder)
    attack = evaluation.Attack("pgd", steps=3)
    evaluation.measure(run, evaluation.Results(folder), attack, "linf", [0.02], n=90)
    return trained


def commands(folder, *more):
    """The two commands that do the same as `one_device`."""
    flat = {"seeds": 2, "model.name": "baseline", "model.depth": 4} | CHANGES
    flat["dataset.name"] = "digits"
    keys = [f"--config.{key}={value}" for key, value in flat.items()]
    train = ["train.py", "--config=configs/base.py", f"--workdir={folder}", *keys]
    attack = ["--attack=pgd", "--steps=3", "--eps=0.02", "--n=90"]
    return [*train, *more], ["evaluate.py", f"--run={folder}", *attack]


def start(command, devices):
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {flags}"}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    texts = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(texts), texts
    return texts


def assert_same_run(folder, one_device):
    expected = journal.read(one_device.folder / "metrics.jsonl")
    found = journal.read(folder / "metrics.jsonl")
    assert [row["epoch"] for row in found] == [row["epoch"] for row in expected]
    for row, known in zip(found, expected, strict=True):
        assert row["step"] == known["step"]
        for split in ("train", "test"):
            loss, accuracy = f"{split}_loss", f"{split}_accuracy"
            np.testing.assert_allclose(row[loss], known[loss], rtol=LOSS)
            np.testing.assert_allclose(row[accuracy], known[accuracy], atol=ACCURACY)


def assert_same_rows(folder, one_device):
    expected = results.read([one_device.folder / "results.jsonl"])
    found = [
        row
        for row in results.read([folder / "results.jsonl"])
        if row["attack"] == "pgd"
    ]
    assert [row["seed"] for row in found] == [0, 1]
    assert all(row["in_ball"] for row in found)
    values = [[row["value"] for row in rows] for rows in (found, expected)]
    np.testing.assert_allclose(*values, atol=3 / 90)


@pytest.mark.slow
def test_eight_devices_equal_one(one_device, tmp_path):
    train, _ = commands(tmp_path / "eight")
    (text,) = finish(start(train, devices=8))
    assert "8 x cpu (seed 2, data 4)" in text
    assert_same_run(tmp_path / "eight", one_device)


@pytest.mark.slow
def test_two_processes_equal_one_and_one_of_them_writes(one_device, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    for command in commands(tmp_path / "two"):
        together = [f"--coordinator=localhost:{port}", "--processes=2"]
        said = finish(
            *(start([*command, *together, f"--process={i}"], 2) for i in range(2))
        )
        assert "two" in said[0] and "two" not in said[1]
    assert_same_run(tmp_path / "two", one_device)
    assert_same_rows(tmp_path / "two", one_device)


@pytest.mark.parametrize(
    ("count", "batch", "devices", "expected"),
    [
        (5, 128, 1, None),
        (5, 128, 5, (5, 1)),
        (5, 128, 8, (5, 1)),  # seeds first: no traffic within a step
        (1, 128, 8, (1, 8)),
        (4, 128, 8, (4, 2)),
        (4, 25, 7, (4, 1)),
        (3, 25, 20, (3, 5)),
    ],
)
def test_seeds_are_spread_before_batches(count, batch, devices, expected, monkeypatch):
    device = jax.devices()[0]
    monkeypatch.setattr(jax, "devices", lambda: [device] * devices)
    layout = mesh.build(count, batch)
    shape = layout.mesh and tuple(layout.mesh.shape.values())
    assert shape == expected


@pytest.mark.parametrize(
    ("axes", "match"),
    [
        ({"seed": 2}, "mesh.seed=2 does not divide the 5 seeds"),
        ({"data": 3}, "mesh.data=3 does not divide the 128 images.* use 2"),
        ({"seed": 5, "data": 2}, "more than the 1 available devices"),
    ],
)
def test_a_mesh_that_does_not_fit_is_an_error(axes, match):
    with pytest.raises(ValueError, match=match):
        mesh.build(5, 128, **axes)


def test_signals_are_heard_although_jax_takes_them(monkeypatch):
    def initialize(*arguments):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    before = signal.getsignal(signal.SIGTERM)
    mesh.connect("localhost:1", 2, 0)
    assert signal.getsignal(signal.SIGTERM) == before != signal.SIG_IGN
