"""Compiling: what XLA is told on each backend, and programs kept on disk.

program = compilation.jit(function, donate_argnums=0)
compilation.keep_programs(folder)       # the commands do this; a library should not
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

NO_YNN = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""XLA's YNNPACK takes convolutions and products from Eigen, and is slower at them."""


def jit(function: Callable, **options: Any) -> Callable:
    """`jax.jit`, with what makes the backend in use fast; call it when there is one.

    Args:
      function: pure, arrays in and arrays out.
      **options: of `jax.jit`.
    """
    return jax.jit(function, compiler_options=backend_options(), **options)


@functools.cache
def backend_options() -> dict[str, Any]:
    """The compiler's options for this backend, of those that this XLA knows."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=NO_YNN).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return NO_YNN


def keep_programs(folder: Path) -> None:
    """Keeps compiled programs in `folder`, so that the next start need not compile.

    What the user says by `$JAX_COMPILATION_CACHE_DIR` goes first; empty keeps none.

    Args:
      folder: made when the first program is written.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
