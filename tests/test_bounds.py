"""Proven distances against closed forms, bounds by hand, and errors that were found."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import linear_models
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax import models
from symjax.attacks import NORMS
from symjax.metrics import bounds, distance_bound
from symjax.metrics.linear import jitted
from symjax.metrics.program import evaluate
from symjax.metrics.propagation import Program
from symjax.nets import as_partial
from symjax.nn import largest, max_pool

norms = pytest.mark.parametrize("norm", NORMS)
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}
CLASSES = 5
EXACT = 40  # steps of the bisection


def predicted(logits_fn, images):
    return np.asarray(evaluate(as_partial(logits_fn), images)).argmax(axis=1)


@norms
def test_it_is_exact_on_linear_nets_and_zero_where_misclassified(norm):
    logits_fn, images, labels = linear_models.problem(classes=4)
    found = distance_bound(logits_fn, images, labels, norm, EXACT)
    wanted = linear_models.boundary_distance(logits_fn, images, labels, norm)
    assert (wanted == 0).any() and (wanted > 0.01).any()
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=0)
    assert (found <= wanted).all()


def test_pixels_stay_in_their_bounds():
    """The error lies beyond a valid pixel, but for a ball that is not cut."""
    weights = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    net = Partial(linear_models.linear, weights, jnp.array([[-0.3, 0.0]]))
    images = np.array([0.9, 0.1], np.float32).reshape(1, 1, 2, 1)
    for norm, wanted in {"linf": 0.6, "l1": 0.7}.items():  # x0 = 0.3, x1 = 0
        found = distance_bound(net, images, np.array([0]), norm, EXACT)[0]
        assert found == pytest.approx(wanted, rel=1e-6)


def bent(first, second, images):
    hidden = images.reshape(len(images), -1) @ first - 0.1
    return jax.nn.relu(hidden) @ second


def by_hand(first, second, image, label, eps, norm):
    """The least margin of `bent` by intervals, written for that net alone."""
    center = image.reshape(-1) @ first - 0.1
    reach = eps * np.linalg.norm(first, DUAL[norm], axis=0)
    low, high = np.maximum(center - reach, 0), np.maximum(center + reach, 0)
    rows = second[:, [label]] - second
    margins = np.where(rows > 0, rows * low[:, None], rows * high[:, None]).sum(axis=0)
    return np.delete(margins, label).min()


@norms
def test_a_net_of_two_layers_is_bounded_as_by_hand(norm):
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(12, 8)), rng.normal(size=(8, 3))
    weights = [np.asarray(x, np.float32) for x in (first, second)]
    first, second = (x.astype(np.float64) for x in weights)
    images = rng.uniform(0.4, 0.6, (6, 2, 3, 2)).astype(np.float32)
    net = Partial(bent, *weights)
    labels = predicted(net, images)
    found = distance_bound(net, images, labels, norm, EXACT)
    for image, label, bound in zip(images, labels, found, strict=True):
        hand = functools.partial(by_hand, first, second, np.float64(image), label)
        assert 0 < bound < 0.3 and hand(bound * (1 - 1e-8), norm) > 0
        assert hand(bound * (1 + 1e-7), norm) < 0


def highest(images):
    pooled = max_pool(images)
    high = largest(pooled.reshape(len(pooled), -1, 1), axis=1)
    return jnp.concatenate([high, jnp.full_like(high, 0.5)], axis=1)


def test_maxima_are_known_as_such():
    """Their distance in linf is that of the largest pixel: all must go down."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(8, 4, 4, 1)).astype(np.float32)
    images[::2] /= 3
    labels = predicted(highest, images)
    wanted = np.abs(images.max(axis=(1, 2, 3)) - 0.5)
    found = distance_bound(highest, images, labels, "linf", EXACT)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert set(labels) == {0, 1}


