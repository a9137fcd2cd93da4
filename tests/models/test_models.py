"""Nets: a contract table, parameter counts by hand, invariance, export."""

import functools
from collections.abc import Mapping
from typing import Any

import chex
import flax
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from symjax import models, nn
from symjax.groups import C4, C

KEY = jax.random.key(0)
CLASSES = 10
ALL = [(name, trunk) for trunk in models.TRUNKS for name in models.MODELS]
MATCHED = [name for name in models.MODELS if name != "equivariant"]
INVARIANCE = {"float32": 1e-5, "bfloat16": 5e-2}
"""Of the logits, relative to the largest: four layers each round some units in the
last place (6e-8 and 4e-3) of other sums when the image turns."""


def small(name, trunk="matched", **options):
    """Four layers, a quarter of the channels."""
    return models.build(name, 4, CLASSES, trunk, **{"width": 0.25} | options)


@functools.cache
def shapes(model, size=32):
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(functools.partial(model.init, train=False), KEY, images)


def trained_like(model, size=16, seed=0):
    """Variables as training leaves them, no mean 0, no variance 1; nothing compiled."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        drawn = rng.normal(size=leaf.shape)
        match path[-1].key:
            case "kernel":
                drawn /= np.sqrt(leaf.size / leaf.shape[-1])
            case "var":
                drawn = np.exp(0.3 * drawn)
            case "scale":
                drawn = 1 + 0.3 * drawn
            case _:
                drawn = 0.3 * drawn
        return drawn.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes(model, size))


def random_images(size=16, batch=2, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(batch, size, size, 3)).astype(np.float32)


def turns(images):
    return np.concatenate([np.rot90(images, g, axes=(1, 2)) for g in range(4)])


def logits_of_turns(model, size):
    """Logits `[4, B, K]` of two images under the four turns."""
    variables = trained_like(model, size)
    logits = jax.jit(lambda f, x: f(x))(
        models.logits_fn(model, variables), turns(random_images(size))
    )
    return np.asarray(logits).reshape(4, 2, CLASSES)


def change(logits):
    """The largest change of logits under turns, relative to the largest logit."""
    return np.max(np.abs(logits - logits[0])) / np.max(np.abs(logits))


@pytest.mark.parametrize(("name", "trunk"), ALL)
def test_contract_four_layers(name, trunk):
    images = random_images()
    chex.clear_trace_counter()
    apply = jax.jit(chex.assert_max_traces(lambda f, x: f(x), n=1))
    outputs = []
    for seed in range(2):
        model = small(name, trunk)  # built anew: an equal net compiles nothing
        f = models.logits_fn(model, trained_like(model, seed=seed))
        outputs.append(apply(f, images))
    for logits in outputs:
        chex.assert_shape(logits, (2, CLASSES))
        chex.assert_type(logits, jnp.float32)
        chex.assert_tree_all_finite(logits)
    alone = apply(f, images[[0, 0]])  # running averages: no image sees the others
    chex.assert_trees_all_close(alone[0], outputs[1][0], atol=1e-5)
    assert np.max(np.abs(outputs[0] - outputs[1])) > 1e-3
    assert np.max(np.abs(outputs[0][0] - outputs[0][1])) > 1e-4


@pytest.mark.parametrize(("name", "trunk"), ALL)
def test_contract_ten_layers_in_bfloat16(name, trunk):
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    model = models.build(name, 10, 100, trunk, dtype="bfloat16")
    init = functools.partial(model.init_with_output, train=True)
    logits, variables = jax.eval_shape(init, KEY, images)
    chex.assert_shape(logits, (2, 100))
    for leaf in (logits, *jax.tree.leaves(variables)):
        assert leaf.dtype == jnp.float32


def plain(*channels):
    """Parameters of 3x3 convolutions with batch norm, from one width to the next."""
    pairs = zip(channels, channels[1:], strict=False)
    return sum(9 * a * b + 2 * b for a, b in pairs)


def group(*fields, functions=9, order=4):
    """The same on a group: a kernel over its elements, the norm shared."""
    weights = functions * order
    pairs = zip(fields, fields[1:], strict=False)
    return sum(weights * a * b + 2 * b for a, b in pairs)


def dense(features):
    return 10 * features + 10


STANDARD = plain(3, 16)
LIFTED = plain(3, 16)  # 16 fields store what 16 channels do
STEERABLE = 6  # functions of 3x3 pixels: the middle, and a ring up to frequency 2
LIFTED_WITHOUT_NORM = STEERABLE * 3 * 16 + 16
MATCHED_10 = plain(32, 32, 64, 64, 128, 128, *[256] * 4) + dense(256)
BY_HAND = {
    ("baseline", "matched"): plain(3, 32) + MATCHED_10,
    ("parallel_rot", "matched"): STANDARD + LIFTED + (80 * 32 + 64) + MATCHED_10,
    ("parallel_scale", "matched"): (
        STANDARD + (9 * 3 * 16 + 2 * 48) + (64 * 32 + 64) + MATCHED_10
    ),
    ("parallel_rs", "matched"): (
        STANDARD + LIFTED + (9 * 3 * 16 + 2 * 48) + (128 * 32 + 64) + MATCHED_10
    ),
    ("weighted", "matched"): (
        STANDARD
        + (LIFTED + 64 * 16 + 16)
        + (9 * 3 * 16 + 2 * 48 + 48 * 16 + 16)
        + 3
        + (16 * 32 + 64)
        + MATCHED_10
    ),
    ("cascaded", "matched"): (
        STANDARD + plain(16, 16) + (9 * 16 * 16 + 2 * 48) + (48 * 32 + 64) + MATCHED_10
    ),
    ("equivariant", "matched"): (
        plain(3, 16) + group(16, 16, 32, 32, 64, 64, *[128] * 4) + dense(128)
    ),
    ("baseline", "published"): (
        plain(3, 16, 32, 32, 64, 64, 128, 128, 256, 256, 256) + dense(256)
    ),
    ("parallel_rot", "published"): (
        STANDARD
        + LIFTED_WITHOUT_NORM
        + plain(80, 32, 32, 64, 64, 128, 128, 256, 256, 512)
        + dense(512)
    ),
    ("parallel_rs", "published"): (
        STANDARD
        + LIFTED_WITHOUT_NORM
        + 3 * plain(3, 16)
        + (192 * 32 + 64)  # C8
        + plain(32, 32, 32, 64, 128, 128, 256, 256, 512)
        + dense(512)
    ),
    ("weighted", "published"): (
        STANDARD
        + (LIFTED_WITHOUT_NORM + 64 * 16 + 16)
        + 2
        + plain(16, 32, 32, 64, 128, 256, 256, 512, 512)
        + dense(512)
    ),
    ("cascaded", "published"): (
        plain(3, 64)
        + (STEERABLE * 4 * 16 * 16 + 16)
        + plain(64, 64, 128, 128, 256, 256, 512, 512)
        + dense(512)
    ),
    ("equivariant", "published"): (
        (STEERABLE * 3 * 16 + 2 * 16)
        + group(16, 32, 32, 64, 64, 64, 128, 128, 128, 256, functions=6, order=8)
        + dense(256 * 8)
    ),
}


@pytest.mark.parametrize(("name", "trunk"), BY_HAND)
def test_parameter_counts_follow_from_the_channel_table(name, trunk):
    model = models.build(name, 10, CLASSES, trunk)
    assert models.parameter_count(model, (32, 32, 3)) == BY_HAND[name, trunk]


@pytest.mark.parametrize("depth", models.DEPTHS)
def test_matched_nets_differ_in_their_first_layer_alone(depth):
    def trunk(name):
        params = shapes(models.build(name, depth, CLASSES))["params"]
        keys = [k for k in params if k.startswith("block_") or k == "head"]
        assert len(keys) < len(params)
        return {key: params[key] for key in keys}

    expected = trunk("baseline")
    assert len(expected) == depth  # the first layer's block, not the dense layer
    for name in MATCHED:
        chex.assert_trees_all_equal_shapes_and_dtypes(trunk(name), expected)


@pytest.mark.parametrize(
    ("size", "dtype"), [(16, "float32"), (15, "float32"), (16, "bfloat16")]
)
def test_equivariant_logits_do_not_change_when_the_image_turns(size, dtype):
    logits = logits_of_turns(small("equivariant", dtype=dtype), size)
    assert change(logits) < INVARIANCE[dtype]
    assert np.ptp(logits[0], axis=0).max() > INVARIANCE[dtype]  # images differ


@pytest.mark.parametrize(
    ("name", "options"),
    [("equivariant", {"readout": "flatten"}), ("baseline", {})],
    ids=["flatten", "baseline"],
)
def test_other_logits_change_when_the_image_turns(name, options):
    assert change(logits_of_turns(small(name, **options), 16)) > 1e-2


@pytest.mark.slow
def test_all_ten_blocks_of_the_published_equivariant_net_commute_with_p4():
    """It is on C8, which contains P4; its logits are not invariant."""
    model = models.build("equivariant", 10, CLASSES, "published", width=1 / 8)
    variables = jax.tree.map(
        lambda leaf: 3 * leaf if leaf.ndim > 2 else leaf, trained_like(model)
    )  # kernels that do not let ten layers fade
    layers_fn = models.layers_fn(model, variables)
    images = random_images()
    found = jax.jit(lambda f, x: f(x))(layers_fn, turns(images))
    blocks = {name: x for name, x in found.items() if name.startswith("block_")}
    assert len(blocks) == 10 and model.group == C(8)
    for name, field in blocks.items():
        field = np.asarray(field).reshape(4, len(images), *field.shape[1:])
        for quarters in range(4):
            expected = model.group.act_on_field(2 * quarters, field[0])
            error = np.abs(field[quarters] - expected).max() / np.abs(field).max()
            assert error < 1e-5, name
        assert np.ptp(field, axis=4).max() > 0.1 * field.max()  # elements differ
    logits = np.asarray(found["head"]).reshape(4, len(images), -1)
    assert change(logits) > 1e-2


def test_flatten_is_the_readout_of_the_published_trunk():
    def readout(trunk, **options):
        return models.build("equivariant", 10, CLASSES, trunk, **options).readout

    assert readout("matched") == "invariant"
    assert readout("matched", readout="flatten") == "flatten"
    assert readout("published") == "flatten"
    assert readout("published", readout="invariant") == "invariant"


def test_equivariant_net_exported_as_stock_layers():
    model = small("equivariant", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    variables = trained_like(model)

    def tiled(values):
        return jax.tree.map(lambda leaf: jnp.tile(leaf, 4), values)

    def stock(variables, images):
        params, stats = variables["params"], variables["batch_stats"]
        x = images
        for index, item in enumerate("16 P 32 P 64 P 128".split()):
            if item == "P":
                x = linen.max_pool(x, (2, 2), (2, 2))
                continue
            name, fields = f"block_{index}", int(item) // 4
            make = nn.GroupConv if index else nn.LiftingConv
            plain = make(fields, group=C4).expand(params[name]["conv"])
            conv = linen.Conv(4 * fields, (3, 3), use_bias=False)
            x = conv.apply({"params": plain}, x)
            x = linen.BatchNorm(use_running_average=True).apply(
                {
                    "params": tiled(params[name]["norm"]),
                    "batch_stats": tiled(stats[name]["norm"]),
                },
                x,
            )
            x = linen.relu(x)
        pooled = jnp.max(x.reshape(*x.shape[:3], 4, -1), axis=(1, 2, 3))
        return linen.Dense(CLASSES).apply({"params": params["head"]}, pooled)

    images = random_images()
    mean, std = np.float32(model.mean), np.float32(model.std)
    exported = jax.jit(stock)(variables, (images - mean) / std)
    logits = jax.jit(model.apply)(variables, images)
    chex.assert_trees_all_close(logits, exported, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "trunk"),
    [
        ("weighted", "matched"),
        ("equivariant", "matched"),
        ("parallel_rs", "published"),
        ("cascaded", "published"),
    ],
)
def test_lowering_reaches_every_convolution(name, trunk):
    def primitives(lowering):
        model = small(name, trunk, lowering=lowering)
        images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
        program = str(jax.make_jaxpr(model.apply)(shapes(model, 16), images))
        convolutions = program.count("conv_general_dilated[")
        return convolutions, program.count("dot_general[") - convolutions

    conv, conv_rest = primitives("conv")
    patches, patches_rest = primitives("patches")
    assert conv >= 4
    assert patches == 0
    assert patches_rest - conv_rest == 2 * conv  # each is a matmul instead


def test_normalisation_is_the_first_step():
    images = random_images()
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    options = {"width": 0.1}
    model = small("baseline", **options, mean=mean, std=std)
    plain = small("baseline", **options, mean=(0.0,), std=(1.0,))
    variables = trained_like(model)
    normalised = (images - np.float32(mean)) / np.float32(std)
    chex.assert_trees_all_close(
        jax.jit(model.apply)(variables, images),
        jax.jit(plain.apply)(variables, normalised),
        atol=1e-5,
    )


def test_logits_fn_is_compared_by_the_value_of_its_net():
    variables = trained_like(small("baseline"))
    images = random_images()
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def total(f, images):
        return jax.tree_util.tree_reduce(lambda a, b: a + jnp.sum(b), f, 0.0)

    total(models.logits_fn(small("baseline"), variables), images)
    total(models.logits_fn(small("baseline"), variables), images)
    with pytest.raises(AssertionError, match="traced > 1 times"):
        total(models.logits_fn(small("baseline", mean=(0.0,)), variables), images)


@pytest.mark.parametrize(
    ("name", "trunk", "depth", "size"),
    [
        ("baseline", "matched", 4, 7),
        ("parallel_rs", "matched", 4, 6),
        ("equivariant", "matched", 10, 4),
        ("baseline", "published", 10, 16),
    ],
)
def test_image_too_small_for_the_pools(name, trunk, depth, size):
    model = models.build(name, depth, CLASSES, trunk)
    with pytest.raises(ValueError, match="1x1 pixels: expected 2x2.*larger images"):
        shapes(model, size)


@pytest.mark.parametrize("size", [8, 9, 15])
def test_three_pools_need_eight_pixels(size):
    head = shapes(small("equivariant"), size)["params"]["head"]
    assert head["kernel"].shape == (32, CLASSES)


def test_width_multiplies_the_channels():
    params = shapes(small("parallel_rs", width=0.5))["params"]
    chex.assert_shape(params["standard"]["conv"]["kernel"], (3, 3, 3, 8))
    chex.assert_shape(params["rotation"]["conv"]["kernel"], (3, 3, 3, 8))
    chex.assert_shape(params["scale"]["conv"]["conv"]["kernel"], (3, 3, 3, 8))
    chex.assert_shape(params["fusion"]["conv"]["kernel"], (1, 1, 64, 16))
    chex.assert_shape(params["head"]["kernel"], (128, CLASSES))


def test_order_of_the_cascade_changes_the_layers():
    turned = small("cascaded", order=("rotation", "standard", "scale"), width=1.0)
    plain = small("cascaded", width=1.0)
    explicit = small("cascaded", order=("standard", "rotation", "scale"), width=1.0)
    kernel = lambda model: {  # noqa: E731
        name: shapes(model)["params"][name]["conv"]["kernel"].shape
        for name in ("standard", "rotation")
    }
    first, second = (3, 3, 3, 16), (3, 3, 16, 16)  # the rotation layer is pooled
    assert kernel(plain) == {"standard": first, "rotation": second}
    assert kernel(turned) == {"standard": second, "rotation": first}
    assert explicit == plain != turned


@pytest.mark.parametrize("group", ["C1", "C2"])
def test_group_of_the_rotation_layers(group):
    params = shapes(small("equivariant", group=group))["params"]
    axis = {"C1": (), "C2": (2,)}[group]
    chex.assert_shape(params["block_2"]["conv"]["kernel"], (3, 3, *axis, 4, 8))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": "parallel_rss"}, "'parallel_rss'.*Did you mean 'parallel_rs'"),
        ({"trunk": "publihsed"}, "trunk.*Did you mean 'published'"),
        ({"depth": 5}, r"depth 5: expected one of \[4, 10\]"),
        ({"group": "S4"}, "group 'S4': expected C or D.*C8"),
        ({"group": "C8", "basis": "full"}, "C8 does not map pixels.*subgroup C4"),
        ({"basis": "steerabel"}, "basis 'steerabel'.*Did you mean 'steerable'"),
        ({"dtype": "float16"}, "dtype 'float16'.*'bfloat16'"),
        ({"lowering": "fft"}, "lowering 'fft'"),
        ({"width": 0.0}, "width=0.0: expected a factor above 0"),
        ({"mean": (0.5, 0.5)}, "mean=.* 2 values .* 3 channels"),
        ({"readout": "flatten"}, "readout='flatten' is for the equivariant.*baseline"),
        ({"name": "equivariant", "readout": "max"}, "readout 'max'.*'invariant'"),
        ({"order": ("scale",)}, "order=.*matched cascaded net, not matched baseline"),
        (
            {"name": "cascaded", "trunk": "published", "order": ("scale",)},
            "not published cascaded",
        ),
        ({"name": "cascaded", "order": ("standard", "shear")}, "'shear'.*'rotation'"),
        ({"name": "cascaded", "order": ("scale",) * 2}, "every layer at most once"),
        (
            {"name": "cascaded", "trunk": "published", "width": 0.3},
            "width=0.3.*multiple of",
        ),
    ],
    ids=str,
)
def test_errors_name_the_way_out(options, match):
    with pytest.raises(ValueError, match=match):
        net = {"name": "baseline", "depth": 4, "classes": CLASSES} | options
        shapes(models.build(**net), 16)


def test_images_must_have_rank_four():
    with pytest.raises(ValueError, match=r"\[B, H, W, C\], got \(16, 16, 3\)"):
        jax.eval_shape(small("baseline").init, KEY, jnp.zeros((16, 16, 3)))


class Stock(linen.Module):
    """Parameters of given shapes by given names, as Flax's own layers start them."""

    tree: Any

    @linen.compact
    def __call__(self):
        for name, leaf in sorted(self.tree.items(), reverse=True):  # kernels first
            if isinstance(leaf, Mapping):
                Stock(leaf, name=name)()
                continue
            kernel, ones = linen.initializers.lecun_normal(), linen.initializers.ones
            init = {"kernel": kernel, "scale": ones}.get(name, linen.initializers.zeros)
            self.param(name, init, leaf.shape)


