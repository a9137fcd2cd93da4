"""Every benchmark runs on the CPU and writes a row; the PyTorch net is the same net."""

import importlib.util
import json
import math
import sys
import types

import jax
import numpy as np
import pytest

from benchmarks import (
    attack,
    autoattack,
    clever,
    corruptions,
    ours,
    report,
    roofline,
    scaling,
    startup,
    training,
)
from benchmarks.setting import Setting
from symjax import models
from symjax.metrics import operations

FIELDS = {
    *("benchmark", "setting", "what", "value", "unit", "spread", "against", "ratio"),
    *("others", "device", "cores", "load", "platform", "versions", "commit", "argv"),
    "utc",
}
STANDS_IN_FOR_TRAIN = """
import os, pathlib, sys, time
programs = pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
warm = programs.exists()
programs.mkdir(exist_ok=True)
assert "--x=1" in sys.argv and "--workdir=" in sys.argv[-1]
print("compiling")
print("epoch 1: loss", flush=True)
time.sleep(60 if warm else 0)
"""
DEEP = Setting("parallel_rs", 10, 0.25, 16, 1, 4, 1, 1, "float32")


def one_row(path):
    (line,) = path.read_text().splitlines()
    row = json.loads(line)
    assert set(row) == FIELDS
    for figure in (row, *row["others"]):
        low, high = figure["spread"]
        assert 0 < low <= figure["value"] <= high < math.inf
    return row


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Nothing here is fast or slow: the nets only have to run."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def test_corruptions_against_a_generator_that_takes_one_image_at_a_time(
    tmp_path, monkeypatch
):
    asked = []

    def contrast(image, severity):
        asked.append((image.size, severity))
        return np.asarray(image)

    module = types.SimpleNamespace(contrast=contrast)
    monkeypatch.setattr(corruptions, "published_functions", lambda path: module)
    monkeypatch.setattr(corruptions.corruptions, "available", lambda: ("contrast",))
    out = tmp_path / "rows"
    corruptions.main(["--smoke", "--published", "x.py", "--out", str(out)])
    row = one_row(out)
    counts = {"symjax": 4 * 5, "make_cifar_c.py": 2 * 5}
    assert row["setting"] == {"images": counts, "corruptions": 1, "severities": 5}
    assert row["against"] == "make_cifar_c.py" and row["unit"] == "images/s"
    assert asked == [((32, 32), severity) for severity in range(1, 6) for _ in "ab"]


