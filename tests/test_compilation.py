"""Programs that are compiled quickly: the same results, alone and inside others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import compilation


@functools.partial(compilation.jit_fast_compile, static_argnames="power")
def power_sum(values, power=1):
    return jnp.sum(values**power)


def test_a_quick_program_runs_alone_and_inside_others():
    rows = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    assert power_sum(rows, power=2) == 55
    np.testing.assert_array_equal(jax.vmap(power_sum)(rows), [3, 12])
    inside = jax.jit(lambda x: 2 * power_sum(x, power=2))
    assert inside(rows) == 110
    slope = jax.grad(lambda x: power_sum(x, power=2))(rows)
    np.testing.assert_array_equal(slope, 2 * rows)


@pytest.mark.parametrize(
    "flags, expected", [("", 1), ("--xla_backend_optimization_level=3", None)]
)
def test_the_users_level_goes_first(monkeypatch, flags, expected):
    asked = []
    jit = jax.jit

    def spy(function, **options):
        asked.append(
            options.get("compiler_options", {}).get(compilation.OPT_LEVEL_FLAG)
        )
        return jit(function, **options)

    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(jax, "jit", spy)
    assert compilation.jit_fast_compile(lambda x: x + 1)(1) == 2
    assert asked[-1] == expected
