"""Every attack and metric against every argument that is allowed, and that is not."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from symjax import attacks, metrics
from symjax.attacks import sanity
from symjax.metrics import smoothing, tolerance
from symjax.metrics.perturbations import Removal

KEY = jax.random.key(0)
B, H, W, C, K = 5, 4, 4, 2, 4
EPS = 0.05
SETTINGS = {
    "fgsm": {},
    "pgd": {"steps": 2},
    "apgd": {"steps": 3},
    "fab": {"steps": 3},
    "square": {"n_queries": 3},
    "deepfool": {"steps": 3},
    "carlini_wagner": {"steps": 9, "binary_searches": 1, "initial_constant": 9.0},
}
NORM = {"carlini_wagner": "l2"}
BY_CHANNEL = ("fgsm", "pgd", "apgd", "audit")
DISTANCES = ("fab", "deepfool", "carlini_wagner")  # an infinite eps is allowed


def made(name):
    return functools.partial(getattr(attacks, name), **SETTINGS[name])


def autoattack(logits_fn, images, labels, key, threat):
    options = {"steps": 2, "n_queries": 2, "batch_size": 3}
    version = ("apgd-ce", "square")
    return attacks.autoattack(
        logits_fn, images, labels, key, threat, version, **options
    )


def audit(logits_fn, images, labels, key, threat):
    only = ("no_batch_dependence",)
    return sanity.audit(logits_fn, images, labels, key, threat, only=only)


def clever(logits_fn, images, labels, key, threat):
    del threat
    sampling = {"batches": 2, "samples": 3}
    return metrics.clever_images(logits_fn, images, key, labels=labels, **sampling)


def certify(logits_fn, images, labels, key, threat):
    del labels, threat
    return smoothing.certify(logits_fn, images, key, 0.1, n0=3, n=5)


def tolerated(logits_fn, images, labels, key, threat):
    del threat
    return tolerance.tolerance(logits_fn, images, labels, key, Removal(), [0.5], 1)


CALLS = {
    **{name: made(name) for name in SETTINGS},
    "autoattack": autoattack,
    "audit": audit,
    "clever": clever,
    "certify": certify,
    "tolerance": tolerated,
}
WITHOUT_THREAT = ("clever", "certify", "tolerance")
WITHOUT_KEY = ("fgsm", "deepfool", "carlini_wagner")


def linear(weights, images):
    return (images.reshape(len(images), -1) - 0.5) @ weights


def problem(name="pgd", classes=K, shape=(B, H, W, C), seed=0):
    """A linear net, images, their classes, a key and a ball."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(np.prod(shape[1:]), classes)).astype(np.float32)
    images = rng.uniform(size=shape).astype(np.float32)
    net = Partial(linear, jnp.asarray(weights))
    labels = np.asarray(net(images)).argmax(axis=1)
    threat = attacks.ThreatModel(NORM.get(name, "linf"), EPS)
    return {
        "logits_fn": net,
        "images": images,
        "labels": labels,
        "key": KEY,
        "threat": threat,
    }


def pixel(value):
    def change(call):
        images = call["images"].copy()
        images[2, 1, 1, 0] = value
        return call | {"images": images}

    return change


def label(value):
    def change(call):
        labels = call["labels"].copy()
        labels[3] = value
        return call | {"labels": labels}

    return change


def ball(**fields):
    return lambda call: call | {"threat": call["threat"].replace(**fields)}


def logits(wrap):
    def change(call):
        net = call["logits_fn"]
        return call | {"logits_fn": lambda images: wrap(net(images))}

    return change


def put(**values):
    return lambda call: call | values


def images(function):
    return lambda call: call | {"images": function(call["images"])}


def labels(function):
    return lambda call: call | {"labels": function(call["labels"])}