@pytest.mark.parametrize("axis", [1, 2])
def test_only_a_maximum_is_read_as_one(axis):
    """The same steps about another axis, or other values, pick something else."""

    def names(function):
        image = jax.ShapeDtypeStruct((1, 3, 3, 1), jnp.float32)
        program = Program(jax.make_jaxpr(function)(image))
        return [step.name for step in program.steps]

    def picked(images, along, of):
        places = jax.lax.broadcasted_iota(jnp.int32, images.shape, along)
        chosen = places == jnp.argmax(images, axis=axis, keepdims=True)
        return jnp.sum(jnp.where(chosen, of(images), 0), axis=axis)

    assert names(lambda x: picked(x, axis, lambda y: y)) == ["reduce_max"]
    for along, of in ((3 - axis, lambda y: y), (axis, lambda y: y + 1)):
        with pytest.raises(ValueError, match="'argmax'"):
            names(lambda x, along=along, of=of: picked(x, along, of))

    def compared(x, swap):
        a, b = x[:, :2], x[:, 1:]
        return jnp.where(b > a, a, b) if swap else jnp.where(b > a, b, a)

    assert "max" in names(lambda x: compared(x, False))
    assert "max" not in names(lambda x: compared(x, True))


class Plain(nn.Module):
    """What users build."""

    @nn.compact
    def __call__(self, images):
        x = nn.Conv(4, (3, 3))(images)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding="SAME")
        x = jnp.tanh(nn.Conv(6, (3, 3), strides=2)(x))
        x = nn.gelu(nn.avg_pool(x, (2, 2)).reshape(len(x), -1))
        return nn.Dense(CLASSES)(x)


def attacked(logits_fn, images, labels, norm):
    """The distance of an error along the margin's gradient; infinite if there is none.

    Of a net with random weights that is near the nearest one.
    """

    def least(x):
        logits = logits_fn(x)
        own = jnp.take_along_axis(logits, labels[:, None], axis=1)
        others = jnp.where(logits == own, -jnp.inf, logits)
        return jnp.sum(own[:, 0] - others.max(axis=1))

    gradient = np.asarray(jax.jit(jax.grad(least))(images))
    way = -np.sign(gradient) if norm == "linf" else -gradient
    flat = way.reshape(len(way), -1)
    way = way / np.linalg.norm(flat, ORDER[norm], axis=1)[:, None, None, None]
    found = np.full(len(images), np.inf)
    for eps in np.geomspace(1e-4, 4, 60):
        x = np.clip(images + eps * way, 0, 1).astype(np.float32)
        moved = (x.astype(np.float64) - images).reshape(len(x), -1)
        wrong = predicted(logits_fn, x) != labels
        length = np.linalg.norm(moved, ORDER[norm], axis=1)
        found = np.where(wrong, np.minimum(found, length), found)
    return found


def shifted(net, shift, images):
    return net(images) + shift


def balanced(net, images):
    """The net, with logits whose mean over the images is the same in all classes."""
    logits = evaluate(Partial(shifted, net, jnp.zeros((1, CLASSES))), images)
    return Partial(shifted, net, -logits.mean(axis=0, keepdims=True))


def holds(net, images, norm):
    """No error is nearer than the bound: neither attacked, nor drawn at random."""
    logits_fn = balanced(net, images)
    labels = predicted(logits_fn, images)
    bound = distance_bound(logits_fn, images, labels, norm)
    distance = attacked(logits_fn, images, labels, norm)
    assert (bound > 0).all() and np.isfinite(distance).sum() >= 2
    assert (bound <= distance).all()
    rng = np.random.default_rng(1)
    for _ in range(20):
        noise = rng.normal(size=images.shape)
        noise = np.sign(noise) if norm == "linf" else noise
        length = np.linalg.norm(noise.reshape(len(noise), -1), ORDER[norm], axis=1)
        x = images + noise * (bound / length)[:, None, None, None]
        found = predicted(logits_fn, x.astype(np.float32))
        np.testing.assert_array_equal(found, labels)


def variables_of(net, images, seed=0):
    """As `net.init` makes them, without compiling it."""
    rng = np.random.default_rng(seed)

    def value(path, leaf):
        if leaf.ndim < 2:
            return np.full(leaf.shape, path[-1].key in ("scale", "var"), np.float32)
        fan_in = np.prod(leaf.shape[:-1])
        return rng.normal(scale=fan_in**-0.5, size=leaf.shape).astype(np.float32)

    shapes = jax.eval_shape(functools.partial(net.init, jax.random.key(0)), images)
    return jax.tree_util.tree_map_with_path(value, shapes)


