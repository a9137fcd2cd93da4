"""Compilation: options for XLA on each backend, and the cache of compiled programs.

program = compilation.jit(function, donate_argnums=0)
measure = compilation.jit_fast_compile(function)   # for programs that run a few times
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
"""Disables YNNPACK, which XLA uses for convolutions and products instead of Eigen; it
is slower than Eigen."""

OPT_LEVEL_FLAG = "xla_backend_optimization_level"


def jit(function: Callable, **options: Any) -> Callable:
    """`jax.jit` with the fastest compiler options of the current backend.

    The call initializes the backend.

    Args:
      function: a pure function of arrays that returns arrays.
      **options: options of `jax.jit`.
    """
    return jax.jit(function, compiler_options=backend_options(), **options)


def jit_fast_compile(function: Callable, **options: Any) -> Callable:
    """`jit` with less optimization, for programs that run only a few times.

    On two CPU cores nets compile in half the time, and their gradients are as fast; a
    training step would be a quarter slower (docs/performance.md). Unlike `jit`, the
    call does not initialize the backend, and the result can be called inside other
    programs. An optimization level in `$XLA_FLAGS` has precedence.

    Args:
      function: a pure function of arrays that returns arrays.
      **options: options of `jax.jit`.
    """
    inside = jax.jit(function, **options)

    @functools.cache
    def alone() -> Callable:
        flags, given = backend_options(), os.environ.get("XLA_FLAGS", "")
        if jax.default_backend() == "cpu" and OPT_LEVEL_FLAG not in given:
            flags = flags | {OPT_LEVEL_FLAG: 1}
        return jax.jit(function, compiler_options=flags, **options)

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        leaves = jax.tree.leaves((arguments, named))
        traced = any(isinstance(leaf, Tracer) for leaf in leaves)
        return (inside if traced else alone())(*arguments, **named)

    return run


@functools.cache
def backend_options() -> dict[str, Any]:
    """The compiler options for the current backend that this version of XLA accepts."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=DISABLE_YNN).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return DISABLE_YNN


def keep_programs(folder: Path) -> None:
    """Keeps compiled programs in `folder`, so that the next start need not compile.

    The variable `$JAX_COMPILATION_CACHE_DIR` has precedence; if it is empty, no
    programs are kept.

    Args:
      folder: the folder, which is created when the first program is written.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    jax.config.update("jax_compilation_cache_dir", str(expand(folder)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
