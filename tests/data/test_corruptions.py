"""The corruptions are the published ones; a key fixes them; nothing else matters."""

import importlib.util

import jax
import numpy as np
import pytest

from benchmarks import corruption_draws
from symjax import data
from symjax.data import corruptions
from symjax.data.corruptions import corruption, weather
from symjax.data.corruptions.blur import streaked
from tests import paths
from tests.paths import DATA

STORED = np.load(DATA / "corruptions.npz")
OF_CIFAR10 = np.load(DATA / "corruptions_cifar10.npz")
IMAGES = STORED["images"]
KEY = jax.random.key(5)
DRAWS = 48  # of each of eight images
MOST_ERRORS = 4.5  # standard errors: passed by one in 150,000, of 440 figures
NEIGHBOURS = {(one, other) for one in range(5) for other in (one - 1, one + 1)}
ALIKE = {(2, 3), (3, 2)}  # of motion blur: lines of 13 and 17 pixels, deviation 2
UNEQUAL_PIXELS = {"saturate": 0.05, "elastic_transform": 0.02}  # others: one in 100

frost_is_there = pytest.mark.skipif(
    not weather.frost_is_available(), reason="the extra `frost` is not installed"
)


def parameters(names):
    return [
        pytest.param(name, marks=frost_is_there) if name == "frost" else name
        for name in names
    ]


def test_the_names_are_the_published_ones():
    assert len(corruptions.BENCHMARK) == 15 and len(corruptions.EXTRA) == 4
    assert set(corruptions.NAMES) == {
        *corruption_draws.DETERMINISTIC,
        *corruption_draws.RANDOM,
    }
    assert set(corruptions.NAMES) == set(corruptions.CORRUPTIONS)
    assert all(len(one.constants) == 5 for one in corruptions.CORRUPTIONS.values())
    drawing = {name for name, one in corruptions.CORRUPTIONS.items() if one.draw}
    assert drawing == set(corruption_draws.RANDOM)


@pytest.mark.parametrize("name", parameters(corruptions.NAMES))
def test_with_the_same_draws_images_are_the_published_ones(name):
    ours, published = corruptions.CORRUPTIONS[name], STORED[f"outputs/{name}"]
    images = IMAGES[: published.shape[1]]
    for severity, expected in enumerate(published, 1):
        draws = corruption_draws.drawn(name, images)
        constants = ours.constants[severity - 1]
        found = corruption.to_gray_levels(ours.effect(images, draws, *constants))
        difference = np.abs(found.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() <= UNEQUAL_PIXELS.get(name, 0.01)


@pytest.fixture(scope="module")
def cifar10():
    """The 200 images of CIFAR-10's test split that the stored digests are of."""
    images = data.load("cifar10", data_dir=paths.cifar10()).test.images
    where = {
        tuple(one): index for index, one in enumerate(corruption_draws.digests(images))
    }
    return images[[where[tuple(one)] for one in OF_CIFAR10["images"]]]


@pytest.mark.parametrize("name", corruption_draws.DETERMINISTIC)
def test_of_cifar10_images_they_are_the_published_ones(name, cifar10):
    assert len(cifar10) == 200
    for severity, expected in enumerate(OF_CIFAR10[name], 1):
        found = corruption_draws.digests(
            corruptions.corrupt(cifar10, name, severity, KEY)
        )
        apart = np.abs(found[:, 1].astype(int) - expected[:, 1].astype(int))
        assert apart.max() <= UNEQUAL_PIXELS.get(name, 0.01) * cifar10[0].size
        if name not in ("brightness", "saturate", "jpeg_compression"):
            assert (found == expected).all(axis=1).mean() > 0.95  # pixel by pixel


def own_statistics(name):
    """Mean and standard error, `[5, 2, F]`, as stored."""
    many = np.concatenate([IMAGES] * DRAWS)
    rows = []
    for severity in corruptions.SEVERITIES:
        outputs = corruptions.corrupt(many, name, severity, KEY)
        outputs = outputs.reshape(DRAWS, *IMAGES.shape)
        values = corruption_draws.statistics(outputs, IMAGES)
        rows.append(corruption_draws.mean_and_error(values))
    return np.array(rows)


def errors_apart(one, other):
    """How many standard errors of their difference lie between figures, `[F]`."""
    (mean, error), (other_mean, other_error) = one, other
    apart = np.abs(mean - other_mean)
    return apart / np.maximum(np.hypot(error, other_error), 1e-6)


@pytest.mark.parametrize("name", parameters(corruption_draws.RANDOM))
def test_random_outputs_have_the_published_statistics(name):
    own, published = own_statistics(name), STORED[f"statistics/{name}"]
    for found, expected in zip(own, published, strict=True):
        assert errors_apart(found, expected).max() < MOST_ERRORS
    # The statistics distinguish a severity from the next one.
    for one, other in NEIGHBOURS - (ALIKE if name == "motion_blur" else set()):
        if 0 <= other < 5:
            assert errors_apart(own[one], published[other]).max() > 1.5 * MOST_ERRORS


@pytest.mark.parametrize("name", parameters(corruptions.NAMES))
def test_an_image_depends_on_its_own_key_alone(name):
    images = np.concatenate([IMAGES[:3]] * 2)
    found = corruptions.corrupt(images, name, 3, KEY)
    assert found.shape == images.shape and found.dtype == np.uint8
    np.testing.assert_array_equal(found, corruptions.corrupt(images, name, 3, KEY))
    np.testing.assert_array_equal(
        found[:2], corruptions.corrupt(images[:2], name, 3, KEY)
    )
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, np.arange(6))
    np.testing.assert_array_equal(
        found[4:], corruptions.corrupt(images[4:], name, 3, keys[4:])
    )
    is_random = corruptions.CORRUPTIONS[name].draw is not None
    assert (found[:3] != found[3:]).any() == is_random
    other = corruptions.corrupt(images, name, 3, jax.random.key(6))
    assert (found != other).any() == is_random