BAD_NETS: dict[str, tuple] = {
    "one logit": (logits(lambda z: z[:, :1]), "two classes or more.*one logit"),
    "[B]": (logits(lambda z: z[:, 0]), r"expected \[B, K\]"),
    "[B, K, 1]": (logits(lambda z: z[..., None]), r"expected \[B, K\]"),
    "a tuple": (logits(lambda z: (z, z)), "returns a tuple"),
    "a dict": (logits(lambda z: {"logits": z}), "returns a dict"),
    "classes": (logits(lambda z: z.astype(int)), "expected floating logits"),
    "NaN": (logits(lambda z: z * jnp.nan), "are NaN or infinite"),
    "inf": (
        logits(lambda z: z - jnp.array([[0, 0, 0, jnp.inf]])),
        "are NaN or infinite",
    ),
    "no function": (put(logits_fn=3.0), "expected a function of images"),
    "NumPy": (put(logits_fn=lambda x: np.asarray(x)[:, 0, 0]), "NumPy arrays"),
}
BAD_IMAGES = {
    "images a list": (images(lambda x: x.tolist()), "expected an array"),
    "uint8": (images(lambda x: (255 * x).astype(np.uint8)), "uint8 images by 255"),
    "one image": (images(lambda x: x[0]), r"expected \[B, H, W, C\]"),
    "empty": (images(lambda x: x[:0]), "not empty"),
    "NaN pixel": (pixel(np.nan), "image 2 has pixels that are not finite"),
    "inf pixel": (pixel(np.inf), "image 2 has pixels that are not finite"),
    "out of bounds": (images(lambda x: 255 * x), "leave the bounds"),
}
BAD_LABELS = {
    "a list": (labels(lambda y: y.tolist()), "labels: a list"),
    "floats": (labels(lambda y: y.astype(float)), "expected 5 integers"),
    "bools": (labels(lambda y: y > 0), "expected 5 integers"),
    "too few": (labels(lambda y: y[:-1]), "expected 5 integers"),
    "one-hot": (labels(lambda y: np.eye(K, dtype=int)[y]), "expected 5 integers"),
    "negative": (label(-1), "labels from -1"),
    "K": (label(K), "the net has 4 classes"),
    "2^32": (label(2**32), "the net has 4 classes"),
}
BAD_KEYS = {"an int": (put(key=0), "expected a random key")}
BAD_THREATS = {
    "no threat": (put(threat=None), "threat=None: expected a ThreatModel"),
    "a float": (put(threat=0.1), "threat=0.1: expected a ThreatModel"),
    "bounds None": (ball(bounds=None), "bounds=None"),
    "bounds one": (ball(bounds=(0.0,)), "lowest and the highest"),
    "bounds swapped": (ball(bounds=(1.0, 0.0)), "below the highest"),
    "bounds infinite": (ball(bounds=(-np.inf, np.inf)), "expected finite numbers"),
    "bounds NaN": (ball(bounds=(0.0, np.nan)), "expected finite numbers"),
    "eps negative": (ball(eps=-0.1), "not negative"),
    "eps NaN": (ball(eps=np.nan), "not negative"),
    "eps of 3": (ball(eps=np.full(3, 0.1)), "each of the 2 channels"),
    "eps of images": (ball(eps=np.full(B, 0.1)), "each of the 2 channels"),
    "eps text": (ball(eps="8/255"), "expected a number"),
    "eps None": (ball(eps=None), "expected a number"),
    "eps infinite": (ball(eps=np.inf), "expected a finite radius"),
    "eps by channel": (ball(eps=(0.1, 0.2)), "expected one number"),
}


def refused(name):
    """The bad arguments for a function, by title: a change and a message."""
    every = BAD_NETS | BAD_IMAGES
    if name == "tolerance":  # a logit that is not finite counts as an error there
        every = {x: y for x, y in every.items() if y[1] != "are NaN or infinite"}
    if name != "certify":
        every |= {f"labels {title}": bad for title, bad in BAD_LABELS.items()}
    if name in (*SETTINGS, "autoattack", "audit"):
        every["no labels"] = put(labels=None), "labels: a NoneType"
    if name not in WITHOUT_KEY:
        every |= BAD_KEYS
    if name not in WITHOUT_THREAT:
        every |= BAD_THREATS
    if name in DISTANCES:
        del every["eps infinite"]
    if name in BY_CHANNEL:
        del every["eps by channel"]
    return every


