"""Every rule on intervals holds what its operation gives, at random points of boxes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.metrics.interval import RULES, Interval
from symjax.metrics.propagation import Program, push

FILTER = np.random.default_rng(2).normal(size=(2, 2, 2, 3)).astype(np.float32)
ANY = {"add_any", "expand_dims", "stack", "tile"}  # not primitives in all versions
OPERATIONS = {  # constants that float32 has exactly
    "abs": jnp.abs,
    "add": lambda x: x + x[..., ::-1],
    "and or not": lambda x: (x > 0.25) & ~(x < -0.5) | (x[:, ::-1] >= 0.75),
    "broadcast_in_dim": lambda x: jnp.broadcast_to(x[:, :1], x.shape),
    "ceil": jnp.ceil,
    "clamp": lambda x: jax.lax.clamp(-0.25, x, 0.375),
    "concatenate": lambda x: jnp.concatenate([x, jnp.ones_like(x)], axis=1),
    "conv_general_dilated": lambda x: jax.lax.conv_general_dilated(
        x,
        FILTER.astype(x.dtype),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
    "convert_element_type": lambda x: (x > 0.25).astype(jnp.float32),
    "div": lambda x: x / (x[..., ::-1] + 3),
    "dot_general": lambda x: x @ FILTER[0, 0].astype(x.dtype),
    "dynamic_slice": lambda x: jax.lax.dynamic_slice(x, (0, 1, 1, 0), (1, 2, 2, 2)),
    "eq ne": lambda x: (x == 0.25) | (x[:, ::-1] != x),
    "erf": jax.scipy.special.erf,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "gather": lambda x: x[:, np.array([2, 0, 0])],
    "ge": lambda x: x >= 0.5,
    "gt": lambda x: x > x[:, ::-1],
    "integer_pow": lambda x: jax.lax.integer_pow(x, 3) + jax.lax.integer_pow(x, 4),
    "le": lambda x: x <= x[:, ::-1],
    "log": lambda x: jnp.log(x + 3),
    "log1p": lambda x: jnp.log1p(x + 2.5),
    "logistic": jax.nn.sigmoid,
    "lt": lambda x: x < 0.125,
    "max": lambda x: jnp.maximum(x, x[:, ::-1]),
    "min": lambda x: jnp.minimum(x, 0.25),
    "mul": lambda x: x * x[..., ::-1] - x * FILTER[:1, :1, :, :1].transpose(0, 1, 3, 2),
    "neg": lambda x: -x,
    "pad": lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=7),
    "reduce_max": lambda x: jnp.max(x, axis=1),
    "reduce_min": lambda x: jnp.min(x, axis=1),
    "reduce_sum": lambda x: jnp.sum(x, axis=(1, 2)),
    "reduce_window_max": lambda x: nn.max_pool(x, (2, 2)),
    "reduce_window_min": lambda x: jax.lax.reduce_window(
        x, np.inf, jax.lax.min, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"
    ),
    "reduce_window_sum": lambda x: nn.avg_pool(x, (2, 2)),
    "reshape": lambda x: x.reshape(1, 2, 8, 2),
    "rev": lambda x: jax.lax.rev(x, (1,)),
    "round": lambda x: jnp.round(3 * x),
    "rsqrt": lambda x: jax.lax.rsqrt(x + 3),
    "select_n": lambda x: jnp.where(x > 0.125, x, 0.25 * x),
    "sign": jnp.sign,
    "slice": lambda x: x[:, 1:3],
    "sqrt": lambda x: jnp.sqrt(x + 3),
    "square": jnp.square,
    "squeeze": lambda x: jnp.squeeze(x, 0),
    "stack": lambda x: jnp.stack([x, x[:, ::-1]]),
    "sub": lambda x: x - x[:, ::-1],
    "tanh": jnp.tanh,
    "tile": lambda x: jnp.tile(x, (1, 2, 1, 1)),
    "transpose": lambda x: x.transpose(0, 3, 1, 2),
}


@pytest.mark.slow
def test_every_rule_holds_what_its_operation_gives():
    rng = np.random.default_rng(0)
    low = rng.uniform(-2, 2, (1, 4, 4, 2))
    high = low + rng.choice([0, 0.3, 3], low.shape)
    points = rng.uniform(low, high, (50, *low.shape))
    points = np.concatenate([points, [low, high]])
    seen = set()
    for names, function in OPERATIONS.items():
        traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(low.shape, jnp.float32))
        program = Program(traced)
        seen |= {step.name for step in program.steps}
        with jax.enable_x64(True):

            def ends(low, high, program=program):
                box = {program.image: Interval(low, high)}
                return push(program.steps, program.known([]) | box)[program.logits]

            found = jax.jit(ends)(jnp.asarray(low), jnp.asarray(high))
            values = np.asarray(jax.jit(jax.vmap(function))(points))
        lower, upper = (np.asarray(end) for end in found)
        assert (lower <= values).all() and (values <= upper).all(), names
        assert np.isfinite(upper * 1.0 - lower * 1.0).all(), names
    assert seen >= set(RULES) - ANY
