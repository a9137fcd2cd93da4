"""Groups: axioms, and actions that are known independently."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import groups

ALL = list(groups.GROUPS.values())


@pytest.mark.parametrize("group", ALL, ids=str)
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


@pytest.mark.parametrize("group", ALL, ids=str)
def test_actions_compose_as_the_table_says(group):
    images = jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
    field = jax.random.normal(jax.random.key(1), (2, 5, 5, group.order, 3))
    for g in range(group.order):
        for h in range(group.order):
            product = group.table[g, h]
            chex.assert_trees_all_equal(
                group.act(g, group.act(h, images)), group.act(product, images)
            )
            chex.assert_trees_all_equal(
                group.act_on_field(g, group.act_on_field(h, field)),
                group.act_on_field(product, field),
            )


def test_c4_turns_counter_clockwise():
    image = jnp.array([[1, 2], [3, 4]])[None, :, :, None]
    turned = groups.C4.act(1, image)[0, :, :, 0]
    np.testing.assert_array_equal(turned, [[2, 4], [1, 3]])


def test_c4_field_moves_pixels_and_orientations():
    field = jnp.zeros((1, 3, 3, 4, 1)).at[0, 0, 0, 0, 0].set(1.0)
    turned = groups.C4.act_on_field(1, field)
    assert turned[0, 2, 0, 1, 0] == 1.0  # top left goes to bottom left, 0 to 1
    assert jnp.sum(turned) == 1.0


@pytest.mark.parametrize("group", ALL, ids=str)
def test_kernel_expansion_holds_every_moved_kernel(group):
    kernel = jax.random.normal(jax.random.key(0), (3, 3, group.order, 2, 5))
    expanded = group.expand_group_kernel(kernel)
    chex.assert_shape(expanded, (3, 3, group.order, 2, group.order, 5))
    moved = jnp.moveaxis(kernel, 2, 3)  # as a field: [kh, kw, C_in, G, C_out]
    for g in range(group.order):
        as_field = jnp.moveaxis(moved, 2, 0)  # [C_in, kh, kw, G, C_out]
        expected = group.act_on_field(g, as_field)
        chex.assert_trees_all_equal(
            jnp.moveaxis(expanded[:, :, :, :, g], 3, 0), expected
        )


def test_groups_compare_by_value():
    assert groups.Cyclic(4) == groups.C4
    assert hash(groups.Cyclic(4)) == hash(groups.C4)
    assert groups.C2 != groups.C4


@pytest.mark.parametrize("n", [0, 3, 8])
def test_turns_off_the_grid_are_refused(n):
    with pytest.raises(ValueError, match="does not map the pixel grid"):
        groups.Cyclic(n)
