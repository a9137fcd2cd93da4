"""Compiling: what XLA is told on each backend, and programs kept on disk.

program = compilation.jit(function, donate_argnums=0)
measure = compilation.jit_fast_compile(function)   # for what runs a few times
compilation.keep_programs(folder)       # the commands do this; a library should not
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.core import Tracer

from symjax.folders import expand

DISABLE_YNN = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""XLA's YNNPACK takes convolutions and products from Eigen, and is slower at them."""

LEVEL = "xla_backend_optimization_level"


def jit(function: Callable, **options: Any) -> Callable:
    """`jax.jit`, with what makes the backend in use fast; call it when there is one.

    Args:
      function: pure, arrays in and arrays out.
      **options: of `jax.jit`.
    """
    return jax.jit(function, compiler_options=backend_options(), **options)


def jit_fast_compile(function: Callable, **options: Any) -> Callable:
    """As `jit`, for what is run a few times: less optimised, compiled sooner.

    On two CPU cores nets compile in half the time, and their gradients are as fast; a
    training step would be a quarter slower (docs/performance.md). Unlike `jit` it may
    be called where there is no backend yet, and its result inside other programs. A
    level that `$XLA_FLAGS` gives goes first.

    Args:
      function: pure, arrays in and arrays out.
      **options: of `jax.jit`.
    """
    inside = jax.jit(function, **options)

    @functools.cache
    def alone() -> Callable:
        told, given = backend_options(), os.environ.get("XLA_FLAGS", "")
        if jax.default_backend() == "cpu" and LEVEL not in given:
            told = told | {LEVEL: 1}
        return jax.jit(function, compiler_options=told, **options)

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        leaves = jax.tree.leaves((arguments, named))
        traced = any(isinstance(leaf, Tracer) for leaf in leaves)
        return (inside if traced else alone())(*arguments, **named)

    return run


@functools.cache
def backend_options() -> dict[str, Any]:
    """The compiler's options for this backend, of those that this XLA knows."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=DISABLE_YNN).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return DISABLE_YNN


def keep_programs(folder: Path) -> None:
    """Keeps compiled programs in `folder`, so that the next start need not compile.

    What the user says by `$JAX_COMPILATION_CACHE_DIR` goes first; empty keeps none.

    Args:
      folder: made when the first program is written.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    jax.config.update("jax_compilation_cache_dir", str(expand(folder)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
