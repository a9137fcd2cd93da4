"""CLEVER: ART's score from ART's samples, closed forms, distances that were found."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from benchmarks.clever_reference import ORDERS, STARTS, TARGETS
from symjax import metrics
from symjax.attacks import NORMS
from tests import linear_models
from tests.paths import DATA

KEY = jax.random.key(0)
STORED = dict(np.load(DATA / "clever_art.npz"))
FEW = {"batches": 6, "samples": 8}


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Nothing here is fast or slow: programs only have to be right."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def convolutions(first, second, dense, images):
    def convolve(x, kernel, stride):
        strides, padding = (stride, stride), [(1, 1), (1, 1)]
        order = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=order
        )
        return jax.nn.softplus(x)

    x = convolve(convolve(images, first, 1), second, 2)
    return x.reshape(len(x), -1) @ dense


SMOOTH = Partial(
    convolutions, *(STORED[name] for name in ("conv_0", "conv_1", "dense"))
)


call = jax.jit(lambda net, images: net(images))
gradient_norms = jax.jit(metrics.gradient_norms, static_argnums=3)


def logits_of(net, images):
    return np.asarray(call(net, images))


def dense(activation, weights, images):
    """Two layers on two pixels, three classes."""
    x = images.reshape(len(images), -1)
    hidden = activation((x - 0.5) @ weights["in"] + weights["bias"])
    return hidden @ weights["out"]


def dense_weights(seed, width=12):
    rng = np.random.default_rng(seed)
    shapes = {"in": (2, width), "bias": (1, width), "out": (width, 3)}
    scales = {"in": 4.0, "bias": 1.0, "out": 1.0}
    return {
        name: (scales[name] * rng.normal(size=shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def lengths(delta, norm):
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    return np.linalg.norm(delta.reshape(len(delta), -1), order, axis=1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("norm", ORDERS)
def test_arts_samples_and_arts_fit_give_arts_score(norm, target):
    logits = logits_of(SMOOTH, STORED["image"][None])[0]
    label = int(logits.argmax())
    points, batches, scores = (
        STORED[f"{name}_{norm}_{target}"] for name in ("points", "batches", "scores")
    )
    norms = np.asarray(gradient_norms(SMOOTH, points, label, norm))
    margins = np.where(np.arange(5) == label, np.inf, logits[label] - logits)
    found = metrics.Maxima(margins, norms[batches].max(axis=1), np.zeros(5))
    radius = ORDERS[norm][1]
    ours = metrics.clever_from_maxima(found, radius)
    for start, theirs in zip(STARTS, scores, strict=True):
        fitted = metrics.clever_from_maxima(found, radius, start)
        assert fitted.scores[target] == pytest.approx(theirs, rel=1e-5)
        assert 0 < theirs < radius
    if ours.fit.shape[target] > 1:  # ART's own start stops short of it
        assert ours.scores[target] == pytest.approx(scores[1], rel=1e-3)
        assert ours.scores[target] < scores[0]


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_the_score_of_a_linear_net_is_the_distance(norm, clip):
    logits_fn, images, labels = linear_models.problem(classes=4)
    distance = linear_models.boundary_distance(logits_fn, images, labels, norm)
    radius = float(np.median(distance[distance > 0]))
    found = metrics.clever_images(
        logits_fn, images, KEY, norm, radius, labels, clip=clip, **FEW
    )
    expected = np.minimum(distance, radius)
    np.testing.assert_allclose(found.score, expected, rtol=2e-5, atol=1e-6)
    inside = (found.score > 0) & (found.score < radius)
    assert inside.sum() >= 3 and (found.score == radius).sum() >= 3
    assert (found.score == 0).any()
    others = np.isfinite(found.margins)
    np.testing.assert_array_equal(found.fit.distinct, 1)
    np.testing.assert_array_equal(found.errors[others], 0)
    assert not found.masked.any() and not found.vanished.any()


@pytest.mark.parametrize(
    ("activation", "norm"),
    [(jax.nn.relu, "l1"), (jax.nn.relu, "l2"), (jax.nn.relu, "linf"), (jnp.tanh, "l2")],
)
@pytest.mark.slow
def test_never_above_an_exhaustive_search(activation, norm):
    """Of a grid on all images of two pixels, as points of error."""
    axis = np.linspace(0, 1, 301, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2, 1)
    images = np.random.default_rng(0).random((4, 1, 2, 1), np.float32)
    shares = []
    for seed in range(3):
        net = Partial(Partial(dense, activation), dense_weights(seed))
        found = metrics.clever_images(
            net, images, KEY, norm, 1.0, batches=50, samples=128, chunk=1600
        )
        labels, classes = (logits_of(net, x).argmax(axis=1) for x in (images, grid))
        for index, label in enumerate(labels):
            wrong = lengths(grid[classes != label] - images[index], norm)
            distance = wrong.min(initial=np.inf)
            nearest = found.scores[index].argmin()
            error = np.nan_to_num(found.errors[index, nearest], posinf=0)
            assert found.score[index] <= distance + 2 * error
            shares.append(found.score[index] / distance)
    assert np.median(shares) > 0.2


def centred(p, half, images):
    """Half of the square of the distance to the middle, and of its first coordinate.

    The first one's gradient has as dual norm the distance; the second, |delta_1|.
    """
    delta = images.reshape(len(images), -1) - half
    order = {"l1": 1, "l2": 2, "linf": np.inf}[p]
    distance = jnp.linalg.norm(delta, order, axis=1)
    return jnp.stack([0 * distance, distance**2 / 2, delta[:, 0] ** 2 / 2], axis=1)


@pytest.mark.parametrize("norm", NORMS)
def test_samples_are_uniform_in_the_ball(norm):
    """Closed forms in four dimensions; Kolmogorov-Smirnov, 1 % in all six tests."""
    image, radius, count = np.full((2, 2, 1), 0.5, np.float32), 0.7, 4000
    found = metrics.gradient_maxima(
        Partial(Partial(centred, norm), 0.5), image, KEY, norm, radius, label=0,
        batches=count, samples=1, chunk=48, clip=False,
    )  # fmt: skip
    far, first = found.maxima[:, 1] / radius, found.maxima[:, 2] / radius
    assert far.max() <= 1 + 1e-6
    assert stats.kstest(far**4, "uniform").pvalue > 0.01 / 6
    marginal = {
        "l1": lambda x: 1 - (1 - x) ** 4,
        "l2": lambda x: stats.beta(0.5, 2.5).cdf(x**2),
        "linf": lambda x: x,
    }[norm]
    assert stats.kstest(marginal(first), "uniform").pvalue > 0.01 / 6


def test_samples_are_clipped_to_valid_pixels_by_choice():
    image, net = np.full((2, 2, 1), 0.9, np.float32), Partial(Partial(centred, "linf"))
    free, clipped = (
        metrics.gradient_maxima(
            Partial(net, 0.9), image, KEY, "linf", 0.5, 0, 48, 1, clip
        )
        for clip in (False, True)
    )
    outside = free.maxima[:, 2] != clipped.maxima[:, 2]
    assert outside.any() and not outside.all()
    np.testing.assert_allclose(clipped.maxima[outside, 2], 0.1, rtol=1e-5)


def sampled(**changes):
    settings = {"norm": "l2", "radius": 1.0, **FEW, "chunk": 48, "key": KEY} | changes
    return metrics.gradient_maxima(SMOOTH, STORED["image"], **settings)


def test_a_sample_depends_on_the_key_its_batch_and_its_number_alone():
    one = sampled()
    chex.assert_trees_all_equal(one, sampled())
    others = np.isfinite(one.margins)
    other = sampled(key=jax.random.key(1))
    assert (one.maxima != other.maxima)[:, others].all()
    for chunk in (7, None):
        other = sampled(chunk=chunk)
        np.testing.assert_allclose(other.maxima, one.maxima, rtol=1e-5)
        np.testing.assert_array_equal(other.vanished, one.vanished)
    np.testing.assert_array_equal(sampled(batches=9).maxima[:6], one.maxima)
    assert (sampled(samples=16).maxima >= one.maxima).all()


def test_untargeted_top_2_and_least_likely_are_among_the_scores():
    found = metrics.clever(SMOOTH, STORED["image"], KEY, radius=5.0, **FEW)
    order = np.argsort(logits_of(SMOOTH, STORED["image"][None])[0])
    assert found.scores[order[-1]] == np.inf
    others = found.scores[order[:-1]]
    assert found.score == others.min() and np.ptp(others) > 0
    assert found.top_2 == others[-1]
    assert found.least_likely == others[0]


def test_other_labels_than_the_prediction_score_0():
    logits = logits_of(SMOOTH, STORED["image"][None])[0]
    label = int(logits.argmin())
    found = metrics.clever(SMOOTH, STORED["image"], KEY, label=label, **FEW)
    np.testing.assert_array_equal(np.delete(found.scores, label), 0)
    assert found.score == 0 and not found.capped.any()


def steps(weights, images):
    """Logits (1, 0, 0); a gradient that is `weights` of the last class alone."""
    total = jnp.sum(images, axis=(1, 2, 3)) * weights
    return jnp.stack(
        [1 + 0 * total, jnp.round(total), total - total.mean() / 2], axis=1
    )


def test_no_gradient_is_masked_and_a_small_one_is_capped():
    image = np.full((2, 2, 1), 0.1, np.float32)
    found = metrics.clever(Partial(steps, 1e-3), image, KEY, radius=0.5, **FEW)
    np.testing.assert_array_equal(found.capped, [False, True, True])
    np.testing.assert_array_equal(found.masked, [False, True, False])
    np.testing.assert_array_equal(found.vanished, [0, 1, 0])
    assert found.score == 0.5 and found.score_masked
    tiny = metrics.clever(Partial(steps, 1e-9), image, KEY, radius=0.5, **FEW)
    np.testing.assert_array_equal(tiny.masked, [False, True, True])
    linear, images, _ = linear_models.problem()
    small = Partial(linear_models.linear, linear.args[0] * 1e-3, linear.args[1])
    found = metrics.clever(small, images[0], KEY, radius=0.5, **FEW)
    assert found.score == 0.5 and not found.score_masked


def test_what_is_not_finite_is_told():
    def logarithm(images):
        total = jnp.sum(images, axis=(1, 2, 3))
        return jnp.stack([jnp.log(total - 1.0), total], axis=1)

    image = np.full((2, 2, 1), 0.4, np.float32)
    assert np.isfinite(logarithm(image[None])).all()
    assert metrics.clever(logarithm, image, KEY, radius=0.1, **FEW).score > 0
    with pytest.raises(FloatingPointError, match="not finite"):
        metrics.clever(logarithm, image, KEY, radius=2.0, **FEW)
    with pytest.raises(ValueError, match="image 0 are NaN or infinite"):
        metrics.clever(logarithm, 0 * image, KEY, radius=0.1, **FEW)


def curved(images):
    x = images.reshape(len(images), -1)
    return jnp.stack([jnp.tanh(x[:, 0]), x[:, 1] - x[:, 0] ** 2], axis=1)


def test_a_killed_evaluation_goes_on_where_it_was(tmp_path):
    images = np.random.default_rng(0).random((3, *STORED["image"].shape), np.float32)
    asked = SMOOTH, images, KEY, "l2", 1.0
    whole = metrics.clever_images(*asked, chunk=48, **FEW)
    one = metrics.clever(
        SMOOTH, images[1], jax.random.fold_in(KEY, 1), "l2", 1.0, chunk=48, **FEW
    )
    np.testing.assert_array_equal(whole.scores[1], one.scores)

    def stop(done, total):
        assert total == 3 * 6 * 8
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        metrics.clever_images(*asked, folder=tmp_path, report=stop, chunk=48, **FEW)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    told = []
    again = metrics.clever_images(
        *asked, folder=tmp_path, report=lambda *now: told.append(now), chunk=48, **FEW
    )
    chex.assert_trees_all_equal(again, whole)
    assert told == [(96, 144), (144, 144)]
    chex.assert_trees_all_equal(
        metrics.clever_images(*asked, folder=tmp_path, chunk=1, **FEW), whole
    )
    with pytest.raises(ValueError, match="another call"):
        metrics.clever_images(SMOOTH, images, KEY, "l2", 0.5, folder=tmp_path, **FEW)


def test_other_weights_another_radius_and_another_image_compile_nothing(caplog):
    net = functools.partial(dense, jnp.tanh)
    images = np.random.default_rng(0).random((2, 1, 2, 1), np.float32)
    metrics.clever(Partial(net, dense_weights(0)), images[0], KEY, radius=0.5, **FEW)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        for seed in (1, 2):
            net_of_seed = Partial(net, dense_weights(seed))
            metrics.clever(net_of_seed, images[1], KEY, radius=0.3, **FEW)
    assert "Finished XLA compilation" not in caplog.text


IMAGE = np.full((2, 2, 1), 0.5, np.float32)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"norm": "l3"}, "norm 'l3'"),
        ({"radius": 0.0}, "radius=0.0"),
        ({"radius": np.inf}, "radius=inf"),
        ({"batches": 0}, "batches=0"),
        ({"samples": 0}, "samples=0"),
        ({"chunk": -1}, "chunk=-1"),
        ({"label": 2}, "labels from 2"),
        ({"label": -1}, "label=-1"),
        ({"key": jax.random.split(KEY)}, "expected one key"),
        ({"image": IMAGE[0]}, r"array \[H, W, C\]"),
        ({"image": IMAGE * 255}, "leave the bounds"),
        ({"image": IMAGE.astype(np.uint8)}, "dtype uint8"),
        ({"logits_fn": lambda images: images[:, 0, 0, 0]}, "two classes"),
    ],
)
def test_refuses(changes, match):
    asked = {"logits_fn": curved, "image": IMAGE, "key": KEY} | FEW | changes
    with pytest.raises(ValueError, match=match):
        metrics.clever(**asked)


def test_refuses_images_and_labels_that_do_not_match():
    with pytest.raises(ValueError, match=r"\[B, H, W, C\]"):
        metrics.clever_images(curved, IMAGE, KEY)
    with pytest.raises(ValueError, match="labels: a list"):
        metrics.clever_images(curved, IMAGE[None], KEY, labels=[0, 1])
