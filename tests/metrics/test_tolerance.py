"""Tolerances of nets for which they are known, and what is promised of all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from linear_models import linear

from symjax.metrics.perturbations import Noise, Removal, Translation, Zoom
from symjax.metrics.tolerance import perturbed, published_removal, tolerance

KEY = jax.random.key(5)
SHAPE = 7, 4, 4, 2
LEVELS = np.arange(1, 11) / 200


def problem(seed=0):
    """A linear net of three classes, and grey images; every third label is wrong."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.4, 0.6, SHAPE).astype(np.float32)
    weights = rng.normal(size=(32, 3)).astype(np.float32)
    bias = (-0.5 * weights.sum(axis=0, keepdims=True)).astype(np.float32)
    net = Partial(linear, weights, bias)
    labels = np.asarray(net(images)).argmax(axis=1)
    labels[::3] = (labels[::3] + 1) % 3
    return net, images, labels


def key_of(image, draw):
    return jax.random.fold_in(jax.random.fold_in(KEY, image), draw)


def logits_of(net, images):
    weights, bias = (np.asarray(array, np.float64) for array in net.args)
    return np.asarray(images, np.float64).reshape(len(images), -1) @ weights + bias


def test_a_linear_net_tolerates_noise_up_to_its_margin():
    net, images, labels = problem()
    found = tolerance(net, images, labels, KEY, Noise(), LEVELS, draws=3)
    before = logits_of(net, images)
    rows = np.arange(len(images))
    clean = before.argmax(axis=1) == labels
    np.testing.assert_array_equal(found.clean, clean)
    assert 0 < clean.sum() < len(clean)
    for draw in range(3):
        patterns = np.stack(
            [jax.random.normal(key_of(i, draw), SHAPE[1:]) for i in rows]
        )
        after = logits_of(net, images + 1.0 * patterns)
        margins, slopes = (
            values[rows, labels][:, None] - values for values in (before, after)
        )
        slopes = slopes - margins  # by which the margins change a unit of noise
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = np.where(slopes < 0, margins / -slopes, np.inf).min(axis=1)
        steps = (LEVELS < crossing[:, None]).sum(axis=1)
        expected = np.where(clean, np.append(0.0, LEVELS)[steps], 0.0)
        np.testing.assert_array_equal(found.largest[:, draw], expected)
    assert len(np.unique(found.largest)) > 4


def one_pixel(images):
    """Whether the pixel in row 0 and column 5 is bright."""
    bright = images[:, 0, 5, 0]
    return jnp.stack([bright, jnp.full_like(bright, 0.5)], axis=1)


def test_levels_beyond_the_first_failure_do_not_count():
    images = np.zeros((1, 2, 6, 1), np.float32)
    images[0, 0, :, 0] = [0.9, 0.9, 0.9, 0.1, 0.9, 0.9]
    levels = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    found = tolerance(one_pixel, images, np.array([0]), KEY, Translation(), levels)
    held = [True, False, True, True, True, False]
    np.testing.assert_array_equal(found.correct[0, 0], held)
    np.testing.assert_array_equal(found.correct_so_far[0, 0], [True] + [False] * 5)
    np.testing.assert_array_equal(found.largest, [[1, 0, 0, 0]])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_ties_and_logits_that_are_not_finite_do_not_hold(value):
    images = np.full((2, 3, 3, 1), 0.5, np.float32)

    def broken(images):
        return jnp.stack([jnp.full(len(images), x) for x in (value, 0.5)], axis=1)

    found = tolerance(broken, images, np.zeros(2, int), KEY, Zoom(), [1.5])
    assert not found.clean.any() and not found.correct.any()
    np.testing.assert_array_equal(found.largest, 1.0)  # the factor that changes nothing
    found = published_removal(broken, images, np.zeros(2, int), KEY)
    np.testing.assert_allclose(found.largest, 0.05)


def test_nothing_depends_on_how_many_are_asked_about_at_a_time():
    net, images, labels = problem()
    call = Removal(), np.arange(1, 11) / 10, 2
    whole = tolerance(net, images, labels, KEY, *call)
    told = []
    by_threes = tolerance(
        net, images, labels, KEY, *call, chunk=3, report=lambda *now: told.append(now)
    )
    assert told == [(3, 7), (6, 7), (7, 7)]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, np.arange(7))
    halves = [
        tolerance(net, images[part], labels[part], keys[part], *call)
        for part in (slice(0, 4), slice(4, 7))
    ]
    np.testing.assert_array_equal(by_threes.correct, whole.correct)
    np.testing.assert_array_equal(
        np.concatenate([half.largest for half in halves]), whole.largest
    )