def images_of(seed=1, count=4, channels=3):
    shape = (count, 8, 8, channels)
    return np.random.default_rng(seed).uniform(0.2, 0.8, shape).astype(np.float32)


@norms
def test_nothing_nearer_is_wrong_in_a_plain_net(norm):
    images, net = images_of(), Plain()
    logits_fn = Partial(net.apply, variables_of(net, images))
    holds(logits_fn, images, norm)


@pytest.mark.parametrize("name", ["parallel_rs", "cascaded", "equivariant"])
@pytest.mark.slow
def test_nothing_nearer_is_wrong_in_a_net_of_the_paper(name):
    images = images_of()
    net = models.build(name, 4, CLASSES, width=0.05, lowering="conv")
    logits_fn = models.logits_fn(net, variables_of(net, images))
    holds(logits_fn, images, "linf")


@pytest.mark.slow
def test_lowerings_agree_and_other_weights_compile_nothing():
    images = images_of()
    net = models.build("baseline", 4, CLASSES, width=0.05, lowering="conv")
    first, second = (
        models.logits_fn(net, variables_of(net, images, seed)) for seed in (0, 1)
    )
    labels = predicted(first, images)
    as_conv = distance_bound(first, images, labels, "l2", EXACT)
    patches = models.with_lowering(first, "patches")
    same = evaluate(patches, images), evaluate(first, images)
    np.testing.assert_allclose(*same, atol=1e-5)
    as_patches = distance_bound(patches, images, labels, "l2", EXACT)
    np.testing.assert_allclose(as_patches, as_conv, rtol=1e-6)
    programs = jitted(bounds._proven, (0,))
    before = programs._cache_size()
    distance_bound(second, images, predicted(second, images), "l1")
    assert programs._cache_size() == before
    assert models.with_lowering(Partial(highest), "conv").func is highest


def test_what_it_has_no_rule_for_is_refused_by_name():
    images, labels = images_of(count=2), np.zeros(2, int)

    def of(function):
        return lambda x: function(x).reshape(len(x), -1)[:, :2]

    for name, function in {
        "sin": jnp.sin,
        "scan": lambda x: jax.lax.scan(lambda c, _: (2 * c, 0), x, None, 2)[0],
        "dot_general": lambda x: jnp.einsum("bhwc,bhwd->bcd", x, x),
        "convert_element_type": lambda x: x.astype(bool).astype(jnp.float32),
        "gives bfloat16": lambda x: x.astype(jnp.bfloat16).astype(jnp.float32),
    }.items():
        with pytest.raises(ValueError, match=name):
            distance_bound(of(function), images, labels)


def test_ties_are_errors_and_answers_that_are_none_raise():
    images = images_of(count=2)
    labels = np.zeros(2, int)
    tied = distance_bound(lambda x: 0 * x.reshape(len(x), -1)[:, :2], images, labels)
    np.testing.assert_array_equal(tied, 0)
    with pytest.raises(ValueError, match="logits of image 0 are NaN or infinite"):
        distance_bound(lambda x: jnp.log(-x).reshape(len(x), -1)[:, :2], images, labels)
    with pytest.raises(ValueError, match="norm 'l3'"):
        distance_bound(highest, images, labels, "l3")
    with pytest.raises(ValueError, match="steps=0"):
        distance_bound(highest, images, labels, steps=0)


def test_a_value_that_may_not_be_defined_proves_nothing():
    """`1 / (x - 0.5)` and `log` have no bound where a ball meets what they lack."""
    images = np.full((1, 1, 2, 1), 0.75, np.float32)

    def net(x):
        first, second = x[:, 0, 0], x[:, 0, 1]
        return jnp.concatenate([1 / (first - 0.5), jnp.log(second - 0.5)], axis=1)

    found = distance_bound(net, images, np.array([0]), "linf", EXACT)[0]
    assert 0.2 < found <= 0.25