@pytest.mark.parametrize("options", [{}, {"group": "C8"}], ids=["C4", "C8"])
@pytest.mark.slow
def test_matched_nets_start_as_stock_layers_bit_for_bit(options):
    for name in ("parallel_rs", "weighted", "equivariant"):
        model = small(name, **options)
        tree = flax.core.freeze(shapes(model)["params"])
        expected = jax.jit(Stock(tree).init)(KEY)["params"]
        found = jax.jit(model.init)(KEY, jnp.zeros((1, 32, 32, 3)))["params"]
        chex.assert_trees_all_equal(found, expected)


@pytest.mark.parametrize("name", models.MODELS)
def test_published_nets_start_as_those_of_pytorch_and_e2cnn(name):
    """Standard layers uniform in +-1 / sqrt(fan_in); rotation layers are
    `test_e2cnn.py`'s; no bias of theirs, norms 1 and 0."""
    model = models.build(name, 4, CLASSES, "published")
    params = jax.jit(model.init)(KEY, jnp.zeros((1, 8, 8, 3)))["params"]
    uniform = 0
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        names, values = [key.key for key in path], np.asarray(leaf).ravel()
        if names[-1] == "scale" or "norm" in names or names[0] == "weights":
            assert np.ptp(values) == 0
        elif names[0] == "rotation" or (name == "equivariant" and names[0] != "head"):
            layer = f"{model.group} 3 {'lifting' if leaf.ndim < 4 else 'group'}"
            assert names[-1] == "kernel" or not values.any(), layer
        else:
            owner = params[names[0]] if names[0] == "head" else params[names[0]]["conv"]
            bound = 1 / np.sqrt(np.prod(owner["kernel"].shape[:-1]))
            assert np.abs(values).max() <= bound
            kolmogorov = scipy.stats.kstest(values, "uniform", (-bound, 2 * bound))
            assert kolmogorov.pvalue > 1e-4, names
            uniform += 1
    assert uniform >= (2 if name == "equivariant" else 6)


