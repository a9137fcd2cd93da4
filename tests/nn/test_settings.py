"""What layers are given: names of groups, empty batches, settings that cannot be."""

import functools
import itertools
import re

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import models, nn
from symjax.groups import C2, C4, C8, D4, as_group
from symjax.nn import settings
from symjax.nn.convolution import LOWERINGS
from symjax.nn.exactness import ExactnessError

KEY = jax.random.key(0)
GROUPS = (C2, C4, C8, D4)
POOLS = (nn.max_pool, nn.avg_pool, nn.blur_pool, nn.antialiased_max_pool)
IMAGES, FIELD = (2, 6, 6, 3), (2, 6, 6, 4, 3)
WHOLE = ([], 0, -1, 1.5, True, "3", None, (1, 2, 3), (1,), (0, 3), [[1, 2], [3, 4]])


def shape_of(function, shape, dtype=jnp.float32):
    """Of the outputs, by tracing alone."""
    x = jax.ShapeDtypeStruct(shape, dtype)
    if isinstance(function, linen.Module):
        return jax.eval_shape(function.init_with_output, KEY, x)[0].shape
    return jax.eval_shape(function, x).shape


# Names of groups


@pytest.mark.parametrize("name", ["C4", "c4", "D4", "d4", "C2", "C8"])
def test_a_group_has_a_name_everywhere(name):
    group = as_group(name)
    assert as_group(group) is group and str(group) == name.upper()
    assert nn.LiftingConv(4, group=name) == nn.LiftingConv(4, group=group)
    assert nn.GroupConv(4, group=name) == nn.GroupConv(4, group=group)
    assert nn.LiftingConv(4, group=name).group == group
    field = (1, 6, 6, group.order, 2)
    for pool in (nn.max_pool, nn.avg_pool):
        assert shape_of(lambda x, pool=pool: pool(x, group=name), field)[1] == 3
    for pool, sizes in ((nn.blur_pool, (7, 7)), (nn.antialiased_max_pool, (6, 6))):
        shape = (1, *sizes, group.order, 2)
        assert shape_of(lambda x, pool=pool: pool(x, group=name), shape)
    net = models.build("equivariant", 4, 10, group=name)
    assert net.group == group == net.clone(group=name).group


@pytest.mark.parametrize("wrong", ["C0", "E4", "", "C4x", "SO2", 4, 4.0, ["C4"]])
def test_what_is_no_group_is_refused(wrong):
    for make in (
        lambda: nn.LiftingConv(4, group=wrong),
        lambda: nn.max_pool(jnp.zeros(IMAGES), group=wrong),
        lambda: nn.blur_pool(jnp.zeros(IMAGES), 2, group=wrong),
        lambda: models.Baseline(trunk="4", classes=3, group=wrong),
    ):
        with pytest.raises(ValueError, match="group.*expected"):
            make()


# Empty batches


