"""The audit passes a sound net and attack, and each check fails on what it is for.

The net is one of random features, whose last layer is solved for: no training, and a
program that compiles in a moment.
"""

import functools
import io
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax.tree_util import Partial
from rich.console import Console

from symjax import attacks, models
from symjax.attacks import NORMS, Linf, ThreatModel, sanity
from symjax.attacks.sanity import program, subject
from symjax.attacks.sanity.subject import Finding
from symjax.data import digits
from symjax.groups import C1, C4
from tests.linear_models import problem, waves

KEY = jax.random.key(0)
EPS = 0.06
COUNT = 40
QUICK = {"steps": 20, "random_draws": 100, "square_queries": 50}


class Net(linen.Module):
    @linen.compact
    def __call__(self, images, train=False):
        x = linen.Dense(64, use_bias=False)(images.reshape(len(images), -1))
        norm = linen.BatchNorm(not train, use_bias=False, use_scale=False)
        return linen.Dense(10, use_bias=False)(linen.relu(norm(x)))


def invariant(variables, images):
    """The mean over the quarter turns."""
    turned = jnp.concatenate([C4.act(g, images) for g in range(C4.order)])
    logits = Net().apply(variables, turned)
    return jnp.mean(logits.reshape(C4.order, len(images), -1), axis=0)


def fit(seed):
    """Random first weights; the last ones by least squares on all quarter turns."""
    train = digits.load(8).train
    turned = [np.rot90(train.images / 255, k, (1, 2)) for k in range(4)]
    pixels = np.concatenate(turned).reshape(-1, 64)
    kernel = np.random.default_rng(seed).normal(size=(64, 64))
    x = pixels @ kernel
    mean, var = x.mean(axis=0), x.var(axis=0)
    x = np.maximum((x - mean) / np.sqrt(var + 1e-5), 0)
    x = x.reshape(4, -1, 64).mean(axis=0)
    wanted = 20 * np.eye(10)[train.labels] - 2
    last = np.linalg.solve(x.T @ x + 0.1 * np.eye(64), x.T @ wanted)
    variables = {
        "params": {"Dense_0": {"kernel": kernel}, "Dense_1": {"kernel": last}},
        "batch_stats": {"BatchNorm_0": {"mean": mean, "var": var}},
    }
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)


def quantised(variables, images):
    return invariant(variables, jnp.round(8 * images) / 8)


def train_mode(variables, images):
    return Net().apply(variables, images, True, mutable=["batch_stats"])[0]


def probabilities(variables, images):
    return linen.softmax(invariant(variables, images))


def noisy(variables, images):
    def noise():
        return np.random.default_rng().normal(size=images.shape).astype(np.float32)

    return invariant(variables, images + 0.1 * jax.pure_callback(noise, images))


def same_noise(variables, images):
    noise = jax.random.normal(jax.random.key(0), images.shape)
    return invariant(variables, images + 0.1 * noise)


def frozen_noise(variables, images):
    """Deterministic once it is compiled."""
    noise = np.random.default_rng().normal(size=images.shape).astype(np.float32)
    return invariant(variables, images + 0.1 * noise)


def saturated(variables, images):
    return 1e3 * invariant(variables, images)


def on_the_host(variables, images):
    shape = jax.ShapeDtypeStruct((len(images), 10), jnp.float32)
    return jax.pure_callback(
        lambda x: np.asarray(x)[:, 3:5].reshape(len(x), -1)[:, :10], shape, images
    )


@pytest.fixture(scope="module")
def case():
    """`case(net, **options)`: the audit's arguments for a net with those weights."""
    test, weights = digits.load(8).test, [fit(seed) for seed in range(2)]
    images = (test.images[:COUNT] / 255).astype(np.float32)
    labels = test.labels[:COUNT]

    def make(net=invariant, *, peer=None, threat=None, **options):
        threat = threat or Linf(EPS)
        call = Partial(net, weights[0]), images, labels, KEY, threat
        peers = (Partial(peer, weights[1]),) if peer else ()
        return call, QUICK | {"peers": peers} | options

    return make


@pytest.fixture(scope="module")
def audit(case):
    """The audit of a net, as `{name: check}`."""

    def run(*arguments, **options):
        call, options = case(*arguments, **options)
        return {check.name: check for check in sanity.audit(*call, **options)}

    return run


def failed(checks):
    return {name for name, check in checks.items() if check.passed is False}


def inapplicable(checks):
    return {name for name, check in checks.items() if check.passed is None}


