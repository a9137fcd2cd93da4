"""The audit of whole nets: exact on the grid, honest between the pixels."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from test_cli import ROOT, TINY

from symjax import groups
from symjax.evaluation import equivariance
from symjax.models import Equivariant
from symjax.nn import equivariance_error

ROUNDING = {"float32": 5e-6, "bfloat16": 5e-2}  # a few layers of them, of the largest


@pytest.fixture(scope="module", params=["C8", "D4"])
def net(request):
    """A model of three layers and its variables."""
    group = groups.named(request.param)
    basis = "full" if group.is_on_grid else "steerable"
    model = Equivariant("4 P 4 4", classes=3, group=group, basis=basis)
    images = equivariance_error.smooth_images(0, 1, 16)
    return model, jax.jit(model.init)(jax.random.key(0), images)


@pytest.mark.parametrize("dtype", equivariance.DTYPES)
def test_every_layer_is_exact_under_the_elements_on_the_grid(net, dtype):
    model, variables = net
    found = equivariance.audit(model, variables, 16, dtype=dtype)
    assert set(found) == {"block_0", "block_2", "block_3", "head"}
    on_grid = model.group.grid.elements
    between = np.setdiff1d(np.arange(model.group.order), on_grid)
    for name, errors in found.items():
        assert errors[0] == 0 and errors.shape == (model.group.order,)
        assert errors[on_grid].max() < ROUNDING[dtype], name
        if len(between):
            assert 1e-3 < errors[between].min() and errors[between].max() < 1, name


@pytest.mark.slow
def test_another_readout_is_found_out(net):
    model, variables = net
    flat = model.clone(readout="flatten")
    variables = jax.jit(flat.init)(
        jax.random.key(0), equivariance_error.smooth_images(0, 1, 16)
    )
    errors = equivariance.audit(flat, variables, 16)
    assert errors["head"][1:].min() > 1e-2
    on_grid = model.group.grid.elements
    assert errors["block_3"][on_grid].max() < ROUNDING["float32"]


def test_pictures_turn_to_the_last_bit_on_the_grid():
    group = groups.D(8)
    straight = equivariance_error.smooth_images(1, 2, 9, channels=1)
    assert straight.shape == (2, 9, 9, 1)
    assert 0 <= straight.min() < 0.45 and 0.55 < straight.max() <= 1
    for g in group.grid.elements:
        turned = equivariance_error.smooth_images(1, 2, 9, 1, group.matrices[g])
        np.testing.assert_array_equal(turned, group.act(g, straight))


def test_table_and_summary_name_the_worst():
    group = groups.C8
    errors = {"a": np.arange(8) * 1e-3, "b": np.zeros(8)}
    lines = equivariance.summary({("float32", "before"): errors}, group)
    expected = "on the grid 6.0e-03 (a), between pixels 7.0e-03 (a)"
    assert lines == [f"float32, before training: largest {expected}"]
    head, line, _ = equivariance.table(errors, group).splitlines()
    assert head.split()[:3] == ["~45°", "90°", "~135°"] and len(head.split()) == 7
    assert line.split() == ["a", *(f"{g}.0e-03" for g in range(1, 8))]


@pytest.mark.slow
def test_the_command_trains_and_prints_a_table_a_size(tmp_path):
    options = [option for option in TINY if "model.name" not in option]
    options += ["--config.model.name=equivariant", "--config.model.group=C8"]
    options += ["--config.epochs=1", "--config.seeds=1"]
    options += [f"--workdir={tmp_path / 'run'}", "--sizes=8,3"]
    command = [sys.executable, "-m", "symjax.evaluation.equivariance", *options]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr
    for when in ("before", "after"):
        line = rf"float32, {when} training: largest on the grid (\S+) \("
        assert float(re.search(line, found.stdout)[1]) < ROUNDING["float32"]
    assert "~45°" in found.stdout and "3x3 pixels: refused" in found.stdout
