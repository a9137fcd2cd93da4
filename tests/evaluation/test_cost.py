"""Counts in closed form, and against XLA's; rows of cost, gap and steepness."""

import dataclasses
import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax
from jax.tree_util import Partial

from symjax import evaluation, models, nn
from symjax.attacks import L2
from symjax.evaluation.metrics import base, generalization
from symjax.evaluation.metrics import cost as cost_rows
from symjax.groups import C2, C4
from symjax.metrics import lipschitz
from symjax.metrics.cost import cost, parameters, throughput
from symjax.metrics.operations import Operations, operations
from symjax.metrics.program import evaluate
from symjax.metrics.samples import keys_of_images
from symjax.nn import convolution
from symjax.seeds import KeyPurpose, of_seed, purpose_key
from symjax.training import adversarial
from symjax.training.step import train_epoch
from tests.made_rows import QUIET, outcomes_of

PADDED = ((1, 1), (1, 1))
WIDTHS, SIDES = [1, 3, 6, 13, 26], [16, 8, 4, 2]  # of the tiny net


def shaped(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


KERNEL = shaped(3, 3, 3, 5)


def net_of(name, size, channels=1, **options):
    """A net of shapes alone, and the shape of a batch."""
    model = models.build(name, 4, 10, **options)
    images = shaped(3, size, size, channels)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    return models.logits_fn(model, variables), images, model


def test_a_dense_layer():
    x, w, b = shaped(5, 7), shaped(7, 3), shaped(5, 3)
    found = operations(lambda x, w, b: x @ w + b, x, w, b)
    assert found == Operations(5 * 7 * 3, 5 * 3, 5 * 3 * 4)
    assert found.flops == 2 * 105 + 15


@pytest.mark.parametrize("lowering", ["conv", "patches"])
@pytest.mark.parametrize("strides", [1, 2])
def test_a_convolution_and_its_gradients(lowering, strides):
    """Zeros of padding count; each gradient has as many products."""
    images, kernel = shaped(2, 8, 6, 5), shaped(3, 3, 5, 7)

    def convolve(images, kernel):
        pair = strides, strides
        return convolution.convolve(images, kernel, pair, PADDED, lowering)

    def both_ways(images, kernel):
        outputs, back = jax.vjp(convolve, images, kernel)
        return outputs, back(outputs)

    places = 2 * (8 // strides) * (6 // strides)
    found = operations(convolve, images, kernel)
    assert found == Operations(3 * 3 * 5 * 7 * places, 0, 4 * 7 * places)
    assert operations(jax.jit(convolve), images, kernel) == found
    dilated = strides**2 if lowering == "conv" else 1  # zeros between the outputs
    both = operations(both_ways, images, kernel).products
    assert both == (2 + dilated) * found.products


def test_groups_of_channels_and_winograd_have_fewer_products():
    def grouped(images, kernel):
        order = ("NHWC", "HWIO", "NHWC")
        options = {"dimension_numbers": order, "feature_group_count": 4}
        return lax.conv_general_dilated(images, kernel, (1, 1), "VALID", **options)

    found = operations(grouped, shaped(1, 6, 6, 8), shaped(3, 3, 2, 12))
    assert found.products == 9 * 2 * 12 * 16

    def convolve(lowering, images, kernel):
        return convolution.convolve(images, kernel, (1, 1), PADDED, lowering)

    plain, fewer = (
        operations(functools.partial(convolve, name), shaped(1, 8, 8, 3), KERNEL)
        for name in ("conv", "winograd")
    )
    assert fewer.products * 36 == plain.products * 16
    assert fewer.others > 0 == plain.others


def test_loops_choices_and_calls():
    x, w = shaped(4, 4), shaped(4, 4)
    once = operations(lambda x, w: jnp.sin(x @ w), x, w)
    assert once == Operations(64, 16, 64)

    def scanned(x, w):
        return lax.scan(lambda x, _: (jnp.sin(x @ w), None), x, None, length=5)[0]

    def looped(x, w):
        return lax.fori_loop(0, 5, lambda _, x: jax.jit(jnp.sin)(x @ w), x)

    def chosen(x, w):
        return lax.cond(x[0, 0] > 0, lambda: scanned(x, w), lambda: x + 1)

    for function in (scanned, looped, chosen, jax.checkpoint(scanned)):
        assert operations(function, x, w) == Operations(*(5 * n for n in once))
    mapped = operations(lambda xs, w: lax.map(lambda x: x @ w, xs), shaped(3, 4, 4), w)
    assert mapped.products == 3 * 64

    def until(x, w):
        return lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ w, x)

    with pytest.raises(ValueError, match="known only when it runs"):
        operations(until, x, w)
    counting = lax.while_loop(lambda n: n < 5, lambda n: n + 1, 0)
    assert operations(lambda x: x + counting, x).flops == 16


def pooled(x):
    return linen.max_pool(x[None, ..., None], (2, 2), (2, 2))


@pytest.mark.parametrize(
    ("function", "others"),
    [
        (lambda x: x.sum(), 23),
        (lambda x: x.max(axis=1), 20),
        (lambda x: jnp.tanh(x) * x + 1, 3 * 24),
        (lambda x: jnp.where(x > 0, x, 0).T[::-1].reshape(-1), 0),
        (lambda x: jnp.pad(x, 2)[jnp.array([2, 0])], 0),
        (lambda x: x.astype(int) * 2 + x.argmax(), 0),
        (lambda x: jnp.zeros(5).at[jnp.array([0, 0, 1])].add(x[0, :3]), 3),
        (lambda x: pooled(x), 6 * 3),
        (lambda x: jax.vjp(pooled, x)[1](jnp.ones((1, 2, 3, 1))), 6 * 3 + 6),
        (lambda x: linen.relu(x), 24),
    ],
)
def test_what_is_no_product(function, others):
    assert operations(function, shaped(4, 6)) == Operations(0, others, 0)


def test_the_count_is_xlas_where_nothing_is_padded():
    def net(images, kernel, dense):
        x = images * 2 - 1
        x = jnp.maximum(convolution.convolve(x, kernel, lowering="conv"), 0)
        return jnp.sum(x, axis=(1, 2)) @ dense / 3

    arguments = shaped(2, 6, 6, 3), shaped(3, 3, 3, 8), shaped(8, 10)
    analysis = jax.jit(net).lower(*arguments).cost_analysis()
    assert operations(net, *arguments).flops == analysis["flops"]


def test_a_net_in_closed_form():
    logits_fn, images, _ = net_of("baseline", 16, lowering="conv")
    layers = [(16, 1, 32), (8, 32, 64), (4, 64, 128), (2, 128, 256)]
    products = sum(9 * n * n * c * d for n, c, d in layers) + 256 * 10
    outputs = sum(n * n * d for n, _, d in layers) + 10
    found = cost(logits_fn, images)
    assert found.forward.products == products
    assert found.forward.product_bytes == 4 * outputs
    norms = 6 * (outputs - 10)  # a convolution's result: norm of 4 and relu, 2 at most
    assert 0 < found.forward.others < norms
    assert cost(net_of("baseline", 16, lowering="patches")[0], images)[:2] == found[:2]


@pytest.mark.parametrize("name", ["parallel_rs", "equivariant"])
def test_a_step_of_pgd_is_twice_a_forward_pass(name):
    logits_fn, images, _ = net_of(name, 16, width=0.25, lowering="conv")
    found = cost(logits_fn, images)
    assert found.attack_step.products == 2 * found.forward.products
    assert 0 < found.attack_step.others < 6 * found.forward.others


@pytest.mark.parametrize("name", models.MODELS)
def test_free_parameters_are_those_that_are_trained(name):
    logits_fn, images, model = net_of(name, 16, width=0.25)
    found = parameters(logits_fn, images)
    assert found is not None
    assert found.free == models.parameter_count(model, (16, 16, 1))
    assert (found.expanded > found.free) == (name != "baseline")


def in_out(layer, *shape):
    images = shaped(*shape)
    variables = jax.eval_shape(layer.init, jax.random.key(0), images)
    return parameters(Partial(layer.apply, variables), images)


@pytest.mark.parametrize("group", [C2, C4], ids=str)
def test_parameters_of_rotation_layers(group):
    g, lift = group.order, 9 * 3 * 5 + 5
    lifted = in_out(nn.LiftingConv(5, group=group), 1, 8, 8, 3)
    assert lifted == (lift, g * lift)
    found = in_out(nn.GroupConv(5, group=group), 1, 8, 8, g, 3)
    assert found == (g * 9 * 3 * 5 + 5, g**2 * 9 * 3 * 5 + g * 5)
    norm = linen.BatchNorm(use_running_average=True)
    assert in_out(norm, 1, 8, 8, g, 5) == (2 * 5, g * 2 * 5)
    assert in_out(norm, 1, 8, 8, 5) == (2 * 5, 2 * 5)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("channels", [3, 9])
def test_parameters_of_scale_layers(shared, channels):
    layer = nn.ScaleConv(5, shared=shared, aggregate="weighted")
    each = 9 * channels * 5 + 5
    free = (each if shared else 3 * each) + 3
    assert in_out(layer, 1, 8, 8, channels) == (free, 3 * each + 3)


def test_parameters_of_an_equivariant_net():
    logits_fn, images, _ = net_of("equivariant", 16, width=0.5)
    found = parameters(logits_fn, images)
    widths = 8, 16, 32, 64
    kernels = [9 * c * d for c, d in itertools.pairwise(widths)]
    head, norms = 64 * 10 + 10, 2 * sum(widths)
    assert found == (
        9 * 8 + 4 * sum(kernels) + norms + head,
        4 * 9 * 8 + 16 * sum(kernels) + 4 * norms + head,
    )
    assert parameters(lambda x: x.reshape(len(x), -1), images) is None


def products_of_layers():
    """Products of the convolutions of the tiny net, for one image."""
    pairs = zip(SIDES, itertools.pairwise(WIDTHS), strict=True)
    return [9 * n * n * c * d for n, (c, d) in pairs]


@pytest.mark.parametrize("mode", ["clean", "pgd"])
def test_products_of_a_training_step(run, mode):
    """Each layer three times, but for the first, whose images need no gradient."""
    experiment = run.experiment
    make_batch = adversarial.batch_maker(mode, eps=0.1, steps=2, step_size=0.1)
    model = experiment.model.clone(lowering="conv")
    recipe = dataclasses.replace(experiment.recipe, model=model, make_batch=make_batch)
    size, state = recipe.batch_size, experiment.state_shapes()
    state = jax.tree.map(lambda x: shaped(*x.shape[1:], dtype=x.dtype), state)
    split = shaped(size, 16, 16, 1, dtype=jnp.uint8), shaped(size, dtype=jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = functools.partial(train_epoch, recipe)
    found = operations(step, state, key, 0, *split)
    first, *rest = products_of_layers()
    rest = sum(rest) + 26 * 10
    attack = (2 * 2 + 1) * (first + rest) if mode == "pgd" else 0
    assert found.products == size * (2 * first + 3 * rest + attack)


def test_throughput_is_of_the_median_call(monkeypatch):
    clock = iter([0, 9, 10, 12, 20, 21, 30, 37.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    calls = []
    assert throughput(lambda: calls.append(1), items=8, repeats=3) == 8 / 2
    assert len(calls) == 4
    for wrong in ({"items": 0}, {"items": 1, "repeats": 0}):
        with pytest.raises(ValueError, match="expected 1 or more"):
            throughput(lambda: None, **wrong)


def rows_of(run, folder, chosen, n):
    return base.measure(run, evaluation.Results(folder), chosen, n, QUIET)


@pytest.mark.slow
def test_rows_of_cost(run, tmp_path, monkeypatch):
    for name, few in (("BATCH", 8), ("ATTACK_STEPS", 2), ("REPEATS", 1)):
        monkeypatch.setattr(cost_rows, name, few)
    rows = rows_of(run, tmp_path, cost_rows.build(), 5)
    products = sum(products_of_layers()) + 260
    outputs = sum(n * n * d for n, d in zip(SIDES, WIDTHS[1:], strict=True)) + 10
    for row in rows:
        assert row["value"] == products
        assert row["parameters"] == row["expanded_parameters"]
        assert 2 * products < row["flops_forward"] < row["flops_attack_step"]
        assert row["flops_training_step"] > 4 * products
        assert row["activation_bytes"] == 4 * outputs
        for what in ("forward", "attack_step", "training"):
            assert row[f"images_per_second_{what}"] > 0


@pytest.mark.slow
def test_rows_of_gap_and_steepness(run, tmp_path, monkeypatch):
    monkeypatch.setattr(generalization, "BATCH", 40)
    n = 12
    chosen = generalization.build(train_images=100, radius=0.1, steps=2)
    rows = rows_of(run, tmp_path, chosen, n)
    names = ["generalization_gap", "generalization_gap", "lipschitz", "lipschitz"]
    assert [row["metric"] for row in rows] == names
    train, test = run.experiment.dataset.train, run.experiment.dataset.test
    both = np.concatenate([train.images[:100], test.images[:n]]) / np.float32(255)
    images, labels = both[100:], test.labels[:n]
    nets = [of_seed(run.logits_fns, index) for index in range(2)]
    for row, net in zip(rows[:2], nets, strict=True):
        classes = np.argmax(evaluate(net, both), axis=1)
        seen = (classes[:100] == train.labels[:100]).mean()
        unseen = (classes[100:] == labels).mean()
        assert row["train_accuracy"] == pytest.approx(seen)
        assert row["test_accuracy"] == pytest.approx(unseen)
        assert row["value"] == pytest.approx(seen - unseen) and row["train_n"] == 100
        assert row["low"] < row["value"] < row["high"]
        cell = outcomes_of(tmp_path, row)
        assert (len(cell["correct"]), len(cell["train_correct"])) == (n, 100)
    for row, net, key in zip(rows[2:], nets, run.experiment.keys, strict=True):
        keys = keys_of_images(purpose_key(key, KeyPurpose.METRIC), n)
        threat = L2(np.float32(0.1))
        found = lipschitz.steepest(net, images, labels, keys, threat, 2)
        cell = outcomes_of(tmp_path, row)
        np.testing.assert_allclose(cell["constant"], found.constant, rtol=1e-4)
        assert (cell["constant"] >= cell["centre"]).all()
        assert row["value"] == pytest.approx(cell["constant"].mean())
        ratio = (cell["constant"] / cell["centre"]).mean()
        assert row["ratio"] == pytest.approx(ratio) and ratio > 1
        assert row["low"] < row["value"] < row["high"] and row["undefined"] == 0