def test_other_weights_and_levels_compile_nothing():
    net, images, labels = problem()
    traces = []

    def counted(weights, bias, images):
        traces.append(1)
        return linear(weights, bias, images)

    one, other = (Partial(counted, *problem(seed)[0].args) for seed in (0, 1))
    tolerance(one, images, labels, KEY, Removal(), [0.1, 0.2], draws=2)
    before = len(traces)
    tolerance(other, images, labels, KEY, Removal(), [0.3, 0.4, 0.5], draws=3)
    assert len(traces) - before <= 1  # the number of classes is asked for again


@functools.partial(jax.jit, static_argnums=2)
def scores(image, draw, count):
    return jax.random.uniform(key_of(image, draw), (count,))


def published_loop(net, images, labels, mean, std):
    """What the published code does, with this library's random numbers."""
    found = []
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        share, draw = 0.10, 1
        while True:
            order = np.argsort(scores(index, draw, image.size))
            values = image.reshape(-1).copy()
            values[order[: round(share * image.size)]] = 0
            fed = mean + std * values.reshape(1, *image.shape)
            if logits_of(net, fed)[0].argmax() != label or share > 0.99:
                break
            share, draw = share + 0.05, draw + 1
        found.append(share - 0.05)
    return np.array(found)


def test_published_removal_is_the_published_loop():
    rng = np.random.default_rng(2)
    images = rng.uniform(0, 1, (16, 3, 4, 3)).astype(np.float32)
    weights = rng.normal(size=(36, 3)).astype(np.float32)
    mean, std = np.array([0.5, 0.4, 0.6]), np.array([0.5, 0.2, 0.3])
    bias = -np.tile(mean, 12)[None] @ weights  # nothing is left of an empty image
    net = Partial(linear, weights, bias.astype(np.float32))
    labels = logits_of(net, mean + std * images).argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    found = published_removal(net, images, labels, KEY, mean, std)
    expected = published_loop(net, images, labels, mean, std)
    np.testing.assert_allclose(found.largest[:, 0], expected, atol=1e-9)
    assert len(np.unique(found.largest)) > 4
    fed = logits_of(net, mean + std * images).argmax(axis=1) == labels
    np.testing.assert_array_equal(found.clean, fed)
    assert fed.sum() == len(fed) - 1


def test_the_published_tolerance_has_no_regard_for_the_image_itself():
    def empty(images):
        """Class 0 is: most values of what is fed are the mean, 0.5."""
        share = (abs(images - 0.5) < 1e-3).mean(axis=(1, 2, 3))
        return jnp.stack([share, jnp.full_like(share, 0.01)], axis=1)

    images = np.full((3, 4, 5, 1), 0.9, np.float32)
    found = published_removal(empty, images, np.array([0, 0, 1]), KEY)
    np.testing.assert_array_equal(found.clean, [False, False, True])
    np.testing.assert_allclose(found.largest[:, 0], [0.95, 0.95, 0.05])


def test_perturbed_images_are_those_that_were_asked_about():
    net, images, labels = problem()
    levels = np.arange(1, 11) / 10
    found = tolerance(net, images, labels, KEY, Removal(), levels, draws=2)
    for draw in range(2):
        last = perturbed(images, KEY, Removal(), draw, found.largest[:, draw])
        held = logits_of(net, last).argmax(axis=1) == labels
        np.testing.assert_array_equal(held, found.clean)
        beyond = perturbed(images, KEY, Removal(), draw, found.largest[:, draw] + 0.1)
        fails = logits_of(net, beyond).argmax(axis=1) != labels
        end = found.largest[:, draw] == levels[-1]
        np.testing.assert_array_equal(fails[found.clean & ~end], True)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"levels": []}, "expected .L., in ascending order"),
        ({"levels": [0.2, 0.1]}, "expected .L., in ascending order"),
        ({"levels": [0.0, 0.1]}, "all above 0.0"),
        ({"draws": 0}, "draws=0"),
        ({"chunk": 0}, "chunk=0"),
        ({"labels": np.zeros(3, int)}, "expected 7 integers"),
        ({"labels": np.full(7, 9)}, "labels from 9 to 9: the net has 3 classes"),
        ({"images": np.full(SHAPE, 2.0, np.float32)}, "leave the bounds"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    net, images, labels = problem()
    call = {"images": images, "labels": labels, "levels": LEVELS} | change
    with pytest.raises(ValueError, match=message):
        tolerance(net, key=KEY, perturbation=Removal(), **call)