@pytest.mark.slow
def test_a_sound_net_passes_every_check(audit):
    begun = []
    checks = audit(invariant, peer=invariant, report=begun.append)
    assert begun == list(checks) == list(sanity.CHECKS)
    assert not failed(checks) and not inapplicable(checks)
    for check in checks.values():
        assert np.isfinite(check.value) and check.threshold and check.detail
        assert check.source
    random = checks["random_draws"]
    assert "100 random points" in random.detail
    listed = checks["success_grows_with_eps"].detail
    assert "0.0%, 0.0%" not in listed  # the attack has something to do


OPERATIONS = "differentiable_operations"
BATCH = "no_batch_dependence"
RANDOMNESS = "no_randomness"
MARGIN, LOSS = "margin_gradients", "loss_gradients"
UNBOUNDED, GREY = "unbounded_attack", "grey_image"
GROWING = "success_grows_with_eps"
FGSM = "pgd_at_least_fgsm"
STEPS, RESTARTS = "doubling_steps", "doubling_restarts"
MOVING, PATH = "loss_converged", "path_returned"
HOLD = "returned_images"
BLACK_BOX = {"square", "random_draws"}
TRANSFER = "transfer"
PLANTED = "planted_weakness"
CLASSES, LOGITS = "enough_classes", "logits_not_probabilities"
TURNED = "rotated_image"


@pytest.mark.parametrize(
    ("net", "found", "passed"),
    [
        (train_mode, {BATCH}, {LOGITS, RANDOMNESS, OPERATIONS}),
        (probabilities, {LOGITS}, {BATCH, OPERATIONS}),
        (noisy, {RANDOMNESS, BATCH, OPERATIONS}, {LOGITS}),
        (same_noise, {BATCH, OPERATIONS}, {LOGITS}),
        (frozen_noise, {RANDOMNESS}, {OPERATIONS}),
        (saturated, {LOSS}, {MARGIN}),
    ],
)
def test_defects_of_the_net_are_found_by_their_checks(audit, net, found, passed):
    checks = audit(net, only=found | passed)
    assert failed(checks) == found and not inapplicable(checks)


@pytest.mark.slow
def test_quantised_images_are_found_by_what_needs_gradients_and_what_does_not(audit):
    only = {OPERATIONS, MARGIN, LOSS, GREY, UNBOUNDED, PLANTED, TRANSFER} | BLACK_BOX
    threat = Linf(3 * EPS)
    checks = audit(quantised, peer=invariant, threat=threat, only={*only, HOLD, BATCH})
    assert failed(checks) == only
    assert checks[OPERATIONS].value == 1 and "round" in checks[OPERATIONS].detail
    assert checks[MARGIN].value == 1


def test_a_net_without_gradients_fails_and_is_not_attacked(audit):
    checks = audit(on_the_host, only={MARGIN, OPERATIONS, HOLD, PATH})
    assert failed(checks) == {MARGIN, OPERATIONS}
    assert inapplicable(checks) == {HOLD, PATH}


def test_steps_that_are_too_short_are_found(audit):
    only = {FGSM, STEPS, MOVING, PATH, HOLD}
    checks = audit(step_size=EPS / 100, only=only)
    assert failed(checks) == {FGSM, STEPS, MOVING}


def test_the_last_iterate_loses_what_was_found_on_the_path():
    logits_fn, images, labels = problem(4, waves)
    call = logits_fn, images, labels, KEY, Linf(0.2)
    (check,) = sanity.audit(*call, steps=5, keep="last", only={PATH})
    assert check.passed is False and check.value > 0.1


def out_of_the_ball(threat, key, images):
    del key
    return images + 2 * threat.eps


def only_at_random(threat, key, images):
    return threat.start(key, images)


def not_far(threat, key, images):
    """In large balls it gives up."""
    return jnp.where(threat.eps > 5 * EPS, images, only_at_random(threat, key, images))


def robust_all_the_same(threat, key, images):
    del threat, key
    return 1 - images


