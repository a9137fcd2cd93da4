"""Kernels of rotation layers: against e2cnn and escnn, closed forms, and symmetry."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import turning as turning_benchmark
from symjax import groups, nn
from symjax.nn import equivariance_error, kernels
from tests.layers import normal
from tests.paths import DATA, ROOT

ROWS = ROOT / "results" / "benchmarks" / "turning.jsonl"
LIBRARIES = ("e2cnn", "escnn")
GROUPS, SIZES = ("C4", "C8", "C16", "D4", "D8"), (3, 5, 7)
ATOL = 1e-5  # as asked; of values of order 1, so that most of it is not needed


@pytest.fixture(scope="module", params=LIBRARIES)
def figures(request):
    """What `benchmarks.steerable_kernels` stored of a library."""
    with np.load(DATA / f"steerable_{request.param}.npz") as file:
        return dict(file)


def kept(group):
    """The output elements whose kernels are stored, the identity first."""
    return [0, 1, group.order // 2, group.order - 1]


@pytest.mark.parametrize("kind", ["lifting", "group"])
@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.slow
def test_kernels_and_outputs_are_those_of_the_libraries(figures, name, kind):
    """Coefficients read off the identity's kernel give all other kernels as well."""
    group = groups.named(name)
    inputs = group.trivial if kind == "lifting" else group.regular
    for size in SIZES:
        peer = {
            what: figures[f"{name} {size} {kind} {what}"]
            for what in ("kernel", "coefficients", "inputs", "outputs")
        }
        functions = kernels.sampled("steerable", group, (size, size))
        given = peer["kernel"][:, :, :, :, 0]  # [k, k, A_in, C_in, C]
        found = np.linalg.pinv(functions[0]) @ given.reshape(size * size, -1)
        chosen = ("steerable", (size, size), inputs, group.regular)
        axes = kernels.shape(*chosen)
        coefficients = found.reshape(*axes, *given.shape[3:]).astype(np.float32)
        assert coefficients.size == peer["coefficients"]

        make = nn.LiftingConv if kind == "lifting" else nn.GroupConv
        layer = make(1, size, 1, "VALID", False, group=group, basis="steerable")
        expanded = kernels.expand(jnp.asarray(coefficients), *chosen)
        expanded = np.asarray(expanded)[:, :, :, :, kept(group)]
        chex.assert_trees_all_close(expanded, peer["kernel"], atol=ATOL)
        field = peer["inputs"][..., 0, :] if kind == "lifting" else peer["inputs"]
        outputs = layer.apply({"params": {"kernel": coefficients}}, field)
        largest = np.abs(peer["outputs"]).max()
        chex.assert_trees_all_close(
            np.asarray(outputs), peer["outputs"], atol=ATOL * max(1, largest)
        )


