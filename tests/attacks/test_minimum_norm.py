"""DeepFool and Carlini-Wagner against the distances of linear models.

All tests share a handful of programs: models and settings are arguments of them.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax import attacks
from symjax.attacks import ThreatModel, minimum_norm
from symjax.attacks.losses import largest_margin
from tests.linear_models import SHAPE, boundary_distance, linear
from tests.linear_models import owes as owes_all

B, CLASSES = 24, 4
owes = functools.partial(owes_all, minimum_norm=True)
FREE = attacks.L2(np.inf)
STEPS, SEARCHES = 200, 6
run_deepfool = jax.jit(minimum_norm.deepfool)
run_carlini_wagner = jax.jit(minimum_norm.carlini_wagner)
margins = jax.jit(
    lambda logits_fn, images, labels: largest_margin(logits_fn(images), labels)
)
norms = pytest.mark.parametrize("norm", ["l2", "linf"])


def deepfool(logits_fn, images, labels, threat, steps=50, overshoot=0.02):
    options = {"steps": steps, "overshoot": overshoot}
    return run_deepfool(logits_fn, images, labels, None, threat, **options)


def carlini_wagner(logits_fn, images, labels, threat, **changes):
    options = {
        "steps": STEPS,
        "binary_searches": SEARCHES,
        "confidence": 0.0,
        "learning_rate": 0.01,
        "initial_constant": 0.01,
        "abort_early": True,
    }
    return run_carlini_wagner(
        logits_fn, images, labels, None, threat, **(options | changes)
    )


both = pytest.mark.parametrize("attack", [deepfool, carlini_wagner])


def net(weights, bias, bend, cliff, images):
    """Linear where bend is zero; NaN where the first logit is below the cliff."""
    logits = linear(weights, bias, images)
    logits = logits + bend * jnp.tanh(2 * logits)
    return jnp.where(logits[:, :1] < cliff, jnp.nan, logits)


def problem(classes=CLASSES, bend=0.0, cliff=-np.inf, seed=0):
    """A model and images. Classes that are not wanted are out of reach."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.4, 0.6, SHAPE).astype(np.float32)
    weights = rng.normal(size=(12, CLASSES)).astype(np.float32)
    bias = -0.5 * weights.sum(axis=0, keepdims=True)
    bias = np.where(np.arange(CLASSES) < classes, bias, -1e3).astype(np.float32)
    return Partial(net, weights, bias, bend, cliff), images


def predicted(logits_fn, images):
    return np.asarray(logits_fn(images)).argmax(axis=1)


def half(logits_fn, images):
    """Labels, every other one of them wrong; and where they are."""
    labels = predicted(logits_fn, images)
    wrong = np.arange(B) % 2 == 0
    return np.where(wrong, (labels + 1) % CLASSES, labels), wrong


def nearest(norm, logits_fn, images, labels):
    """The distance to the nearest error of a linear model, in float64."""
    plain = Partial(linear, *logits_fn.args[:2])
    return boundary_distance(plain, images, labels, norm)


@norms
@pytest.mark.parametrize(("classes", "overshoot"), [(2, 0.02), (4, 0.1)])
def test_deepfool_finds_the_nearest_error_of_a_linear_model(norm, classes, overshoot):
    logits_fn, images = problem(classes)
    labels, wrong = half(logits_fn, images)
    threat = ThreatModel(norm, np.inf)
    result = deepfool(logits_fn, images, labels, threat, overshoot=overshoot)
    distance = nearest(norm, logits_fn, images, labels)
    assert (distance[wrong] == 0).all() and (distance[~wrong] > 0).all()
    expected = (1 + overshoot) * distance
    # A step is longer by 1e-6 in each of 12 pixels, that rounding may not decide.
    np.testing.assert_allclose(result.distance, expected, rtol=1e-4, atol=5e-6)
    assert not result.robust.any()
    owes(result, threat, logits_fn, images, labels)
    np.testing.assert_array_equal(result.queries, 1 + ~wrong)
    np.testing.assert_array_equal(result.gradients, CLASSES * ~wrong)


@jax.jit
@functools.partial(jax.jacobian, has_aux=True)
def jacobian(x, logits_fn):
    logits = logits_fn(x[None])[0]
    return logits, logits


def by_hand(norm, logits_fn, images, labels, steps):
    """DeepFool's points after that many steps, one image at a time, in float64."""
    points = []
    for image, label in zip(images, labels, strict=True):
        total, x = np.zeros(image.shape), image
        for _ in range(steps):
            normals, logits = (
                np.asarray(y, np.float64) for y in jacobian(x, logits_fn)
            )
            if (np.delete(logits, label) >= logits[label]).any():
                break
            normals = (normals - normals[label]).reshape(CLASSES, -1)
            lengths = np.linalg.norm(normals, ord={"l2": 2, "linf": 1}[norm], axis=1)
            lengths[label] = np.nan
            distance = (logits[label] - logits) / lengths
            normal = normals[np.nanargmin(distance)]
            unit = {"l2": normal / np.linalg.norm(normal), "linf": np.sign(normal)}
            length = np.nanmin(distance) + {"l2": 12**0.5, "linf": 1}[norm] * 1e-6
            total += (length * unit[norm]).reshape(image.shape)
            x = np.clip(image + 1.02 * total, 0, 1).astype(np.float32)
        points.append(x)
    return np.array(points)


