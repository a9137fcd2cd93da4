"""Exactness: the rule against hand-known cases and against measured errors."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import nn
from symjax.groups import C1, C2, C4
from symjax.nn import audit, exactness
from symjax.nn.exactness import ExactnessError, is_exact, pair, resolve_padding

KEY = jax.random.key(0)


def rule(size, kernel, stride, padding, group=C4):
    sizes, kernel, strides = pair(size), pair(kernel), pair(stride)
    pads = resolve_padding(padding, sizes, kernel, strides)
    return is_exact(group, sizes, kernel, strides, pads)


def output_shape(layer, shape):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    if isinstance(layer, nn.Conv):
        return jax.eval_shape(layer.init_with_output, KEY, images)[0].shape
    return jax.eval_shape(layer, images).shape


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "exact"),
    [
        (8, 3, 1, "SAME", True),
        (8, 3, 2, "SAME", False),
        (7, 3, 2, "SAME", True),
        (8, 2, 1, "SAME", False),
        (8, 2, 1, "VALID", True),
        (8, 2, 2, 0, True),
        (7, 5, 3, 2, True),
        (8, 3, 1, ((1, 1), (0, 0)), False),
        ((6, 8), 3, 1, "SAME", False),
        (8, (3, 1), 1, "VALID", False),
        (9, 3, (1, 2), 1, False),
    ],
)
def test_cases_known_by_hand(size, kernel, stride, padding, exact):
    assert rule(size, kernel, stride, padding) is exact


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "exact"),
    [
        ((6, 8), 3, 1, "SAME", True),
        ((7, 9), (3, 5), 2, "SAME", True),
        ((7, 8), 3, (2, 1), 1, True),
        (8, 3, 1, ((1, 1), (0, 0)), True),
        ((6, 8), 3, 2, "SAME", False),
        ((7, 8), 3, 2, 1, False),
        (8, 3, 1, ((0, 1), (1, 1)), False),
    ],
)
def test_half_turns_need_no_square(size, kernel, stride, padding, exact):
    assert rule(size, kernel, stride, padding, C2) is exact
    assert rule(size, kernel, stride, padding, C1)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_rule_is_the_mirror_symmetry_of_the_windows(asymmetric):
    """The windows' first and last pixels, mirrored, are the windows again."""
    seen = {True: 0, False: 0}
    sides = range(3)
    for size, k, s, low, high in itertools.product(
        range(1, 10), range(1, 6), range(1, 4), sides, sides
    ):
        if size + low + high < k or (low != high) != asymmetric:
            continue
        starts = np.arange((size + low + high - k) // s + 1) * s - low
        mirrored = size - 1 - (starts + k - 1)[::-1]
        symmetric = np.array_equal(starts, mirrored)
        exact = rule(size, k, s, ((low, high), (low, high)))
        if asymmetric:
            assert symmetric or not exact  # some is symmetric with pixels left over
        else:
            assert exact == symmetric
        seen[symmetric] += 1
    assert min(seen.values()) > 20


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_padding_is_that_of_xla(padding):
    axes = list(itertools.product(range(5, 13), range(1, 6), range(1, 5)))
    for (size, k, s), (size_, k_, s_) in zip(axes, axes[::-1], strict=True):
        sizes, kernel, strides = (size, size_), (k, k_), (s, s_)
        expected = jax.lax.padtype_to_pads(sizes, kernel, strides, padding)
        found = resolve_padding(padding, sizes, kernel, strides)
        assert found == tuple(map(tuple, expected))


def test_padding_in_pixels_stays():
    assert resolve_padding(2, (8, 8), (3, 3), (1, 1)) == ((2, 2), (2, 2))
    assert resolve_padding(((0, 1), (2, 3)), (8, 8), (3, 3), (1, 1)) == (
        (0, 1),
        (2, 3),
    )
    with pytest.raises(ValueError, match="padding='same'.*'SAME', 'VALID'"):
        resolve_padding("same", (8, 8), (3, 3), (1, 1))


def test_error_says_sizes_rule_and_way_out():
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    layer = nn.LiftingConv(4, strides=2)
    with pytest.raises(ExactnessError) as error:
        jax.eval_shape(layer.init, KEY, images)
    message = str(error.value)
    for part in ("LiftingConv", "8x8", "(3, 3)", "(2, 2)", "((0, 1), (0, 1))", "C4"):
        assert part in message
    assert exactness.RULE in message
    assert "exact=False" in message


def test_exact_false_accepts_the_error():
    assert output_shape(nn.LiftingConv(5, strides=2, exact=False), (1, 8, 6, 3)) == (
        (1, 4, 3, 4, 5)
    )
    assert output_shape(nn.GroupConv(5, 2, exact=False), (1, 8, 8, 4, 3)) == (
        (1, 8, 8, 4, 5)
    )
    for pool in (nn.max_pool, nn.avg_pool):
        shape = output_shape(
            lambda x, pool=pool: pool(x, group=C4, exact=False), (1, 7, 7, 4, 3)
        )
        assert shape == (1, 3, 3, 4, 3)


def test_error_measure_has_known_values():
    """Blanking the left column of a constant image: turned, it is another column."""
    images = 3 * jnp.ones((1, 4, 4, 1))
    blank = images.at[:, :, 0].set(0.0)
    cut = lambda x: x[:, 1:]  # noqa: E731

    def error(function):
        measure = lambda x: exactness.equivariance_errors(  # noqa: E731
            function, x, C4.act, C4.act, range(4)
        )
        return jnp.max(jax.jit(measure)(images))

    assert error(lambda x: 2 * x) == 0
    assert error(lambda x: x * blank) == 1.0
    assert error(cut) == jnp.inf


CASES = [
    case
    for case in audit.grid()
    if case.kernel in (2, 3)
    and (case.padding == "SAME" or (case.padding, case.stride) == ("VALID", 2))
]


@pytest.mark.parametrize("layer", audit.LAYERS)
@pytest.mark.parametrize("size", audit.SIZES)
def test_rule_agrees_with_measured_errors(layer, size):
    cases = [case for case in CASES if (case.layer, case.size) == (layer, size)]
    assert len(cases) == 6
    for case in cases:
        error = audit.measure(case)
        within = error < audit.TOLERANCES["float32"]
        assert within if case.exact else error > 0.1, (case, error)


@pytest.mark.parametrize("layer", audit.LAYERS)
def test_rule_agrees_with_measured_errors_in_bfloat16(layer):
    settings = [(7, 3, 2, "SAME", True), (8, 4, 2, 1, True), (8, 3, 2, 1, False)]
    for *setting, exact in settings:
        case = audit.Case(layer, C4, *setting)
        error = audit.measure(case, "bfloat16")
        assert case.exact is exact
        within = error < audit.TOLERANCES["bfloat16"]
        assert within if exact else error > 0.1, (case, error)


@pytest.mark.parametrize(
    ("sizes", "stride", "counts"), [([], 2, (1, 1)), (["--sizes", "4"], 1, (1, 0))]
)
def test_audit_prints_its_table(sizes, stride, counts, monkeypatch, capsys):
    few = {"KERNELS": (3,), "STRIDES": (stride,), "DTYPES": ("float32",)}
    few["PADDINGS"] = ("VALID" if stride == 2 else "SAME",)
    for name, value in few.items():
        monkeypatch.setattr(audit, name, value)
    monkeypatch.setenv("COLUMNS", "160")
    audit.main(sizes)
    printed = " ".join(capsys.readouterr().out.split())
    assert exactness.RULE in printed
    for layer in audit.LAYERS:
        row = re.search(rf"float32 │ {layer} │ (\d) │ (\S+) │ (\d) │ (\S+) │", printed)
        exact, error, refused, refused_error = row.groups()
        assert (int(exact), int(refused)) == counts
        assert float(error) < audit.TOLERANCES["float32"]
        assert refused_error == "-" if not counts[1] else float(refused_error) > 0.1


def test_cases_of_the_audit_fit():
    assert all(case.fits for case in audit.grid(sizes=[1, 2]))


@pytest.mark.parametrize(
    "arguments",
    ["--sizes", "--sizes x", "--sizes 0", "--sizes 7,-1", "--nope", "7", "--config=x"],
)
def test_audit_refuses_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        audit.main(arguments.split())
    printed = capsys.readouterr()
    assert ended.value.code == 2 and not printed.out
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    of_a_net = "python -m symjax.evaluation.equivariance --config" in printed.err
    assert of_a_net or "config" not in arguments


def test_audit_explains_itself(capsys):
    with pytest.raises(SystemExit) as ended:
        audit.main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "--sizes" in printed and "symjax.evaluation.equivariance" in printed