@pytest.mark.parametrize(
    ("found_by", "eps", "only", "found"),
    [
        (out_of_the_ball, EPS, {HOLD}, {HOLD}),
        (robust_all_the_same, 1.0, {HOLD}, {HOLD}),
        (only_at_random, 0.4, {RESTARTS, HOLD, FGSM}, {RESTARTS, FGSM}),
        (not_far, 4 * EPS, {GROWING, GREY, UNBOUNDED}, {GROWING, GREY, UNBOUNDED}),
    ],
)
def test_broken_attacks_are_found(audit, found_by, eps, only, found):
    def broken(logits_fn, images, labels, key, threat, **settings):
        del settings
        images_found = found_by(threat, key, images)
        robust = attacks.is_correct(logits_fn(images_found), labels)
        if found_by is robust_all_the_same:
            robust = jnp.ones_like(robust)
        nothing = jnp.zeros(len(images))
        return attacks.AttackResult(images_found, robust, nothing, nothing, nothing)

    def pgd(*arguments, steps, step_size, n_restarts, loss, keep):
        del steps, step_size, n_restarts, loss, keep
        return broken(*arguments)

    assert failed(audit(threat=Linf(eps), only=only, attack=pgd)) == found


def test_checks_of_the_path_are_of_attacks_that_return_it(audit):
    def silent(*arguments, **settings):
        return attacks.pgd(*arguments, **settings)

    def told(*arguments, path=False, **settings):
        return attacks.pgd(*arguments, path=path, **settings)

    checks = audit(only={MOVING, PATH}, attack=silent)
    assert inapplicable(checks) == {MOVING, PATH}
    assert "takes no `path`" in checks[PATH].detail
    checks = audit(only={MOVING, PATH}, attack=told)
    assert checks == audit(only={MOVING, PATH}) and not inapplicable(checks)


def test_an_attack_that_knows_up_from_down_is_found(audit):
    def falling(
        logits_fn, images, *arguments, steps, step_size, n_restarts, loss, keep
    ):
        down = jnp.linspace(0, 1e-3, images.shape[1]).reshape(1, -1, 1, 1)
        options = {"steps": steps, "n_restarts": n_restarts, "loss": loss, "keep": keep}
        call = logits_fn, images, *arguments
        result = attacks.pgd(*call, step_size=step_size, **options)
        return result.replace(images=result.images + down)

    checks = audit(steps=2, only={TURNED}, attack=falling)
    assert failed(checks) == {TURNED}
    assert 1e-4 < checks[TURNED].value < 2e-3


@pytest.mark.parametrize(
    ("net", "options", "reason"),
    [
        (lambda w, x: Net().apply(w, x), {}, "not invariant"),
        (lambda w, x: invariant(w, x).astype(jnp.float32), {}, "float32"),
        (invariant, {"group": C1}, "one element"),
        (on_the_host, {}, "no gradient"),
    ],
    ids=["baseline", "float32", "C1", "host"],
)
def test_the_symmetric_check_says_why_it_does_not_apply(audit, net, options, reason):
    checks = audit(net, only={TURNED}, **options)
    assert checks[TURNED].passed is None and reason in checks[TURNED].detail


@pytest.mark.parametrize(
    ("classes", "loss", "passed"),
    [(2, "dlr", False), (3, "dlr", True), (2, "margin", None), (4, "margin", True)],
)
def test_dlr_needs_three_classes_and_four_for_targets(classes, loss, passed):
    only = {CLASSES, LOSS} | ({HOLD} if passed is False else set())
    call = *problem(classes), KEY, Linf(EPS)
    checks = {c.name: c for c in sanity.audit(*call, loss=loss, only=only)}
    assert checks[CLASSES].passed is passed
    if passed is False:
        assert inapplicable(checks) == {LOSS, HOLD}


def softmax_inside(images):
    return jax.nn.softmax(images) + jax.nn.logsumexp(images, axis=1, keepdims=True)


def straight_through(images):
    rounded = jax.custom_vjp(lambda x: jnp.round(x))
    rounded.defvjp(lambda x: (jnp.round(x), None), lambda _, cotangent: (cotangent,))
    return rounded(images)


def in_a_loop(images):
    return jax.lax.fori_loop(0, 3, lambda i, x: x + jnp.sign(x), images)


def in_a_branch(images):
    total = jnp.sum(images)
    return jax.lax.cond(total > 0, jnp.floor, lambda x: x, images)


