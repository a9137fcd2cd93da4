"""The published code and ours with the same weights: stored rows, transfer, loading."""

import jax
import numpy as np
import pytest

from benchmarks import parity, weight_transfer
from study import provenance
from symjax import models, nn
from symjax.models.net import Block
from tests.paths import ROOT

ROWS = provenance.read_parity(ROOT / "results/study")
SCRIPT = """
import torchvision
import math
from torch.nn import Linear
from model import Other

class Net(Linear):
    pass

net = Net(torchvision.download())

def attack(images):
    return images + radius
"""


def test_every_net_is_compared_in_both_types_at_every_epsilon():
    cells = [(row["net"], row["dtype"]) for row in ROWS]
    assert sorted(cells) == sorted((x, y) for x in parity.NAMES for y in parity.DTYPES)
    expected = [(attack, eps) for eps in parity.EPSILONS for attack in parity.ATTACKS]
    for row in ROWS:
        assert [(x["attack"], x["eps"]) for x in row["attacks"]] == expected
        assert row["command"].startswith("python -m benchmarks.parity PATH_TO_CHECKOUT")
        assert row["images"] == 128 or row["dtype"] == "float64"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['net']} {row['dtype']}")
def test_published_nets_and_attacks_are_reproduced(row):
    wide = row["dtype"] == "float64"
    for mode in ("evaluation", "training"):
        assert row["logits"][mode] < (1e-11 if wide else 1e-5)
    assert row["clean"]["published"] == row["clean"]["ours"] > 0.15
    for x in row["attacks"]:
        assert x["published"] == x["ours"]
        one_step = x["attack"] == "fgsm"
        assert (
            x["agree"] == 1 or not wide and x["agree"] > (0.9999 if one_step else 0.5)
        )


def test_definitions_of_a_script_are_read_without_running_it():
    pytest.importorskip("torch")
    from benchmarks.published_code import definitions

    found = definitions(SCRIPT, {"radius": 2})
    assert found["Net"](3, 1).in_features == 3 and found["attack"](1) == 3
    assert not {"net", "torchvision", "Other"} & set(found)


@pytest.mark.filterwarnings("ignore")  # of e2cnn, about newer versions of its peers
def test_a_small_net_of_pytorch_and_e2cnn_is_transferred():
    """A cascade: a biased convolution, norm, ReLU, and a group convolution on C4."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("e2cnn")
    from e2cnn import gspaces
    from e2cnn import nn as enn

    torch.manual_seed(0)
    plane = gspaces.Rot2dOnR2(4)
    fields = enn.FieldType(plane, 2 * [plane.regular_repr])
    conv, norm = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
    group = enn.R2Conv(fields, fields, 3, padding=1)
    for parameter in (norm.weight, norm.bias, norm.running_mean, group.bias):
        torch.nn.init.uniform_(parameter, 0.5, 1.5)
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
    with torch.no_grad():
        middle = torch.relu(norm.eval()(conv(torch.from_numpy(images).movedim(3, 1))))
        theirs = torch.relu(group(enn.GeometricTensor(middle, fields)).tensor)

    ours = models.build("cascaded", 10, 10, "published", width=1 / 8)
    order = weight_transfer.by_element(2, 4)
    transfer = weight_transfer.Transfer(ours, np.float32)
    transfer.block("standard", conv, norm, outputs=order)
    transfer.rotation("rotation", group)
    layers = {
        "standard": Block(nn.Conv, 8),
        "rotation": Block(ours.bind_group(nn.GroupConv), 2, norm=False),
    }

    @jax.jit
    def first_layer(images):
        found = images
        for name, layer in layers.items():
            variables = {"params": transfer.params[name]}
            variables["batch_stats"] = transfer.batch_stats.get(name, {})
            found = layer.apply(jax.tree.map(np.float32, variables), found, False)
            found = found.reshape(2, 6, 6, 4, 2)
        return found

    expected = theirs.numpy().transpose(0, 2, 3, 1)[..., order].reshape(2, 6, 6, 4, 2)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(first_layer(images), expected, atol=1e-5)
