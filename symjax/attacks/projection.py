"""Exact projections inside the box of valid pixels, by one equation in one unknown.

    delta = l1_ball(delta, room, radius)        # nearest with norm 1 at most radius
    delta = hyperplane(w, gap, room, "l2")      # smallest step that closes a linear gap

Both solutions move every coordinate by a monotone function of a single multiplier, so
that the multiplier is found without sorting: bracketed, then solved for on the linear
piece where it lies.
"""

import jax
import jax.numpy as jnp
from jax import Array

BISECTIONS = 30  # a float32 has 24 bits
TINY = float(jnp.finfo(jnp.float32).tiny)  # so that zero does not divide
NEWTON_STEPS = 50  # each moves at least one coordinate to its bound; a handful will do


def l1_ball(delta: Array, room: Array, radius: Array) -> Array:
    """The nearest point, in Euclidean distance, of an l1 ball cut by a box.

    `sign(delta_i) clip(|delta_i| - m, 0, room_i)`, with the least `m >= 0` at which the
    absolute values add up to the radius or less.

    Args:
      delta: `[B, N]`.
      room: `[B, N]`, how far each coordinate may go in its direction, not negative.
      radius: scalar, not negative.

    Returns:
      `[B, N]`.

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
    length = jnp.sum(nearest, axis=1, keepdims=True)  # of long ones, rounded upwards
    return (
        jnp.sign(delta) * nearest * jnp.minimum(1.0, radius / jnp.maximum(length, TINY))
    )


def hyperplane(w: Array, gap: Array, room: Array, norm: str) -> Array:
    """The step of least norm, inside a box, after which a linear function is zero.

    Args:
      w: `[B, N]`, the function's gradient.
      gap: `[B]`, its value now: the step s solves `gap + <w, s> = 0`.
      room: `[B, N]`, how far each coordinate may go against `sign(gap) w`, not
        negative.
      norm: "linf", "l2" or "l1", what is least.

    Returns:
      `[B, N]`; where the box holds no solution, the step to its corner nearest to one.

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
    """Coordinates of the largest weights go all the way, until the gap is closed."""
    order = jnp.argsort(-weight, axis=1)
    gain = jnp.take_along_axis(weight * room, order, axis=1)
    before = jnp.cumsum(gain, axis=1) - gain
    left = jnp.clip(wanted[:, None] - before, 0.0, gain)
    sorted_weight = jnp.take_along_axis(weight, order, axis=1)
    step = left / jnp.where(sorted_weight > 0, sorted_weight, 1.0)
    back = jnp.argsort(order, axis=1)
    return jnp.minimum(jnp.take_along_axis(step, back, axis=1), room)