def test_harmonics_are_those_of_weiler_and_cesa():
    """Rings a pixel apart; frequencies to 2 r, 2 r - 1 if r is even, 2 on the last."""
    found = {
        size: [
            (radius, max(f for r, f, _ in kernels.harmonics(size) if r == radius))
            for radius in range((size + 1) // 2)
        ]
        for size in (1, 3, 5, 7, 9)
    }
    assert found == {
        1: [(0, 0)],
        3: [(0, 0), (1, 2)],
        5: [(0, 0), (1, 2), (2, 2)],
        7: [(0, 0), (1, 2), (2, 3), (3, 2)],
        9: [(0, 0), (1, 2), (2, 3), (3, 6), (4, 2)],
    }


def test_a_steerable_kernel_is_its_formula():
    """Ring 1 of 3 pixels, width 0.4, cosine of the angle: right minus left."""
    index = kernels.harmonics(3).index((1.0, 1, "cos"))
    found = kernels.sampled("steerable", groups.C4, (3, 3))[0, :, index].reshape(3, 3)
    corner = np.exp(-0.5 * ((np.sqrt(2) - 1) / 0.4) ** 2)
    expected = np.array([[-corner, 0, corner]] * 3) * np.sqrt(0.5)
    expected[1] = [-1, 0, 1]
    expected *= np.sqrt(2) / np.sqrt(4 + 4 * corner**2)  # square 1 over all angles
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("basis", ["steerable", "interpolated"])
@pytest.mark.parametrize("name", ["C3", "C8", "D8"])
def test_quarter_turns_move_kernels_exactly(basis, name):
    group = groups.named(name)
    functions = kernels.sampled(basis, group, (5, 5)).astype(np.float32)
    functions = functions.reshape(group.order, 5, 5, -1)
    for g in group.grid.elements:
        for h in range(group.order):
            moved = group.act(g, functions[h])
            np.testing.assert_array_equal(functions[group.table[g, h]], moved)


@pytest.mark.parametrize(("size", "degree"), [(3, 2), (5, 4), (7, 6)])
def test_moments_of_interpolated_kernels_turn_exactly(size, degree):
    group = groups.C(8)
    points = kernels.pixels((size, size))
    functions = kernels.sampled("interpolated", group, (size, size))
    inside = np.hypot(*points) <= size / 2
    assert functions.shape[2] == inside.sum() and not functions[:, ~inside].any()
    np.testing.assert_array_equal(functions[0], np.eye(size**2)[:, inside])
    x, y = group.matrices[1] @ points[:, inside]
    for i in range(degree + 1):
        for j in range(degree + 1 - i):
            found = (points[0] ** i * points[1] ** j) @ functions[1]
            np.testing.assert_allclose(found, x**i * y**j, atol=1e-8 * size**degree)


@pytest.mark.parametrize("basis", kernels.BASES)
@pytest.mark.parametrize("name", ["C2", "C4", "D1", "D2", "D4"])
@pytest.mark.slow
def test_groups_on_the_grid_are_exact_in_every_basis(basis, name):
    group = groups.named(name)
    options = {"use_bias": False, "group": group, "basis": basis}
    lift, conv = nn.LiftingConv(3, **options), nn.GroupConv(2, **options)
    images = normal(0, 1, 5, 5, 2)
    every = np.concatenate([group.act(g, images) for g in range(group.order)])

    @jax.jit
    def outputs(key, every):
        field, params = lift.init_with_output(key, every)
        del params
        return field, conv.init_with_output(key, field)[0]

    for found in outputs(jax.random.key(0), every):
        for g in range(group.order):
            expected = np.asarray(group.act_on_field(g, found[0]))
            chex.assert_trees_all_close(np.asarray(found[g]), expected, atol=2e-6)


QUOTIENTS = [
    ("C4", "full"),
    ("C4", "steerable"),
    ("D4", "full"),
    ("D4", "steerable"),
    ("D8", "interpolated"),
    ("D8", "steerable"),
]


@pytest.mark.parametrize(("name", "basis"), QUOTIENTS)
@pytest.mark.slow
def test_quotient_and_trivial_features_turn_with_their_cosets(name, basis):
    """Regular to a quotient, to another, and to an image: exact on the grid."""
    group = groups.named(name)
    part = (
        group.mod_reflection if group.reflections else group.quotient(group.subgroup(2))
    )
    options = {"use_bias": True, "group": group, "basis": basis}
    layers = (
        nn.LiftingConv(2, **options),
        nn.GroupConv(3, outputs=part, **options),
        nn.GroupConv(2, inputs=part, outputs=part, **options),
    )
    if basis != "interpolated":
        layers += (nn.GroupConv(2, inputs=part, outputs=group.trivial, **options),)
    images = normal(0, 1, 5, 5, 2)
    elements = group.grid.elements
    x = np.concatenate([group.act(g, images) for g in elements])
    for layer in layers:
        x, params = jax.jit(layer.init_with_output)(jax.random.key(1), x)
        for found, g in zip(x, elements, strict=True):
            if found.ndim == 4:
                over = layer.outputs or group.regular
                expected = group.act_on_field(g, x[0], over)
                assert found.shape[2] == len(over)
            else:
                expected = group.act(g, x[0])
            chex.assert_trees_all_close(found, expected, atol=1e-5)
    if basis == "full":  # k(s u) = k(u): a kernel of the trivial field is symmetric
        last = layers[-1].expand(params["params"])["kernel"]
        assert np.shape(last) == (3, 3, 2 * len(part), 2)


def test_fit_undoes_expand_and_refuses_other_kernels():
    group = groups.D(8)
    layer = nn.GroupConv(3, 5, group=group, outputs=group.mod_reflection)
    params = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 5, 5, 16, 2)))
    params = {name: normal(1, *x.shape) for name, x in params["params"].items()}
    plain = layer.expand(params)
    chex.assert_shape(plain["kernel"], (5, 5, 32, 24))
    chex.assert_trees_all_close(layer.fit(plain), params, atol=1e-4)
    other = {"kernel": normal(2, 5, 5, 32, 24)}
    with pytest.raises(ValueError, match="is no kernel of D8 in the steerable basis"):
        layer.fit(other)