@norms
def test_deepfool_equals_a_loop_by_hand(norm):
    logits_fn, images = problem(bend=1.0)
    images = np.round(5 * images - 2, 2)  # some pixels are at a bound, or meet one
    labels = predicted(logits_fn, images)
    threat = ThreatModel(norm, np.inf)
    for steps in (1, 50):
        expected = by_hand(norm, logits_fn, images, labels, steps)
        result = deepfool(logits_fn, images, labels, threat, steps)
        broken = np.asarray(margins(logits_fn, expected, labels) >= 0)
        np.testing.assert_array_equal(np.isfinite(result.distance), broken)
        expected = np.where(broken[:, None, None, None], expected, images)
        np.testing.assert_allclose(result.images, expected, atol=1e-5)
        owes(result, threat, logits_fn, images, labels)
        assert (~broken).any() if steps == 1 else broken.sum() > 20
    assert ((expected == 0) | (expected == 1)).any() and (result.queries > 2).any()


def test_deepfool_does_not_leave_it_to_rounding_whether_it_is_past_the_boundary():
    logits_fn, images = problem()
    labels = predicted(logits_fn, images)
    result = deepfool(logits_fn, images, labels, FREE, overshoot=0.0)
    assert (result.queries == 2).all()
    assert (margins(logits_fn, result.images, labels) > 0).all()


def test_deepfool_stays_where_the_boundary_is_infinitely_far():
    logits_fn, images = problem(classes=1)
    weights, *others = logits_fn.args
    constant = Partial(net, 0 * weights, *others)
    labels = predicted(constant, images)
    result = deepfool(constant, images, labels, FREE, steps=7)
    assert np.isposinf(result.distance).all()
    assert (result.queries == 8).all() and (result.gradients == 7 * CLASSES).all()
    owes(result, FREE, constant, images, labels)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 2.0)])
def test_carlini_wagner_reaches_the_nearest_error_of_a_linear_model(bounds):
    logits_fn, images = problem(classes=2)
    labels = predicted(logits_fn, images)
    distance = nearest("l2", logits_fn, images, labels)
    threat = attacks.L2(np.inf, bounds)
    result = carlini_wagner(logits_fn, images, labels, threat)
    # Adam's first step is 0.02 to 0.05 long, and errors closer than that are passed.
    far = distance > 0.06
    assert far.sum() > 8
    ratio = result.distance / distance
    assert ratio.min() > 1 - 1e-4 and ratio[far].max() < 1.03
    owes(result, threat, logits_fn, images, labels)


def test_carlini_wagner_comes_closer_than_deepfool_on_a_curved_model():
    logits_fn, images = problem(bend=1.0)
    labels = predicted(logits_fn, images)
    fooled = deepfool(logits_fn, images, labels, FREE).distance
    options = {"steps": 400, "learning_rate": 0.003}
    closer = carlini_wagner(logits_fn, images, labels, FREE, **options).distance
    assert np.mean(closer < fooled) > 0.8 and np.median(closer / fooled) < 0.99


def test_early_stops_save_steps_and_cost_little():
    logits_fn, images = problem()
    labels, wrong = half(logits_fn, images)
    early = carlini_wagner(logits_fn, images, labels, FREE)
    whole = carlini_wagner(logits_fn, images, labels, FREE, abort_early=False)
    np.testing.assert_array_equal(whole.gradients, SEARCHES * STEPS * ~wrong)
    for result in (early, whole):
        np.testing.assert_array_equal(result.queries, 1 + result.gradients)
    assert early.queries[~wrong].mean() < 0.9 * whole.queries[~wrong].mean()
    np.testing.assert_allclose(early.distance, whole.distance, rtol=0.05)


def test_the_constants_of_carlini_wagner_are_those_of_a_bisection_by_hand():
    logits_fn, images = problem()
    labels = predicted(logits_fn, images)
    low, high, constant = np.zeros(B), np.full(B, np.inf), np.full(B, 1e-4)
    closest, gradients = np.full(B, np.inf), np.zeros(B)
    for _ in range(SEARCHES):
        options = {"binary_searches": 1, "initial_constant": np.float32(constant)}
        result = carlini_wagner(logits_fn, images, labels, FREE, **options)
        found = np.isfinite(result.distance)
        closest = np.minimum(closest, result.distance)
        gradients += result.gradients
        low, high = np.where(found, low, constant), np.where(found, constant, high)
        tried = np.isfinite(high)
        constant = np.where(tried, (low + np.where(tried, high, 0)) / 2, 10 * constant)
    assert (low > high / 3).any() and (low < high / 3).any()
    result = carlini_wagner(logits_fn, images, labels, FREE, initial_constant=1e-4)
    np.testing.assert_allclose(result.distance, closest, rtol=1e-3)
    np.testing.assert_allclose(result.gradients.mean(), gradients.mean(), rtol=0.01)


