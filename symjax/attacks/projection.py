"""Exact projections onto an l1 ball and a hyperplane, inside the box of valid pixels.

    delta = l1_ball(delta, room, radius)        # the nearest point of l1 norm <= radius
    delta = hyperplane(w, gap, room, "l2")      # the smallest step to the hyperplane

In both solutions every coordinate is a monotone function of one multiplier, which is
computed without sorting: it is bracketed, and then solved for on its linear piece.
"""

import jax
import jax.numpy as jnp
from jax import Array

BISECTIONS = 30  # a float32 has 24 bits
TINY = float(jnp.finfo(jnp.float32).tiny)  # to avoid a division by zero
NEWTON_STEPS = 50  # upper limit; each moves a coordinate to its bound, few are needed


def l1_ball(delta: Array, room: Array, radius: Array) -> Array:
    """The Euclidean projection onto the intersection of an l1 ball and a box.

    It is `sign(delta_i) clip(|delta_i| - m, 0, room_i)`, with the smallest `m >= 0` for
    which the sum of the absolute values is at most the radius.

    Args:
      delta: `[B, N]`.
      room: `[B, N]`, how far each coordinate may go in its direction, not negative.
      radius: scalar, not negative.

    Returns:
      `[B, N]`, the projections.

    References:
      Croce and Hein, Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image
      Classifiers, ICML 2021, Section 3.
    """
    size = jnp.abs(delta)

    def kept(multiplier):
        return jnp.clip(size - multiplier[:, None], 0.0, room)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        too_long = jnp.sum(kept(middle), axis=1) > radius
        return jnp.where(too_long, middle, low), jnp.where(too_long, high, middle)

    highest = jnp.max(size, axis=1)
    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (0 * highest, highest))
    middle = ((low + high) / 2)[:, None]
    full = size - room > middle
    moving = (size > middle) & ~full
    count = jnp.sum(moving, axis=1)
    excess = jnp.sum(jnp.where(moving, size, jnp.where(full, room, 0.0)), 1) - radius
    exact = jnp.where(count > 0, excess / jnp.maximum(count, 1), high)
    exact = jnp.clip(exact, low, high)
    inside = jnp.sum(kept(0 * highest), axis=1) <= radius
    nearest = kept(jnp.where(inside, 0.0, exact))
    length = jnp.sum(nearest, axis=1, keepdims=True)  # may be rounded above the radius
    return (
        jnp.sign(delta) * nearest * jnp.minimum(1.0, radius / jnp.maximum(length, TINY))
    )


def hyperplane(w: Array, gap: Array, room: Array, norm: str) -> Array:
    """The step of least norm, inside a box, after which a linear function is zero.

    Args:
      w: `[B, N]`, the function's gradient.
      gap: `[B]`, the function's value: the step s solves `gap + <w, s> = 0`.
      room: `[B, N]`, how far each coordinate may go against `sign(gap) w`, not
        negative.
      norm: "linf", "l2" or "l1", the norm of the step that is minimized.

    Returns:
      `[B, N]`, the steps; where the box contains no solution, the step to the corner of
      the box with the smallest absolute value of the function.

    References:
      Croce and Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive
      Boundary Attack, ICML 2020, Equation 4 and Appendix A.
    """
    direction = jnp.where(gap >= 0, -1.0, 1.0)[:, None] * jnp.sign(w)
    weight, wanted = jnp.abs(w), jnp.abs(gap)
    room = jnp.where(weight > 0, room, 0.0)
    if norm == "l1":
        return direction * _largest_first(weight, wanted, room)
    speed = jnp.ones_like(w) if norm == "linf" else weight
    return direction * _together(weight, wanted, room, speed)


def _together(weight: Array, wanted: Array, room: Array, speed: Array) -> Array:
    """`min(m speed, room)` with `sum(weight min(m speed, room)) = wanted`.

    The sum is concave in m, so Newton's method goes up to the solution and stops there.
    """

    def newton(carry):
        count, multiplier, _ = carry
        free = speed * multiplier[:, None] < room
        slope = jnp.sum(jnp.where(free, weight * speed, 0.0), axis=1)
        reached = jnp.sum(jnp.where(free, 0.0, weight * room), axis=1)
        better = jnp.where(
            slope > 0,
            jnp.maximum(wanted - reached, 0.0) / jnp.where(slope > 0, slope, 1.0),
            jnp.inf,
        )
        better = jnp.maximum(better, multiplier)  # rounding must not go back
        return count + 1, better, jnp.any(better > multiplier)

    def unfinished(carry):
        count, _, moved = carry
        return (count < NEWTON_STEPS) & moved

    start = 0, jnp.zeros_like(wanted), jnp.array(True)
    _, multiplier, _ = jax.lax.while_loop(unfinished, newton, start)
    reach = jnp.where(speed > 0, speed * multiplier[:, None], 0.0)
    return jnp.minimum(jnp.where(jnp.isnan(reach), room, reach), room)


def _largest_first(weight: Array, wanted: Array, room: Array) -> Array:
    """The step in l1: coordinates in descending order of weight move as far as needed.

    Every coordinate moves to its bound, except the last one that is needed.
    """
    order = jnp.argsort(-weight, axis=1)
    gain = jnp.take_along_axis(weight * room, order, axis=1)
    before = jnp.cumsum(gain, axis=1) - gain
    left = jnp.clip(wanted[:, None] - before, 0.0, gain)
    sorted_weight = jnp.take_along_axis(weight, order, axis=1)
    step = left / jnp.where(sorted_weight > 0, sorted_weight, 1.0)
    back = jnp.argsort(order, axis=1)
    return jnp.minimum(jnp.take_along_axis(step, back, axis=1), room)
