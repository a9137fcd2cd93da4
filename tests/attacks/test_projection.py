"""Projections inside a box, against a linear program and the variational inequality.

A point is the nearest of a convex set to another exactly where no direction into the
set makes an acute angle with the way out to it.
"""

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

from symjax.attacks.projection import hyperplane, l1_ball

SIZE = 9
l1_ball, hyperplane = jax.jit(l1_ball), jax.jit(hyperplane, static_argnames="norm")


def drawn(seed):
    rng = np.random.default_rng(seed)
    w, room = rng.normal(size=(6, SIZE)), rng.uniform(0, 0.5, (6, SIZE))
    room[:, 0], w[:, 1] = 0, 0  # a coordinate at its bound, and one that is no help
    return rng, w.astype(np.float32), room.astype(np.float32)


def vertices(rng, row, total, room, equal):
    """Of `{0 <= y <= room, <row, y> = total (equal) or <= total}`, float64."""
    of = {"A_eq": row[None], "b_eq": [total]} if equal else {}
    of = of or {"A_ub": row[None], "b_ub": [total]}
    for _ in range(20):
        found = linprog(rng.normal(size=SIZE), bounds=[(0, r) for r in room], **of)
        assert found.status == 0
        yield found.x


@pytest.mark.parametrize("radius", [0.2, 1.0, 10.0])
def test_the_l1_ball_in_a_box(radius):
    rng, delta, room = drawn(0)
    nearest = np.asarray(l1_ball(delta, room, np.float32(radius)), np.float64)
    size = np.abs(nearest)
    assert (size <= room + 1e-7).all() and (size.sum(axis=1) <= radius + 1e-6).all()
    assert (nearest * delta >= 0).all()
    outside = np.minimum(np.abs(delta), room).sum(axis=1) > radius
    assert outside.any() == (radius < 10)
    assert np.allclose(size[outside].sum(axis=1), radius, atol=1e-6)
    for row in range(len(delta)):
        away = np.abs(delta[row].astype(np.float64)) - size[row]
        for y in vertices(rng, np.ones(SIZE), radius, room[row], equal=False):
            assert away @ (y - size[row]) <= 1e-5


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_the_least_step_to_a_hyperplane_is_that_of_a_linear_program(norm):
    _, w, room = drawn(1)
    reach = (np.abs(w) * room).sum(axis=1)
    gap = np.float32([0.7, -0.5, 0.3, -0.9, 0.01, 0.6]) * reach
    step = np.asarray(hyperplane(w, gap, room, norm), np.float64)
    np.testing.assert_allclose(gap + (w * step).sum(axis=1), 0, atol=1e-5)
    assert (np.abs(step) <= room + 1e-7).all()
    for row in range(len(w)):
        weight, wanted = np.abs(w[row].astype(np.float64)), abs(float(gap[row]))
        bounds = [(0, r) for r in room[row]]
        if norm == "l1":
            found = linprog(
                np.ones(SIZE), A_eq=weight[None], b_eq=[wanted], bounds=bounds
            )
            least = np.abs(step[row]).sum()
        else:  # the largest coordinate is one unknown more
            below = np.concatenate([np.eye(SIZE), -np.ones((SIZE, 1))], axis=1)
            found = linprog(
                np.eye(SIZE + 1)[-1],
                A_ub=below,
                b_ub=np.zeros(SIZE),
                A_eq=np.append(weight, 0)[None],
                b_eq=[wanted],
                bounds=[*bounds, (0, None)],
            )
            least = np.abs(step[row]).max()
        np.testing.assert_allclose(least, found.fun, rtol=1e-4)


def test_the_least_euclidean_step_to_a_hyperplane():
    rng, w, room = drawn(2)
    gap = np.float32([0.7, -0.5, 0.3, -0.9, 0.01, 0.6]) * (np.abs(w) * room).sum(axis=1)
    step = np.asarray(hyperplane(w, gap, room, "l2"), np.float64)
    np.testing.assert_allclose(gap + (w * step).sum(axis=1), 0, atol=1e-5)
    for row in range(len(w)):
        size, weight = np.abs(step[row]), np.abs(w[row].astype(np.float64))
        total = weight @ size
        for y in vertices(rng, weight, total, room[row].astype(float), equal=True):
            assert size @ (y - size) >= -1e-5


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_out_of_reach_the_step_goes_to_the_corner(norm):
    _, w, room = drawn(3)
    step = hyperplane(w, np.full(len(w), 1e3, np.float32), room, norm)
    np.testing.assert_allclose(step, np.where(w == 0, 0, -np.sign(w) * room), rtol=1e-6)
