"""The scale and the initialization of e2cnn's kernels, against e2cnn 0.2.3."""

import chex
import jax
import numpy as np
import pytest

from symjax import groups, nn
from symjax.nn import e2cnn, kernels
from tests.paths import DATA

with np.load(DATA / "e2cnn_scale.npz") as file:
    STORED = dict(file)
LAYERS = sorted({name.rpartition(" ")[0] for name in STORED})
FACTORS = {
    "C4 3 lifting": np.sqrt(3),
    "C4 3 group": np.sqrt(8 / 3),
    "C8 3 lifting": np.sqrt(24 / 5),
    "C8 3 group": np.sqrt(32 / 7),
}


def described(layer):
    """Kernel size, and the representations of inputs and outputs."""
    name, size, kind = layer.split()
    group = groups.named(name)
    inputs = group.trivial if kind == "lifting" else group.regular
    return (int(size),) * 2, inputs, group.regular


@pytest.mark.parametrize("layer", LAYERS)
def test_factor_is_the_ratio_of_the_lengths_of_the_basis_elements(layer):
    size, inputs, outputs = described(layer)
    ours = kernels.sampled("steerable", outputs.group, size)  # [G, k * k, J]
    squares = len(inputs) * np.sum(ours**2)
    theirs = STORED[f"{layer} squares"]
    assert len(theirs) == ours.shape[-1] * len(inputs)
    expected = np.sqrt(squares / theirs.sum())
    found = e2cnn.factor(size, inputs, outputs)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found == pytest.approx(FACTORS.get(layer, found), rel=1e-12)


@pytest.mark.parametrize("layer", [x for x in LAYERS if f"{x} covariance" in STORED])
def test_kernels_start_with_the_covariance_of_e2cnn(layer):
    size, inputs, outputs = described(layer)
    channels = 2
    mixing = e2cnn._deviations(size, inputs, outputs)
    functions = kernels.sampled("steerable", outputs.group, size)[0]
    kernel = np.kron(functions, np.eye(len(inputs))) @ mixing / np.sqrt(channels)
    expected = STORED[f"{layer} covariance"]
    np.testing.assert_allclose(kernel @ kernel.T, expected, atol=1e-7)


@pytest.mark.parametrize("lifts", [True, False])
def test_a_layer_as_e2cnn_has_the_same_kernels_by_larger_coefficients(lifts):
    group, features = groups.C(8), 64
    make = nn.LiftingConv if lifts else nn.GroupConv
    shape = (1, 4, 4, 3) if lifts else (1, 4, 4, 8, 3)
    unit, scaled = (
        make(features, group=group, basis="steerable", as_e2cnn=choice)
        for choice in (False, True)
    )
    params = scaled.init(jax.random.key(0), np.zeros(shape))["params"]
    factor = np.sqrt(24 / 5 if lifts else 32 / 7)
    plain = scaled.expand(params)
    fitted = [layer.fit(plain) for layer in (unit, scaled)]
    chex.assert_trees_all_close(fitted[1], params, atol=1e-5)
    chex.assert_trees_all_close(
        fitted[0]["kernel"] * factor, fitted[1]["kernel"], rtol=1e-4, atol=1e-5
    )
    chex.assert_trees_all_close(unit.expand(fitted[0]), plain, atol=1e-6)
    # e2cnn: every representation that is reached has the variance of its dimension,
    # which is 1 an output in sum; lifting reaches frequencies 0 to 2 of 0 to 4.
    squares = np.sum(np.asarray(plain["kernel"]) ** 2, axis=(0, 1, 2))
    expected = 5 / 8 if lifts else 1.0
    assert squares.mean() == pytest.approx(expected, rel=0.1)
    assert not np.any(params["bias"])


def test_initial_coefficients_are_drawn_with_their_covariance():
    size, inputs, outputs = described("C4 3 lifting")
    drawn = e2cnn.initial(jax.random.key(0), size, inputs, outputs, 2, 20_000)
    assert drawn.shape == (6, 2, 20_000)
    samples = np.asarray(drawn).reshape(6, -1)
    mixing = e2cnn._deviations(size, inputs, outputs) * np.sqrt(3 / 2)
    expected = mixing @ mixing.T
    np.testing.assert_allclose(
        samples @ samples.T / samples.shape[1], expected, atol=0.03 * expected.max()
    )


@pytest.mark.parametrize("name", ["C1", "C2", "C3", "C6", "D1", "D4", "D5", "D8"])
def test_representations_are_those_of_a_group(name):
    """Orthogonal projections that add up to the identity, of as many dimensions."""
    group = groups.named(name)
    actions = np.eye(group.order)[:, group.table].transpose(1, 0, 2)  # [G, G, G]
    found = [
        (dimension, np.einsum("g,gab->ab", weights, actions))
        for dimension, weights in e2cnn._representations(group)
    ]
    np.testing.assert_allclose(sum(x for _, x in found), np.eye(group.order), atol=1e-9)
    for index, (dimension, one) in enumerate(found):
        for other, (_, two) in enumerate(found):
            np.testing.assert_allclose(one @ two, one * (index == other), atol=1e-9)
        copies = {True: dimension, False: 1}[group.reflections]  # of rotations, complex
        assert np.trace(one) == pytest.approx(dimension * copies)


def test_scale_is_of_steerable_kernels_and_regular_outputs():
    for options in ({"basis": "full"}, {"outputs": groups.C4.trivial}):
        layer = nn.LiftingConv(2, **{"basis": "steerable", **options}, as_e2cnn=True)
        with pytest.raises(ValueError, match="defined for basis='steerable' and regu"):
            layer.init(jax.random.key(0), np.zeros((1, 4, 4, 3)))