def test_a_kernel_of_float64_is_fitted_to_float64():
    layer = nn.LiftingConv(2, group="C8", basis="steerable", as_e2cnn=True)
    with jax.enable_x64(True):
        kernel = np.random.default_rng(0).normal(size=(6, 3, 2))
        plain = layer.expand({"kernel": jnp.asarray(kernel)})
        fitted = layer.fit(plain, dtype=jnp.float64)
    np.testing.assert_allclose(fitted["kernel"], kernel, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["C8", "D8"])
def test_initialisation_keeps_the_variance_in_the_steerable_basis(name):
    group = groups.named(name)
    field = normal(0, 4, 9, 9, group.order, 16)
    layer = nn.GroupConv(32, 5, padding="VALID", group=group)
    outputs, _ = jax.jit(layer.init_with_output)(jax.random.key(0, impl="rbg"), field)
    np.testing.assert_allclose(np.mean(np.square(outputs)), 1.0, rtol=0.1)


def test_expansion_is_one_product_with_a_constant():
    group = groups.C(8)
    layer = nn.GroupConv(4, group=group)
    coefficients = {"kernel": jnp.zeros((6, 8, 3, 4))}
    program = str(jax.make_jaxpr(layer.expand)(coefficients))
    assert program.count("dot_general") == 1
    first = kernels.sampled("steerable", group, (3, 3))
    assert kernels.sampled("steerable", groups.C(8), (3, 3)) is first  # kept


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"group": groups.C8, "basis": "full"}, "C8 does not map pixels.*subgroup C4"),
        ({"group": groups.C8, "kernel_size": 4}, r"odd size, not \(4, 4\); use \(5, 5"),
        ({"group": groups.C8, "basis": "fourier"}, "'fourier'.*'steerable'"),
        ({"outputs": groups.C8.regular}, "C8/C1: expected cosets of group=C4"),
    ],
)
def test_kernels_that_cannot_be_are_refused(options, match):
    layer = nn.LiftingConv(2, **options)
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_interpolated_kernels_have_no_cosets_between_pixels():
    group = groups.C(8)
    with pytest.raises(ValueError, match="need basis='steerable'"):
        kernels.shape("interpolated", (3, 3), group.regular, group.trivial)


@pytest.mark.parametrize("kind", ["lifting", "group"])
@pytest.mark.parametrize("size", SIZES)
def test_smooth_fields_turn_no_worse_than_in_e2cnn(size, kind):
    """Against the errors of its kernels, measured by `benchmarks.turning`."""
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    setting = {"group": "C8", "size": size, "kind": kind, "pixels_a_wave": 16}
    (row,) = [row for row in rows if setting.items() <= row.items()]
    for basis in ("steerable", "interpolated"):
        kernel = turning_benchmark.ours(groups.C8, size, kind == "lifting", basis)
        error = turning_benchmark.between_pixels(kernel, groups.C8, 16)
        assert 0 < error <= row["errors"]["e2cnn"]


def test_turning_errors_of_a_kernel_that_does_not_turn():
    """One that sees the right neighbour alone: of a wave, `|e^ik.u - e^ik.gu|`."""
    group = groups.C(4)
    kernel = np.zeros((3, 3, 1, 1, 4, 1))
    kernel[1, 2] = 1.0  # the same for every element: not moved along
    wave = 2 * np.pi / 8

    def smooth(points):
        return np.cos(wave * points[0])[:, None, None]

    found = equivariance_error.kernel_equivariance_errors(
        kernel, smooth, group.trivial, group.regular, places=4000
    )
    # cos(k x + k) at x against cos(k x) at x: half turn sees the left neighbour.
    expected = [0, np.sqrt(2 - 2 * np.cos(wave)), 2 * np.sin(wave)]
    np.testing.assert_allclose(found[[0, 1, 2]], expected, rtol=0.05, atol=1e-12)