@pytest.fixture
def torch():
    """PyTorch with one thread: on a busy machine two wait for each other."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("main", "peer"), [(training.main, "torch"), (attack.main, "torchattacks")]
)
def test_rates_against_pytorch(tmp_path, torch, main, peer):
    main(["--smoke", "--out", str(tmp_path / "rows")])
    row = one_row(tmp_path / "rows")
    assert (row["what"], row["unit"]) == ("symjax", "images/s")
    assert row["setting"]["steps"] == 1
    values = {other["what"]: other["value"] for other in row["others"]}
    assert len(values) == (2 if importlib.util.find_spec(peer) else 0)
    if values:
        assert row["against"] == max(values, key=values.__getitem__)
        assert row["ratio"] == pytest.approx(row["value"] / values[row["against"]])


def test_a_missing_peer_leaves_ours_alone(monkeypatch, capsys):
    monkeypatch.setattr(training.ours, "training", lambda setting: lambda: None)
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None)
    row = training.main(["--smoke", "--net", "equivariant"])
    assert (row["against"], row["ratio"], row["others"]) == (None, None, [])
    assert "pip install escnn" in capsys.readouterr().out


@pytest.mark.slow
def test_autoattack(tmp_path):
    autoattack.main(["--smoke", "--out", str(tmp_path / "rows")])
    row = one_row(tmp_path / "rows")
    assert (row["what"], row["unit"], row["against"]) == ("symjax", "s", None)
    (first,) = row["others"]  # compiled in it
    assert first["value"] > row["value"] and first["ratio"] is None
    said = row["setting"]
    assert (said["images"], said["disagree"]) == (8, 0)
    assert 0 <= said["robust"]["symjax"] <= 1


@pytest.mark.parametrize(
    ("main", "flags", "message"),
    [
        (training.main, ["--smoke", "--peer", "escnn"], "use torch or none"),
        (autoattack.main, [], "name a trained run"),
    ],
)
def test_what_cannot_be_measured_is_refused(main, flags, message, capsys):
    with pytest.raises(SystemExit):
        main(flags)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_clever_without_art(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "art", None)
    clever.main(["--smoke", "--norm", "linf", "--out", str(tmp_path / "rows")])
    row = one_row(tmp_path / "rows")
    assert (row["what"], row["unit"], row["others"]) == ("symjax", "samples/s", [])
    assert row["setting"]["samples"] == {"symjax": 20}
    assert "pip install adversarial-robustness-toolbox" in capsys.readouterr().out


@pytest.mark.slow
def test_roofline(tmp_path):
    roofline.main(["--smoke", "--out", str(tmp_path / "rows")])
    row = one_row(tmp_path / "rows")
    setting = row["setting"]
    assert setting["limit"] in ("operations", "bytes")
    bounds = (
        setting["operations"] / setting["operations_per_second"],
        setting["bytes"] / setting["bytes_per_second"],
    )
    assert row["others"][0]["value"] == pytest.approx(max(bounds))
    assert row["ratio"] == pytest.approx(max(bounds) / row["value"])


def test_startup(tmp_path, monkeypatch):
    """With commands in place of ours, which the tests of the command line start."""
    (tmp_path / "train.py").write_text(STANDS_IN_FOR_TRAIN)
    (tmp_path / "evaluate.py").write_text("import sys; assert '--run=' in sys.argv[-1]")
    monkeypatch.setattr(startup, "ROOT", tmp_path)
    startup.main(["--repeats", "1", "--out", str(tmp_path / "rows"), "--", "--x=1"])
    row = one_row(tmp_path / "rows")
    cold, whole = row["others"]
    assert (row["unit"], row["against"]) == ("s", startup.COLD)
    assert row["value"] < 60  # it was stopped at its first epoch's line
    assert cold["value"] < whole["value"]
    assert whole["ratio"] is None


def test_a_command_that_never_trains_says_what_it_printed():
    with pytest.raises(RuntimeError, match="out of luck"):
        startup.first_epoch([sys.executable, "-c", "print('out of luck')"], {}, False)


def test_alternate_takes_turns_after_warming_up():
    turns = []
    runs = {name: (lambda name=name: turns.append(name)) for name in ("a", "b")}
    times = report.alternate(runs, repeats=2, warmups=1)
    assert turns == ["a", "b"] * 3
    assert [len(taken) for taken in times.values()] == [2, 2]
    with pytest.raises(ValueError, match="repeats=0"):
        report.alternate(runs, repeats=0)


def test_ratios_say_how_many_times_as_fast():
    fast, slow = report.seconds("fast", [1, 2, 9]), report.seconds("slow", [6, 6])
    assert (fast.value, fast.spread) == (2, (1, 9))
    assert fast.times_as_fast(slow) == 3
    rate = report.rate("rate", 12, "images/s", [2, 3, 4])
    assert (rate.value, rate.spread) == (4, (3, 6))
    assert rate.times_as_fast(report.rate("slow", 12, "images/s", [6])) == 2
    with pytest.raises(ValueError, match="one unit"):
        fast.times_as_fast(rate)


def test_operations_of_a_step_are_those_of_its_convolutions():
    """Forward, and twice that backward but for the images; the rest is a small part.

    Resizing multiplies by matrices of no weights: once backward, not for the images.
    """
    setting = Setting("parallel_rs", 4, 1.0, 32, 2, 8, 1, 1, "float32")
    first = [(32, 3, 16), (32, 3, 64), (16, 3, 16), (32, 3, 16), (64, 3, 16)]
    trunk = [(16, 32, 64), (8, 64, 128), (4, 128, 256)]
    first, trunk = (  # 3x3, on n pixels a side
        [9 * n * n * inputs * outputs for n, inputs, outputs in layers]
        for layers in (first, trunk)
    )
    trunk[-1] = trunk[-1] * 4 // 9  # by Winograd's tiles, on a CPU
    fusion, head = 32**2 * 128 * 32, 256 * 10
    images = setting.seeds * setting.batch_size
    expected = images * (2 * sum(first) + 3 * (fusion + sum(trunk) + head))
    for passes, old, new, channels in (
        *[(1, 32, 16, 3), (1, 32, 64, 3)],
        *[(2, 16, 32, 16), (2, 64, 32, 16)],
    ):
        expected += images * passes * new * old * (old + new) * channels
    traced, times = roofline.traced_step(setting)
    found = operations.count(traced.jaxpr)
    assert times * found.products == expected
    assert 2 * found.products < found.flops < 2.2 * found.products


def like_trained(model, images):
    """Variables whose norms and averages are not 0 and 1: a mix-up of them shows."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)

    def draw(leaf):
        if len(leaf.shape) == 1:
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = np.prod(leaf.shape[:-1])
        return rng.normal(0, fan_in**-0.5, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes)