def test_parts_do_not_matter(monkeypatch):
    whole = corruptions.corrupt(IMAGES, "snow", 2, KEY)
    monkeypatch.setattr(corruption, "MAX_IMAGES", 3)
    np.testing.assert_array_equal(whole, corruptions.corrupt(IMAGES, "snow", 2, KEY))


@pytest.mark.parametrize("name", parameters(corruptions.NAMES))
def test_other_sizes_and_no_images(name):
    images = np.resize(IMAGES, (2, 9, 40, 3))
    found = corruptions.corrupt(images, name, 5, KEY)
    assert found.shape == images.shape and (found != images).any()
    none = corruptions.corrupt(IMAGES[:0], name, 1, KEY)
    assert none.shape == (0, *IMAGES.shape[1:]) and none.dtype == np.uint8


@pytest.mark.parametrize("name", parameters(corruptions.NAMES))
def test_flat_images_are_no_exception(name):
    values = np.array([0, 0, 128, 128, 255, 255])[:, None, None, None]
    flat = np.broadcast_to(values, (6, 32, 32, 3)).astype(np.uint8)
    found = corruptions.corrupt(flat, name, 4, KEY)
    if name.endswith("blur") or name in ("contrast", "pixelate", "elastic_transform"):
        assert np.abs(found.astype(int) - flat).max() <= 1
    if name in ("shot_noise", "speckle_noise", "fog"):
        np.testing.assert_array_equal(found[:2], 0)  # they multiply, or keep the range


def test_black_turns_grey_and_grey_turns_red():
    black, grey = (np.full((1, 2, 2, 3), value, np.uint8) for value in (0, 100))
    bright = corruptions.corrupt(black, "brightness", 5, KEY)
    np.testing.assert_array_equal(bright, int(0.3 * 255))
    red = corruptions.corrupt(grey, "saturate", 5, KEY)
    np.testing.assert_array_equal(red[0, 0, 0], [100, 80, 80])


@pytest.mark.parametrize("angle,row,column", [(0, 0, -1), (90, -1, 0), (-90, 1, 0)])
def test_streaks_go_where_the_angle_says(angle, row, column):
    image = np.zeros((1, 11, 11, 1), np.uint8)
    image[0, 5, 5] = 255
    (found,) = streaked(image, np.array([angle]), 2, 1.0)[..., 0]
    weights = np.exp(-(np.arange(5) ** 2) / 2)
    for step, weight in enumerate(weights / weights.sum()):
        lit = found[5 + row * step, 5 + column * step]
        assert 0 <= 255 * weight - lit < 1
    assert np.count_nonzero(found) == 4  # the fifth weighs less than a grey level


def test_frost_says_how_to_get_its_photographs(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    weather._photographs.cache_clear()
    assert corruptions.available() == tuple(
        name for name in corruptions.NAMES if name != "frost"
    )
    with pytest.raises(ModuleNotFoundError, match=r"symjax\[frost\]"):
        corruptions.corrupt(IMAGES[:1], "frost", 1, KEY)


@pytest.mark.parametrize(
    "changes,error,message",
    [
        ({"name": "rain"}, ValueError, "'rain': expected one of gaussian_noise"),
        ({"severity": 0}, ValueError, "severity=0: expected 1"),
        ({"severity": 6}, ValueError, "severity=6: expected 1"),
        ({"severity": 2.0}, ValueError, "severity=2.0: expected 1"),
        ({"severity": True}, ValueError, "severity=True: expected 1"),
        ({"name": "fogg"}, ValueError, "did you mean 'fog'"),
        ({"images": IMAGES[:, :0]}, ValueError, "at least one pixel"),
        ({"key": 0}, ValueError, "key=0: expected a random key"),
        ({"images": IMAGES / 255}, TypeError, r"float64, expected uint8.*np\.round"),
        ({"images": IMAGES[0]}, ValueError, r"\[32, 32, 3\], expected \[B, H, W, 3\]"),
        ({"images": IMAGES[..., :1]}, ValueError, r"np\.repeat"),
        ({"key": jax.random.split(KEY, 3)}, ValueError, r"expected one key, or \[8\]"),
    ],
)
def test_errors_name_the_value_and_the_way_out(changes, error, message):
    arguments = {"images": IMAGES, "name": "fog", "severity": 1, "key": KEY}
    with pytest.raises(error, match=message):
        corruptions.corrupt(**(arguments | changes))
