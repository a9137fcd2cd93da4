"""Groups: axioms, actions known by hand, subgroups and cosets."""

import re

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import groups
from symjax.groups import C1, C2, C4, C8, D4, C, D

ALL = [*map(C, (1, 2, 3, 4, 8, 16)), *map(D, (1, 2, 3, 4, 8))]
WITH_MIRRORS = [group for group in ALL if group.reflections]
every_group = pytest.mark.parametrize("group", ALL, ids=str)


def numbers(*shape):
    """No two alike."""
    values = np.random.default_rng(0).permutation(np.prod(shape))
    return values.astype(np.float32).reshape(shape)


def subgroups(group):
    """All C_m, and all D_m that contain the reflection n of the group."""
    divisors = [m for m in range(1, group.rotations + 1) if group.rotations % m == 0]
    kinds = (False, True) if group.reflections else (False,)
    return [group.subgroup(m, kind) for kind in kinds for m in divisors]


def quotients(group):
    return [group.quotient(subgroup) for subgroup in subgroups(group)]


@every_group
def test_table_is_a_group(group):
    elements = np.arange(group.order)
    table = group.table
    np.testing.assert_array_equal(table[0], elements)
    np.testing.assert_array_equal(table[:, 0], elements)
    for row in (*table, *table.T):
        np.testing.assert_array_equal(np.sort(row), elements)
    for g in elements:
        assert table[g, group.inverses[g]] == table[group.inverses[g], g] == 0
    left = table[table[:, :, None], elements]
    right = table[elements[:, None, None], table[None]]
    np.testing.assert_array_equal(left, right)  # associative


@every_group
def test_matrices_multiply_as_the_table_says(group):
    matrices, n = group.matrices, group.rotations
    chex.assert_shape(matrices, (group.order, 2, 2))
    products = np.einsum("gij,hjk->ghik", matrices, matrices)
    np.testing.assert_allclose(products, matrices[group.table], atol=1e-12)
    squares = np.einsum("gij,gkj->gik", matrices, matrices)
    identities = np.tile(np.eye(2), (len(matrices), 1, 1))
    np.testing.assert_allclose(squares, identities, atol=1e-12)
    mirrors = [-1.0] * n if group.reflections else []
    np.testing.assert_allclose(np.linalg.det(matrices), [1.0] * n + mirrors)


def test_matrices_known_by_hand():
    half = np.sqrt(0.5)
    np.testing.assert_allclose(C8.matrices[1], [[half, -half], [half, half]])
    np.testing.assert_allclose(D4.matrices[4], [[-1, 0], [0, 1]])
    downwards = [[0, -1], [-1, 0]]  # right, mirrored to the left, turns to the bottom
    np.testing.assert_allclose(D4.matrices[5], downwards, atol=1e-12)


@every_group
def test_pixels_move_as_the_matrices_say(group):
    image = numbers(3, 3)
    points = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    for g in group.grid.elements:
        moved = group.act(g, image[..., None])[..., 0]
        for x, y in points:
            right, up = np.rint(group.matrices[g] @ (x, y)).astype(int)
            assert moved[1 - up, 1 + right] == image[1 - y, 1 + x]


def assert_composes(group, act, array):
    """Along a new axis, what each element makes; g permutes it as the table says."""
    elements = group.grid.elements
    made = np.stack([act(h, array) for h in elements])
    for g in elements:
        products = np.searchsorted(elements, group.table[g, elements])
        np.testing.assert_array_equal(act(g, made), made[products])
    for moved in made[1:]:
        assert (moved != array).any()


@every_group
def test_actions_compose_as_the_table_says(group):
    assert_composes(group, group.act, numbers(2, 3, 3, 2))
    assert_composes(group, group.act_on_field, numbers(1, 3, 3, group.order, 2))


@pytest.mark.parametrize("group", WITH_MIRRORS, ids=str)
def test_actions_compose_over_cosets_of_the_reflection(group):
    def act(g, field):
        return group.act_on_field(g, field, over=group.mod_reflection)

    assert_composes(group, act, numbers(1, 3, 3, group.rotations, 2))


def test_over_one_coset_a_field_is_an_image():
    images = numbers(1, 3, 3, 2)
    for g in range(8):
        field = D4.act_on_field(g, images[..., None, :], over=D4.trivial)
        np.testing.assert_array_equal(field[..., 0, :], D4.act(g, images))
    none = jnp.zeros((0, 2, 3, 4, 1))
    assert C4.act(1, none[..., 0, :]).shape == (0, 3, 2, 1)
    assert C4.act_on_field(1, none).shape == (0, 3, 2, 4, 1)
    assert C8.subgroup(4).restrict(jnp.zeros((0, 8, 3))).shape == (0, 4, 6)