@pytest.mark.parametrize("depth", [*models.DEPTHS, None])
def test_the_pytorch_nets_are_the_same_nets(torch, depth):
    """The baseline with 4 and with 10 layers, and the parallel rot & scale net.

    With our weights the PyTorch net has as many parameters and the same logits.
    """
    from benchmarks import torch_nets

    if depth:
        model = models.build("baseline", depth, 10, width=DEEP.width)
        net = torch_nets.Baseline(model.trunk, 10, DEEP.width).eval()
    else:
        model = ours.model(DEEP)
        net = torch_nets.ParallelRotScale(model.trunk, 10, DEEP.width).eval()
    images = np.random.default_rng(1).random((2, 16, 16, 3), np.float32)
    variables = like_trained(model, images)
    ours_count = models.parameter_count(model, (16, 16, 3))
    assert sum(x.numel() for x in net.parameters()) == ours_count
    torch_nets.copy_weights(variables, net)
    with torch.no_grad():
        theirs = net(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    mine = np.asarray(jax.jit(models.logits_fn(model, variables))(images))
    assert np.ptp(mine) > 0.1
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_the_peer_trains(torch):
    from benchmarks import torch_nets, torch_peers

    net = torch_nets.ParallelRotScale("P 8", 10, 0.25)
    before = net.head.weight.detach().clone()
    images, labels = DEEP.images(12)
    torch_peers.training(net, images, labels, 4, torch_peers.Variant())()
    assert not (net.head.weight == before).all()
    assert net.fusion.norm.num_batches_tracked == 3


@pytest.mark.slow
def test_scaling_has_a_row_a_point_and_goes_on_in_a_line(tmp_path, capsys):
    path = tmp_path / "rows"
    scaling.main(["--smoke", "--out", str(path)])
    row = one_row(path)
    said = row["setting"]
    assert (said["axis"], said["batch_size"], said["devices"]) == ("batch_size", 8, 1)
    assert said["bytes"] > 1e5
    rows = [
        row | {"value": 1.0, "setting": said | {"bytes": 3 * scaling.MIB}},
        row
        | {
            "value": 1.5,
            "setting": said | {"batch_size": 16, "bytes": 4 * scaling.MIB},
        },
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    scaling.main(["--table", str(path)])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "| batch_size | 512 | 32,500 | 16 | 66 | extrapolated |"


@pytest.mark.parametrize(
    ("axis", "what", "at_4"), [("size", "time", 17), ("width", "memory", 9)]
)
def test_scaling_knows_how_an_axis_grows(axis, what, at_4):
    """Time grows as 1 + size squared, memory as 1 + 2 width."""
    rows = [
        {"value": 1 + x**2, "setting": {axis: x, "bytes": 1 + 2 * x}} for x in (1, 2, 3)
    ]
    assert scaling.beyond(rows, axis, 4, what) == pytest.approx(at_4)