@pytest.mark.parametrize("name", CALLS)
def test_what_cannot_be_right_is_refused(name):
    taken = {}
    for title, (change, message) in refused(name).items():
        try:
            CALLS[name](**change(problem(name)))
        except ValueError as error:
            if not re.search(message, str(error)):
                taken[title] = str(error)
        else:
            taken[title] = "no error"
    assert not taken


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pgd", {"steps": 0}, "pgd: steps=0: expected 1 or more"),
        ("pgd", {"steps": 2.0}, "pgd: steps=2.0: expected a whole number"),
        ("pgd", {"n_restarts": 0}, "pgd: n_restarts=0"),
        ("pgd", {"step_size": 0.0}, "step_size=0.0: expected a positive and finite"),
        ("pgd", {"step_size": -0.1}, "step_size=-0.1"),
        ("pgd", {"step_size": np.nan}, "step_size=nan"),
        ("pgd", {"step_size": np.inf}, "step_size=inf"),
        ("pgd", {"step_size": (0.1, 0.0)}, r"step_size=\(0.1, 0.0\)"),
        ("pgd", {"step_size": (0.1, 0.1, 0.1)}, "each of the 2 channels"),
        ("pgd", {"targets": 3}, "targets: a int: expected an array of 5"),
        ("pgd", {"targets": np.full(B, K)}, "the net has 4 classes"),
        ("pgd", {"targets": np.full(B, -1)}, "targets from -1"),
        ("pgd", {"targets": problem()["labels"]}, "image 0 is its label"),
        ("pgd", {"momentum": 2.0}, "momentum=2.0"),
        ("pgd", {"keep": "first"}, "keep='first'"),
        ("pgd", {"loss": "hinge"}, "loss='hinge'"),
        ("apgd", {"steps": 0}, "apgd: steps=0"),
        ("apgd", {"rho": np.nan}, "apgd: rho=nan"),
        ("apgd", {"eot_iter": -1}, "apgd: eot_iter=-1"),
        ("apgd", {"targeted": True, "rank": 5}, "rank=5: expected 2 to 4"),
        ("apgd", {"start": np.zeros((B, H, W, 1))}, "start of shape"),
        ("fab", {"steps": True}, "fab: steps=True: expected a whole number"),
        ("fab", {"eta": 0.5}, "fab: eta=0.5"),
        ("fab", {"eta": np.nan}, "fab: eta=nan"),
        ("fab", {"beta": 1.5}, "fab: beta=1.5: expected a finite number, 0 to 1"),
        ("fab", {"targeted": True, "rank": 1}, "rank=1: expected 2 to 4"),
        ("fab", {"restart": -1}, "fab: restart=-1"),
        ("pgd", {"random_start": "no"}, "random_start='no': expected True or False"),
        ("pgd", {"momentum": "0.5"}, "momentum='0.5': expected a finite number"),
        ("pgd", {"step_size": True}, "step_size=True: expected a number"),
        ("apgd", {"start": np.zeros((B, H, W, C))}, "start leaves the ball"),
        ("apgd", {"threat": attacks.L1((0.1, 0.2))}, "expected one number"),
        ("autoattack", {"version": None}, "version=None: expected one of"),
        ("autoattack", {"version": "best"}, "version='best': expected one of"),
        ("autoattack", {"version": ("apgd",)}, r"\['apgd'\]: expected some of"),
        ("autoattack", {"version": ()}, "expected some of"),
        ("autoattack", {"key": jax.random.split(KEY, 3)}, "3 keys, but a leaf"),
        ("square", {"n_queries": 0}, "square: n_queries=0"),
        ("square", {"initial_share": np.nan}, "initial_share=nan"),
        ("square", {"initial_share": 0.0}, "initial_share=0.0: expected .* to 1"),
        ("deepfool", {"overshoot": np.nan}, "deepfool: overshoot=nan"),
        ("deepfool", {"threat": attacks.L1(0.1)}, "'l1': expected 'l2' or 'linf'; fab"),
        ("carlini_wagner", {"threat": attacks.Linf(0.1)}, "'linf': expected 'l2'; fab"),
        ("carlini_wagner", {"learning_rate": np.inf}, "learning_rate=inf"),
        ("carlini_wagner", {"initial_constant": 0.0}, "initial_constant=0.0: expected"),
        ("carlini_wagner", {"confidence": -1.0}, "confidence=-1.0: expected a finite"),
        ("autoattack", {"n_target_classes": 0}, "target_classes=0: expected 1"),
        ("autoattack", {"batch_size": 0}, "batch_size=0: expected 1"),
        ("autoattack", {"steps": 1.5}, "steps=1.5: expected a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(attacks, name)(**problem(name) | options)


def test_an_unknown_argument_is_named_with_the_nearest():
    with pytest.raises(TypeError, match="pgd: .*'step'.*Did you mean 'steps'"):
        attacks.pgd(**problem(), step=3)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.slow
def test_a_surrounding_program_fails_instead_of_returning_a_result(name):
    run = jax.jit(made(name))
    call = problem(name)
    np.testing.assert_array_equal(run(**call).robust, made(name)(**call).robust)
    for bad, message in (
        (images(lambda x: 255 * x)(call), "leave the bounds"),
        (pixel(np.nan)(call), "not finite"),
        (label(K)(call), "the net has 4 classes"),
        (label(-1)(call), "labels from -1"),
        (ball(eps=-0.1)(call), "not negative"),
        (ball(bounds=(1.0, 0.0))(call), "below the highest"),
        (call | {"logits_fn": Partial(linear, np.full((32, 4), np.nan))}, "NaN or inf"),
    ):
        with pytest.raises(Exception, match=message):
            jax.block_until_ready(run(**bad))


def test_settings_of_a_surrounding_program_have_to_be_known():
    message = "steps is traced by a surrounding jax.jit"
    with pytest.raises(ValueError, match=message):
        jax.jit(attacks.pgd)(**problem(), steps=3)
    with pytest.raises(ValueError, match="is traced by a surrounding"):
        jax.jit(autoattack)(**problem())


ALLOWED = {
    "two classes, one image, bounds -1 to 1": (2, (1, 4, 6, 1), (-1.0, 1.0)),
    "three classes, not square, bounds 0 to 255": (3, (3, 5, 4, 2), (0.0, 255.0)),
    "a bound for each channel": (4, (2, 3, 3, 2), ((0.0, -1.0), (1.0, 3.0))),
}


@pytest.mark.parametrize("name", [*SETTINGS, "autoattack"])
@pytest.mark.parametrize("title", ALLOWED)
def test_what_is_allowed_gives_images_in_the_ball(name, title):
    classes, shape, (low, high) = ALLOWED[title]
    low, high = (np.asarray(x, np.float32) for x in (low, high))
    call = problem(name, classes, shape)
    unit = call["logits_fn"]
    first, width = (jnp.reshape(x, (1, 1, 1, -1)) for x in (low, high - low))
    call["logits_fn"] = lambda x: unit((x - first) / width)
    call["images"] = low + (high - low) * call["images"]
    eps = 0.1 * np.max(high - low)
    if name in BY_CHANNEL and np.ndim(low):
        eps = 0.1 * (high - low)
    threat = call["threat"] = call["threat"].replace(eps=eps, bounds=(low, high))
    result = CALLS[name](**call)
    assert threat.contains(result.images, call["images"]).all()
    correct = attacks.is_correct(call["logits_fn"](result.images), call["labels"])
    np.testing.assert_array_equal(result.robust, correct)


@pytest.mark.parametrize("name", [*SETTINGS, "autoattack"])
def test_labels_keys_and_norms_of_every_kind_mean_the_same(name):
    call = problem(name)
    expected = CALLS[name](**call)
    other = {"l2": 2, "linf": np.inf}[call["threat"].norm]
    kinds = [
        *({"labels": call["labels"].astype(x)} for x in ("u1", "i1", "u8", "i8")),
        {"key": jax.random.PRNGKey(0)},
        {"threat": attacks.ThreatModel(other, EPS)},
        {"threat": attacks.ThreatModel(str(call["threat"].norm).title(), EPS)},
        {"images": jnp.asarray(call["images"]), "labels": jnp.asarray(call["labels"])},
        {"images": call["images"].astype(np.float64)},
    ]
    for kind in kinds:
        result = CALLS[name](**call | kind)
        np.testing.assert_array_equal(result.images, expected.images)


@pytest.mark.parametrize("name", [*SETTINGS, "autoattack"])
@pytest.mark.slow
def test_half_precision_is_computed_in_float32_and_float64_is_kept(name):
    call = problem(name)
    for dtype in (jnp.bfloat16, jnp.float16):
        half = jnp.asarray(call["images"], dtype)
        result = CALLS[name](**call | {"images": half})
        whole = CALLS[name](**call | {"images": half.astype(jnp.float32)})
        assert result.images.dtype == jnp.float32
        np.testing.assert_array_equal(result.images, whole.images)
        assert call["threat"].contains(result.images, half).all()
    with jax.enable_x64(True):
        wide = call | {"images": call["images"].astype(np.float64)}
        weights = jnp.asarray(np.asarray(call["logits_fn"].args[0]), jnp.float64)
        wide["logits_fn"] = Partial(linear, weights)
        assert CALLS[name](**wide).images.dtype == jnp.float64
        assert CALLS[name](**call).images.dtype == jnp.float32  # not the default dtype


@pytest.mark.parametrize(("eps", "norm"), [(8.0, "linf"), (6.0, "l2"), (40.0, "l1")])
def test_an_eps_beyond_all_images_gives_a_warning(eps, norm):
    call = problem() | {"threat": attacks.ThreatModel(norm, eps)}
    with pytest.warns(UserWarning, match=f"did you mean {eps:g}/255"):
        attacks.fgsm(**call)
    half = call | {"threat": attacks.ThreatModel(norm, eps / 8)}
    attacks.fgsm(**half)  # no warning: the tests make an error of one


class Weights:
    """A net as users write it: arrays in attributes, in a global, in a closure."""

    def __init__(self, seed):
        self.value = problem(seed=seed)["logits_fn"].args[0]

    def __call__(self, images):
        return linear(self.value, images)


def closed_over(net):
    return lambda images: net(images)


def argmax(net, call):
    return np.asarray(net(call["images"])).argmax(axis=1)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wrap", [lambda net: net, closed_over])
@pytest.mark.slow
def test_new_weights_are_measured_after_more_training(name, wrap):
    net = Weights(0)
    logits_fn, call = wrap(net), problem(name)
    before = outcome(name, CALLS[name](**call | {"logits_fn": logits_fn}))
    net.value = Weights(1).value
    call |= {"labels": argmax(net, call)}
    after = outcome(name, CALLS[name](**call | {"logits_fn": logits_fn}))
    new = outcome(name, CALLS[name](**call | {"logits_fn": Weights(1)}))
    np.testing.assert_array_equal(after, new)
    if name != "tolerance":  # whose labels are those of the net each time
        assert (np.asarray(before) != np.asarray(after)).any()


def outcome(name, result):
    field = {"clever": "scores", "certify": "counts", "tolerance": "correct"}
    field |= {name: "distance" for name in DISTANCES}
    if name == "audit":
        return [check.value for check in result]
    return getattr(result, field.get(name, "images"))