@pytest.mark.slow
def test_no_images_give_no_outputs_and_no_gradient():
    """The shapes are those of more images, as in Flax."""
    kinds = {
        "conv": (nn.Conv, IMAGES, {}),
        "strided": (nn.Conv, IMAGES, {"strides": 2, "padding": "VALID"}),
        "many": (nn.Conv, (2, 4, 4, 128), {"features": 128}),  # winograd
        "lifting": (nn.LiftingConv, IMAGES, {}),
        "steerable": (nn.LiftingConv, IMAGES, {"group": "C8"}),
        "group": (nn.GroupConv, FIELD, {}),
        "trivial": (nn.GroupConv, FIELD, {"outputs": C4.trivial}),
        "scale": (nn.ScaleConv, IMAGES, {}),
        "scales": (nn.ScaleConv, (2, 6, 6, 9), {"shared": False, "aggregate": "mean"}),
        "weighted": (nn.ScaleConv, IMAGES, {"aggregate": "weighted"}),
    }
    for (name, kind), lowering in itertools.product(kinds.items(), LOWERINGS):
        layer, shape, options = kind
        layer = layer(**{"features": 5} | options, lowering=lowering)
        params = jax.eval_shape(layer.init, KEY, jnp.zeros(shape))
        some = jax.eval_shape(layer.apply, params, jnp.zeros(shape))
        none = jax.eval_shape(layer.apply, params, jnp.zeros((0, *shape[1:])))
        assert none.shape == (0, *some.shape[1:]), (name, lowering)
        jax.eval_shape(
            jax.grad(lambda p, x, layer=layer: layer.apply(p, x).sum()),
            params,
            jnp.zeros((0, *shape[1:])),
        )
    flax = linen.Conv(5, (3, 3))
    params = flax.init(KEY, jnp.zeros(IMAGES))
    assert flax.apply(params, jnp.zeros((0, *IMAGES[1:]))).shape == (0, 6, 6, 5)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_no_images_are_computed(lowering):
    """Not only traced: an empty batch through the program, and zero gradients."""
    layer = nn.LiftingConv(2, lowering=lowering)
    params = layer.init(KEY, jnp.zeros((1, 4, 4, 9)))
    none = jnp.zeros((0, 4, 4, 9))

    @jax.jit
    def run(params):
        def total(params):
            outputs = layer.apply(params, none)
            return outputs.sum(), outputs

        return jax.value_and_grad(total, has_aux=True)(params)

    (_, outputs), gradients = run(params)
    assert outputs.shape == (0, 4, 4, 4, 2)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_no_images_through_pools_norms_and_nets():
    pools = {
        "max": lambda x: nn.max_pool(x, group="C4"),
        "overlapping": lambda x: nn.max_pool(x, 4, 2, 1, group="C4"),
        "avg": lambda x: nn.avg_pool(x, group="C4"),
        "blur": lambda x: nn.blur_pool(x, 2, group="C4"),
        "antialiased": lambda x: nn.antialiased_max_pool(x, group="C4"),
        "group": nn.GroupPool(),
        "cosets": nn.GroupPool("mean", C4.subgroup(2)),
        "layer norm": nn.LayerNorm(),
        "instance norm": nn.InstanceNorm(),
        "concatenate": lambda x: nn.concatenate([x, x]),
        "sum": lambda x: nn.WeightedSum().init_with_output(KEY, [x, x])[0],
        "resize": lambda x: nn.resize(x[..., 0, :], (9, 4)),
        "restrict": C4.subgroup(2).restrict,
    }
    for name, pool in pools.items():
        some, none = (shape_of(pool, (count, *FIELD[1:])) for count in (2, 0))
        assert none == (0, *some[1:]), name
    for lowering in LOWERINGS:
        norm = nn.BatchNorm(lowering=lowering)
        variables = norm.init(KEY, jnp.zeros(FIELD), train=True)
        none = jnp.zeros((0, *FIELD[1:]))
        assert norm.apply(variables, none, train=False).shape == none.shape
        with pytest.raises(ValueError, match="at least one image where train=True"):
            norm.apply(variables, none, train=True, mutable=["batch_stats"])
    for name in models.MODELS:
        net = models.build(name, 4, 10, width=0.1)
        variables = jax.eval_shape(net.init, KEY, jnp.zeros((1, 16, 16, 3)))
        none = jax.eval_shape(net.apply, variables, jnp.zeros((0, 16, 16, 3)))
        assert none.shape == (0, 10), name


# Settings that cannot be


PADDINGS = (-1, 1.5, "same", (1, 1), ((1, 1),), ((1,), (1, 1)), ((-1, 0), (0, 0)))
OF_LAYERS = {
    **dict.fromkeys(("kernel_size", "strides", "features"), WHOLE),
    "padding": PADDINGS,
    "lowering": ("fft", None),
    "dtype": ("int32", "float3"),
    "param_dtype": (bool,),
}
OF_POOLS = {"window": WHOLE, "strides": WHOLE, "padding": (-1, 2)}
OF_BLURS = {"window": (0, -1, 1.5, (2, 2), None), "strides": [(1, 2, 3)]}
LAYERS = [nn.Conv, nn.LiftingConv, nn.GroupConv, nn.ScaleConv]
NUMBERS = {"momentum": (1.5, None), "epsilon": (-1.0, np.nan)}
CALLS = [
    *((layer.__name__, functools.partial(layer, features=4)) for layer in LAYERS),
    *((pool.__name__, functools.partial(pool, jnp.zeros(IMAGES))) for pool in POOLS),
    ("BatchNorm", lambda **x: nn.BatchNorm(**x).init(KEY, jnp.zeros(IMAGES), False)),
    ("LayerNorm", lambda **x: nn.LayerNorm(**x).init(KEY, jnp.zeros(IMAGES))),
    ("InstanceNorm", lambda **x: nn.InstanceNorm(**x).init(KEY, jnp.zeros(IMAGES))),
]
WRONG = {
    **{layer.__name__: OF_LAYERS for layer in LAYERS},
    **dict.fromkeys(("max_pool", "avg_pool"), OF_POOLS),
    "blur_pool": OF_BLURS,
    "antialiased_max_pool": OF_BLURS | {"blur": OF_BLURS["window"]},
    "BatchNorm": NUMBERS | {"lowering": ("fft",), "dtype": ("int32",)},
    **dict.fromkeys(("LayerNorm", "InstanceNorm"), {"epsilon": (-1.0,)}),
}


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_settings_that_cannot_be_are_a_sentence(name, call):
    for setting, values in WRONG[name].items():
        for wrong in values:
            message = "expected less than" if wrong == 2 else f"{setting}=.*expected"
            with pytest.raises(ValueError, match=f"{name}: .*{message}"):
                call(**{setting: wrong})