def of_shapes_alone(images):
    scale = jnp.floor(jnp.arange(images.shape[1]) / 2).astype(int)
    return images * scale.reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (softmax_inside, set()),
        (of_shapes_alone, set()),
        (lambda x: jnp.max(x, axis=1) + jnp.argmax(x, axis=1), set()),
        (jax.checkpoint(jnp.sin), set()),
        (lambda x: (jnp.sign(x), x)[1], set()),
        (lambda x: 2 * x - jax.lax.stop_gradient(x), {"stop_gradient"}),
        (straight_through, {"round"}),
        (in_a_loop, {"sign"}),
        (in_a_branch, {"floor"}),
        (jax.jit(lambda x: x.astype(int) / 8), {"float to integer"}),
        (lambda x: jax.nn.relu(jnp.ceil(x)), {"ceil"}),
    ],
)
def test_operations_are_found_wherever_they_are(function, names):
    assert program.suspicious(function, jnp.ones((1, 4, 4, 1))) == names


@pytest.mark.parametrize("name", models.MODELS)
def test_our_nets_have_no_suspicious_operations(name):
    model = models.build(name, depth=4, classes=10, width=0.125)
    images = jnp.ones((1, 16, 16, 1))
    init = functools.partial(model.init, train=False)
    shapes = jax.eval_shape(init, KEY, images)
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    assert not program.suspicious(models.logits_fn(model, variables), images)


@pytest.mark.parametrize("norm", NORMS)
def test_the_free_ball_reaches_grey_and_beyond(case, norm):
    call, _ = case(threat=ThreatModel(norm, EPS))
    audited = subject.AuditTarget.of(*call, peers=(), **audit_settings())
    images = call[1]
    grey = np.full_like(images, 0.5)
    for part, wanted in ((0.5, grey), (1.0, 1 - np.round(images))):
        threat = audited.ball(part)
        assert threat.contains(wanted, images).all()
        smaller = threat.replace(eps=0.99 * threat.eps)
        assert not smaller.contains(wanted, np.round(images)).any()


def audit_settings():
    return {
        **QUICK,
        "n_restarts": 1,
        "step_size": None,
        "keep": "best",
        "loss": "cross_entropy",
        "logits_fn_float64": None,
        "group": C4,
        "attack_fn": attacks.pgd,
    }


def test_l2_and_one_eps_a_channel(audit):
    checks = audit(threat=attacks.L2(0.4), only={GREY, UNBOUNDED})
    assert not failed(checks) and not inapplicable(checks)
    checks = audit(threat=Linf(np.array([EPS])), only={"square"})
    assert inapplicable(checks) == {"square"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"net": lambda w, x, key: x}, 'takes a key only with .*version="rand"'),
        ({"threat": Linf(0.0)}, "expected a positive radius"),
        ({"steps": 0}, "steps=0"),
        ({"only": ["sorcery"]}, "sorcery"),
        ({"net": lambda w, x: jnp.zeros((len(x), 10))}, "no image is classified"),
    ],
)
def test_what_cannot_be_audited_is_an_error(case, change, match):
    call, options = case(**change)
    with pytest.raises(ValueError, match=match):
        sanity.audit(*call, **options)


def test_the_table_shows_every_check_and_what_passing_means():
    checks = [
        sanity.Check("one", "one", True, 0.0123, "<= 0.02", "somebody", "in [0, 1]"),
        sanity.Check("two", "two", False, 0.5, ">= 1", "symjax", "too small"),
        sanity.Check("three", "three", None, None, "", "symjax", "no peers"),
    ]
    out = io.StringIO()
    Console(file=out, width=120).print(sanity.table(checks))
    text = out.getvalue()
    for word in ("pass", "FAIL", "n/a", "0.0123", ">= 1", "[0, 1]", "not sufficient"):
        assert word in text


def test_every_check_has_advice_and_a_failed_one_gives_it(monkeypatch):
    for check in sanity.CHECKS.values():
        said = check.advice.format(steps=80, n_restarts=4)
        assert said[0].isupper() and said.endswith(".") and "{" not in said
        assert said.count(". ") == 0  # one sentence
    restarts = sanity.CHECKS["doubling_restarts"]
    answers = {True: "", False: "Rerun with --n_restarts 8", None: ""}
    audited = types.SimpleNamespace(steps=40, n_restarts=2)
    for passed, advice in answers.items():
        found = Finding(passed, 0.5, "<= 0.1", "share [of] images")
        check = restarts._replace(compute=lambda _, found=found: found)
        monkeypatch.setitem(sanity.CHECKS, "doubling_restarts", check)
        made = sanity._run("doubling_restarts", audited)
        assert made.advice.startswith(advice) and bool(made.advice) == bool(advice)
        text = io.StringIO()
        Console(file=text, width=160).print(sanity.table([made]))
        assert "share [of] images" in text.getvalue()
        assert ("AutoAttack." in text.getvalue()) == (passed is False)