def test_confidence_is_the_margin_of_the_errors():
    logits_fn, images = problem()
    labels, wrong = half(logits_fn, images)
    distances = []
    for confidence in (0.0, 0.5):
        result = carlini_wagner(
            logits_fn, images, labels, FREE, confidence=confidence, learning_rate=0.002
        )
        reached = margins(logits_fn, result.images, labels)[~wrong]
        assert reached.min() > confidence - 1e-5
        assert np.median(reached) < confidence + 0.02
        assert (result.distance[wrong] == 0).all()
        distances.append(result.distance[~wrong])
    assert (distances[1] > distances[0] + 0.05).all()


@both
def test_eps_decides_what_counts_and_not_what_is_found(attack):
    logits_fn, images = problem()
    labels, wrong = half(logits_fn, images)
    found = attack(logits_fn, images, labels, FREE)
    assert np.isfinite(found.distance).all() and not found.robust.any()
    owes(found, FREE, logits_fn, images, labels)
    threat = attacks.L2(float(np.median(found.distance[~wrong])))
    result = attack(logits_fn, images, labels, threat)
    np.testing.assert_array_equal(result.distance, found.distance)
    assert 4 < result.robust.sum() < 8
    owes(result, threat, logits_fn, images, labels)


@both
def test_an_image_that_is_misclassified_costs_nothing(attack):
    logits_fn, images = problem()
    labels, wrong = half(logits_fn, images)
    for eps in (0.0, np.inf):
        result = attack(logits_fn, images, labels, attacks.L2(eps))
        assert (result.distance[wrong] == 0).all()
        assert not result.robust[wrong].any()
        np.testing.assert_array_equal(result.images[wrong], images[wrong])
        assert (result.queries[wrong] == 1).all() and not result.gradients[wrong].any()
        # Nor does it end the search of others.
        assert np.isfinite(result.distance[~wrong]).all()
        assert (result.distance[~wrong] > 0).all()


@both
def test_where_there_is_no_error_the_image_comes_back(attack):
    logits_fn, images = problem(classes=1)
    labels = predicted(logits_fn, images)
    for eps in (0.1, np.inf):
        threat = attacks.L2(eps)
        result = attack(logits_fn, images, labels, threat)
        assert np.isposinf(result.distance).all() and result.robust.all()
        owes(result, threat, logits_fn, images, labels)


@both
def test_the_rest_of_the_batch_does_not_matter(attack):
    logits_fn, images = problem(bend=1.0)
    labels = predicted(logits_fn, images)
    among = attack(logits_fn, images, labels, FREE)
    same = slice(B // 2)
    others = np.random.default_rng(1).uniform(size=SHAPE).astype(np.float32)
    others[same] = images[same]
    others_labels = np.where(np.arange(B) < B // 2, labels, 0)
    result = attack(logits_fn, others, others_labels, FREE)
    first = jax.tree.map(lambda leaf: leaf[same], (among, result))
    chex.assert_trees_all_equal(*first)


def test_another_eps_or_setting_compiles_nothing():
    logits_fn, images = problem()
    labels, _ = half(logits_fn, images)
    deepfool(logits_fn, images, labels, FREE)
    carlini_wagner(logits_fn, images, labels, FREE)
    programs = run_deepfool, run_carlini_wagner
    before = [program._cache_size() for program in programs]
    assert min(before) > 0
    threat = attacks.L2(0.03)
    deepfool(logits_fn, images, labels, threat, steps=2, overshoot=0.5)
    changes = {"confidence": 0.2, "learning_rate": 0.1, "initial_constant": 1.0}
    carlini_wagner(logits_fn, images, labels, threat, steps=5, **changes)
    assert before == [program._cache_size() for program in programs]


@both
def test_nan_logits_are_errors(attack):
    logits_fn, images = problem(classes=1)
    cliff = float(np.min(logits_fn(images)[:, 0])) - 1e-3
    logits_fn, _ = problem(classes=1, cliff=cliff)
    labels = np.zeros(B, int)
    result = attack(logits_fn, images, labels, FREE)
    # On the way to an error that is out of reach, all of them fall off the cliff.
    assert not result.robust.any() and (result.distance > 0).all()
    owes(result, FREE, logits_fn, images, labels)


@both
def test_logits_that_are_nan_beyond_the_ball_are_no_errors_in_it(attack):
    def far(logits_fn, images, x):
        """NaN from a distance of 1e-3 on."""
        moved = jnp.sqrt(jnp.sum(jnp.square(x - images), axis=(1, 2, 3)))[:, None]
        return jnp.where(moved > 1e-3, jnp.nan, logits_fn(x))

    logits_fn, images = problem()
    net, labels = Partial(far, logits_fn, images), predicted(logits_fn, images)
    result = attack(net, images, labels, attacks.L2(1e-4))
    assert result.robust.all() and (result.distance > 1e-4).all()