@pytest.mark.parametrize("layer", LAYERS)
def test_sizes_are_given_in_several_ways(layer):
    for good in (3, (3, 3), [3, 3], np.int64(3), np.array([3, 3])):
        shape = FIELD if layer is nn.GroupConv else IMAGES
        assert shape_of(layer(4, good), shape)[1:3] == (6, 6)
    assert settings.padding("", [(0, 1), [2, np.int64(3)]]) == ((0, 1), (2, 3))
    assert settings.padding("", np.array([[0, 1], [2, 3]])) == ((0, 1), (2, 3))


ON_IMAGES = {
    "Conv": nn.Conv(4),
    "LiftingConv": nn.LiftingConv(4),
    "ScaleConv": nn.ScaleConv(4),
    **{pool.__name__: pool for pool in POOLS},
    "LayerNorm": nn.LayerNorm(),
    "InstanceNorm": nn.InstanceNorm(),
    "concatenate": lambda x: nn.concatenate([x]),
    "resize": lambda x: nn.resize(x, (4, 4)),
    "convolve": lambda x: nn.convolve(x, jnp.zeros((3, 3, 3, 4))),
}


@pytest.mark.parametrize("name", ON_IMAGES)
def test_inputs_that_cannot_be_are_a_sentence(name):
    layer = ON_IMAGES[name]
    for shape in ((6, 6, 3), (6,), (1, 1, 6, 6, 4, 3)):
        with pytest.raises(ValueError, match=r"expected.*\[B, H, W, C\].*got"):
            shape_of(layer, shape)
    for dtype in ("uint8", "int32", "bool"):
        with pytest.raises(ValueError, match=f"{dtype}.*floating point.*to_unit"):
            shape_of(layer, IMAGES, dtype)
    for shape in ((1, 0, 6, 3), (1, 6, 6, 0)):
        with pytest.raises(ValueError, match="axis of length 0"):
            shape_of(layer, shape)


def test_other_inputs_that_cannot_be_are_a_sentence():
    for shape in ((1, 6, 6, 3), (6, 6, 4, 3)):
        with pytest.raises(ValueError, match="got"):
            shape_of(nn.GroupConv(4), shape)
    for layer in (nn.GroupConv(4), nn.GroupPool()):
        with pytest.raises(ValueError, match="uint8.*floating point"):
            shape_of(layer, FIELD, "uint8")
    with pytest.raises(ValueError, match="to='C2'.*expected cosets"):
        nn.GroupPool(to="C2")(jnp.zeros(FIELD))
    with pytest.raises(ValueError, match="outputs='C4'.*expected cosets"):
        shape_of(nn.GroupConv(4, outputs="C4"), FIELD)
    with pytest.raises(ValueError, match="int32.*floating point"):
        nn.WeightedSum().init(KEY, [jnp.zeros(IMAGES, int)])
    for sizes in (0, (4, -1), (4, 4, 4), 2.5):
        with pytest.raises(ValueError, match="resize: sizes=.*expected"):
            nn.resize(jnp.zeros(IMAGES), sizes)
    for scales in (0.5, (), (0.0,), (np.nan,), (np.inf,), ("1",), None):
        with pytest.raises(ValueError, match="scales=.*expected"):
            shape_of(nn.ScaleConv(4, scales=scales), IMAGES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": 0},
        {"classes": -1},
        {"classes": 2.5},
        {"classes": "10"},
        {"width": -1.0},
        {"width": np.nan},
        {"width": np.inf},
        {"width": "1"},
        {"std": (0.0,)},
        {"std": 0.5},
        {"mean": ()},
        {"mean": "x"},
        {"order": "rotaton", "name": "cascaded"},
        {"depth": "4"},
        {"group": 8},
        {"name": None},
    ],
    ids=str,
)
def test_nets_that_cannot_be_are_a_sentence(wrong):
    good = {"name": "baseline", "depth": 4, "classes": 10}
    with pytest.raises(ValueError, match="expected|give"):
        models.build(**good | wrong)


# Half precision and float64


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_floating_inputs_of_every_width_are_taken(dtype):
    """With float32 parameters the outputs are as in Flax."""
    expected = jax.eval_shape(
        linen.Conv(4, (3, 3)).init_with_output, KEY, jnp.zeros(IMAGES, dtype)
    )[0].dtype
    for layer in (nn.Conv(4), nn.LiftingConv(4), nn.ScaleConv(4)):
        images = jax.ShapeDtypeStruct(IMAGES, dtype)
        assert jax.eval_shape(layer.init_with_output, KEY, images)[0].dtype == expected
    for pool in POOLS:
        assert jax.eval_shape(pool, images).dtype == dtype