@every_group
def test_elements_off_the_grid_are_refused(group):
    on_grid = [g for g in range(group.order) if 4 * g % group.rotations == 0]
    np.testing.assert_array_equal(group.grid.elements, on_grid)
    assert group.is_on_grid == (len(on_grid) == group.order)
    image, field = np.zeros((1, 2, 2, 1)), np.zeros((1, 2, 2, group.order, 1))
    for g in set(range(group.order)) - set(on_grid):
        message = re.escape(
            f"element {g} of {group} ({group.name(g)}) does not map pixels onto "
            f"pixels: expected an element of {group.grid.group}: {on_grid}."
        )
        with pytest.raises(ValueError, match=message):
            group.act(g, image)
        with pytest.raises(ValueError, match=message):
            group.act_on_field(g, field)


def test_c4_turns_counter_clockwise():
    image = jnp.array([[1, 2], [3, 4]])[None, :, :, None]
    turned = C4.act(1, image)[0, :, :, 0]
    np.testing.assert_array_equal(turned, [[2, 4], [1, 3]])


def test_d4_mirrors_left_and_right_and_then_turns():
    images = numbers(2, 3, 4, 2)
    mirrored = np.flip(images, axis=2)
    np.testing.assert_array_equal(D4.act(4, images), mirrored)
    np.testing.assert_array_equal(D4.act(5, images), np.rot90(mirrored, axes=(1, 2)))


def test_a_quarter_turn_moves_a_c8_field_by_two_elements():
    field = numbers(2, 3, 3, 8, 2)
    expected = np.roll(np.rot90(field, axes=(1, 2)), 2, axis=3)
    np.testing.assert_array_equal(C8.act_on_field(2, field), expected)
    halves = np.concatenate([field[..., ::2, :], field[..., 1::2, :]], axis=-1)
    np.testing.assert_array_equal(C8.subgroup(4).restrict(field), halves)


def test_the_mirror_reverses_the_turns_of_a_d4_field():
    field = numbers(2, 3, 3, 8, 2)
    expected = np.flip(field, axis=2)[:, :, :, [4, 7, 6, 5, 0, 3, 2, 1]]
    np.testing.assert_array_equal(D4.act_on_field(4, field), expected)
    field = field[:, :, :, :4]
    expected = np.flip(field, axis=2)[:, :, :, [0, 3, 2, 1]]
    moved = D4.act_on_field(4, field, over=D4.mod_reflection)
    np.testing.assert_array_equal(moved, expected)


@every_group
def test_subgroups_are_closed_and_have_their_own_table(group):
    for subgroup in subgroups(group):
        elements = subgroup.elements
        assert elements[0] == 0 and len(set(elements)) == subgroup.group.order
        products = group.table[np.ix_(elements, elements)]
        assert set(products.reshape(-1)) == set(elements)
        np.testing.assert_array_equal(products, elements[subgroup.group.table])
        matrices = subgroup.group.matrices
        np.testing.assert_allclose(group.matrices[elements], matrices, atol=1e-12)


def test_subgroups_are_those_known_by_hand():
    assert str(C8.subgroup(4)) == "C4 in C8"
    np.testing.assert_array_equal(C8.subgroup(4).elements, [0, 2, 4, 6])
    np.testing.assert_array_equal(D4.subgroup(2, True).elements, [0, 2, 4, 6])
    np.testing.assert_array_equal(D4.subgroup(2).elements, [0, 2])


RESTRICTIONS = [
    C8.subgroup(4),
    C(16).subgroup(4),
    D4.subgroup(4),
    D4.subgroup(2, reflections=True),
    D(8).subgroup(4, reflections=True),
    D(8).subgroup(8),
    C4.subgroup(1),
]


@pytest.mark.parametrize("subgroup", RESTRICTIONS, ids=str)
def test_restriction_loses_no_value_and_commutes_with_the_action(subgroup):
    parent, group = subgroup.parent, subgroup.group
    field = numbers(1, 2, 2, parent.order, 2)
    restricted = np.asarray(subgroup.restrict(field))
    channels = 2 * parent.order // group.order
    chex.assert_shape(restricted, (1, 2, 2, group.order, channels))
    kept = np.sort(restricted.reshape(4, -1))
    np.testing.assert_array_equal(kept, np.sort(field.reshape(4, -1)))
    for h in group.grid.elements:
        moved = parent.act_on_field(subgroup.elements[h], field)
        expected = group.act_on_field(h, restricted)
        np.testing.assert_array_equal(subgroup.restrict(moved), expected)