def test_published_rotation_layers_have_the_scale_of_e2cnn():
    layers = {
        (name, trunk): models.build(name, 10, 10, trunk, basis="steerable", group="C8")
        for name in ("parallel_rs", "equivariant", "cascaded")
        for trunk in models.TRUNKS
    }
    for (_, trunk), model in layers.items():
        for make in (nn.LiftingConv, nn.GroupConv):
            assert model.bind_group(make)(1).as_e2cnn == (trunk == "published")
    full = models.build("parallel_rot", 10, 10, "published", basis="full")
    assert not full.bind_group(nn.LiftingConv)(1).as_e2cnn


def test_train_mode_uses_the_batch_and_moves_the_averages():
    """Published nets average the unbiased variance."""
    found = {}
    for trunk in models.TRUNKS:
        model = small("baseline", trunk, mean=(0.0,), std=(1.0,))
        variables = trained_like(model, size=8)
        _, stats = jax.jit(lambda f, x: f(x))(
            models.training_fn(model, variables), random_images(8)
        )
        kernel = variables["params"]["standard"]["conv"]["kernel"]
        conv = linen.Conv(kernel.shape[-1], (3, 3), use_bias=False)
        first = conv.apply({"params": {"kernel": kernel}}, random_images(8))
        first = np.asarray(first, float)
        mean, variance = (f(first, axis=(0, 1, 2)) for f in (np.mean, np.var))
        old = variables["batch_stats"]["standard"]["norm"]
        new = stats["standard"]["norm"]
        expected = 0.9 * old["mean"] + 0.1 * mean
        np.testing.assert_allclose(new["mean"], expected, atol=1e-5)
        moved = new["var"] - 0.9 * old["var"]
        found[trunk] = np.mean(moved / (0.1 * variance))
    assert found["matched"] == pytest.approx(1, abs=1e-5)
    assert found["published"] == pytest.approx(128 / 127, abs=1e-5)  # 2 x 8 x 8