def test_float64_stays():
    with jax.enable_x64(True):
        images = jax.ShapeDtypeStruct(IMAGES, jnp.float64)
        for layer in (nn.Conv(4), nn.LiftingConv(4), nn.ScaleConv(4)):
            found = jax.eval_shape(layer.init_with_output, KEY, images)[0]
            assert found.dtype == jnp.float64
        for pool in POOLS:
            assert jax.eval_shape(pool, images).dtype == jnp.float64


# The advice of the guard

CONVOLUTION = re.compile(
    r"\((\d+), \1\), strides \((\d+), \2\) and padding=(\d+)(?: on (\d+)x(\d+) pixels)?"
)
BLUR = re.compile(
    r"For example (?:(?:window|blur)=(\d+) and )?strides=(\d+)"
    r"(?: on (\d+)x(\d+) pixels)? is exact"
)


def followed(error, pattern, sizes):
    """The numbers that an error names, and the sizes; the own ones if it names none."""
    found = list(pattern.finditer(str(error)))
    assert found, error
    *numbers, height, width = found[0].groups()
    sizes = (int(height), int(width)) if height else sizes
    return [None if x is None else int(x) for x in numbers], sizes


@pytest.mark.parametrize("kind", ["lifting", "group", "max", "avg"])
@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_a_layer_takes_what_its_error_names(kind, group):
    refused = 0
    axis = (group.order,) if kind == "group" else ()
    for kernel, stride, padding, sizes in itertools.product(
        (1, 2, 3, 4, (3, 5)), (1, 2, 3), ("SAME", "VALID", 1), ((4, 4), (7, 7), (6, 8))
    ):

        def call(kernel, stride, padding, sizes):
            shape = (1, *sizes, *axis, 2)
            options = {"strides": stride, "padding": padding, "group": group}
            if kind in ("max", "avg"):
                pool = {"max": nn.max_pool, "avg": nn.avg_pool}[kind]
                return shape_of(lambda x: pool(x, kernel, **options), shape)
            layer = {"lifting": nn.LiftingConv, "group": nn.GroupConv}[kind]
            return shape_of(layer(1, kernel, **options), shape)

        try:
            call(kernel, stride, padding, sizes)
        except ValueError as error:
            if "does not fit" in str(error) or "only padding" in str(error):
                continue
            refused += 1
            if "Stride 1 with a square odd kernel and 'SAME'" in str(error):
                call(3, 1, "SAME", sizes)
                continue
            (k, s, p), sizes = followed(error, CONVOLUTION, sizes)
            call(k, s, p, sizes)
    assert refused > 20


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_a_blur_takes_what_its_error_names(antialiased, group):
    refused = 0
    for blur, window, stride, sizes in itertools.product(
        (1, 2, 3, 4, 5),
        (2, 3) if antialiased else (0,),
        (1, 2, 3),
        ((6, 6), (7, 7), (6, 8), (6, 9)),
    ):

        def call(blur, stride, sizes, window=window):
            def pool(x):
                if antialiased:
                    return nn.antialiased_max_pool(x, window, stride, blur, group)
                return nn.blur_pool(x, blur, stride, group)

            return shape_of(pool, (1, *sizes, 2))

        try:
            call(blur, stride, sizes)
        except ExactnessError as error:
            refused += 1
            (k, s), sizes = followed(error, BLUR, sizes)
            call(k or blur, s, sizes)
    assert refused > 10


@pytest.mark.parametrize(
    ("basis", "group"), [("full", "C8"), ("steerable", "C4"), ("interpolated", "C8")]
)
@pytest.mark.parametrize("exact", [True, False])
def test_a_layer_takes_the_kernel_that_its_basis_names(basis, group, exact):
    for kernel, stride, sizes in itertools.product(
        (2, 4, (3, 5)), (1, 2), ((8, 8), (7, 7), (6, 8))
    ):
        options = {"strides": stride, "basis": basis, "group": group, "exact": exact}
        with pytest.raises(ValueError) as error:
            shape_of(nn.LiftingConv(1, kernel, **options), (1, *sizes, 2))
        choices = str(error.value).split(", or its subgroup ")
        for text in choices:
            (k, s, p), new = followed(text, CONVOLUTION, sizes)
            if len(choices) == 2:
                of_c4 = text.startswith("C4 ")
                options |= {"basis": "full" if of_c4 else "steerable"}
                options |= {"group": "C4" if of_c4 else group}
            layer = nn.LiftingConv(1, k, padding=p, **options | {"strides": s})
            assert shape_of(layer, (1, *new, 2))