@every_group
def test_cosets_part_the_group_and_are_moved_by_it(group):
    for cosets in quotients(group):
        size = cosets.subgroup.group.order
        chex.assert_shape(cosets.elements_of_cosets, (len(cosets), size))
        members = np.sort(cosets.elements_of_cosets.reshape(-1))
        np.testing.assert_array_equal(members, np.arange(group.order))
        table = cosets.table
        for g in range(group.order):
            np.testing.assert_array_equal(table[g][table], table[group.table[g]])
            moved = np.sort(
                group.table[g][cosets.elements_of_cosets]
            )  # as sets of elements
            np.testing.assert_array_equal(moved, cosets.elements_of_cosets[table[g]])


def test_cosets_known_by_hand():
    turns = [[0, 4], [1, 5], [2, 6], [3, 7]]
    np.testing.assert_array_equal(D4.mod_reflection.elements_of_cosets, turns)
    np.testing.assert_array_equal(D4.regular.elements_of_cosets, np.arange(8)[:, None])
    np.testing.assert_array_equal(D4.regular.table, D4.table)
    np.testing.assert_array_equal(D4.trivial.elements_of_cosets, [np.arange(8)])
    assert D4.regular.is_regular and D4.trivial.is_trivial
    assert not (D4.mod_reflection.is_regular or D4.mod_reflection.is_trivial)
    assert str(D4.mod_reflection) == "D4/D1"


@pytest.mark.parametrize("name", ["X4", "C0", "D", "4", "C-1", "C04", "c4", "C4 ", ""])
def test_names_of_no_group(name):
    with pytest.raises(ValueError, match=f"group '{name}': expected C or D"):
        groups.named(name)


@every_group
def test_a_group_is_found_by_its_name(group):
    found = groups.named(str(group))
    assert found == group and found.order == group.order
    assert C(np.int64(4)) == C4 and str(C(np.int64(4))) == "C4"
    assert [C8.name(g) for g in (0, 1, 6)] == ["0°", "45°", "270°"]
    assert [D4.name(g) for g in (4, 5)] == ["mirror", "mirror, 90°"]


def test_groups_compare_by_value():
    assert C(4) == C4 and D(4) == D4
    assert hash(C(4)) == hash(C4)
    assert len({C1, C2, C4, D4, D(2), *ALL}) == len(ALL)
    assert C8.subgroup(4) == C(8).subgroup(4) != C(16).subgroup(4)
    assert hash(D(4).mod_reflection) == hash(D4.mod_reflection)
    assert D(4).mod_reflection == D4.mod_reflection != D4.regular


@pytest.mark.parametrize("wrong", [1.5, "1", None, 4, -1])
def test_other_values_than_elements_are_refused(wrong):
    image, field = jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 4, 1))
    for act in (
        lambda: C4.act(wrong, image),
        lambda: C4.act_on_field(wrong, field),
        lambda: C4.name(wrong),
    ):
        with pytest.raises(ValueError, match=f"g={wrong!r}: expected an element of C4"):
            act()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *[
            (lambda make=make, n=n: make(n), f"a group of {n} rotations: expected an")
            for make in (C, D)
            for n in (0, -1, 2.5, True)
        ],
        (lambda: groups.Group(4, "x"), "reflections='x': expected a bool"),
        (lambda: C8.subgroup(3), "3 rotations in a subgroup of C8"),
        (lambda: D4.subgroup(0), "0 rotations in a subgroup of D4"),
        *[
            (lambda x=x: C4.subgroup(x), "rotations in a subgroup of C4")
            for x in (2.0, "2", None, True)
        ],
        (lambda: C8.subgroup(4, reflections=True), r"C8 has no reflections.*use D\(8"),
        (lambda: C4.mod_reflection, "C4 has no reflections"),
        (lambda: C4.quotient(C8.subgroup(2)), "C2 in C8 is no subgroup of C4"),
        *[
            (lambda x=x: C4.quotient(x), "no subgroup of C4: expected")
            for x in ("C2", C2, None)
        ],
        (lambda: C4.act(1, jnp.zeros((2, 2))), r"\(2, 2\): expected images"),
        (
            lambda: C4.act_on_field(1, jnp.zeros((2, 2, 1))),
            r"\(2, 2, 1\): expected a f",
        ),
        (lambda: C8.subgroup(4).restrict(jnp.zeros(8)), r"\(8,\): expected a feature"),
        (
            lambda: C4.act_on_field(1, jnp.zeros((1, 2, 2, 8, 1))),
            "axis of length 4, .*over C4/C1",
        ),
        (
            lambda: C(16).subgroup(4).restrict(jnp.zeros((1, 2, 2, 8, 1))),
            "axis of length 16, .*over C16",
        ),
    ],
)
def test_other_groups_subgroups_and_shapes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
