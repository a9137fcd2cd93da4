"""A decorator that makes a pure attack public: it checks arguments and compiles.

    @attack("steps", "loss")                 # the settings that are static arguments
    def pgd(logits_fn, images, labels, key, threat, steps=40, loss="dlr"): ...

Inside of `jax.jit` or `jax.vmap` the values of arguments are not known. There they are
checked on the host while the program runs, and the program fails instead of returning a
wrong result.
"""

import difflib
import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax import compilation, nets
from symjax.attacks.checks import (
    check_classes,
    check_finite,
    check_pixels,
    check_step_size,
    check_targets,
    check_threat,
)
from symjax.attacks.inputs import Inputs, as_classes, one_or_each, prepare

LEAST = 1e-10  # the smallest value of settings that must be positive
RANGES = {
    "alpha_max": (0, 1),
    "beta": (0, 1),
    "confidence": (0, np.inf),
    "eot_iter": (0, np.inf),
    "eta": (1, np.inf),
    "initial_constant": (LEAST, np.inf),
    "initial_share": (LEAST, 1),
    "learning_rate": (LEAST, np.inf),
    "momentum": (0, 1),
    "overshoot": (0, np.inf),
    "restart": (0, np.inf),
    "rho": (0, 1),
}
"""The ranges of numeric settings. Of all others the smallest value is 1."""


def attack(*static: str, **requires: Any) -> Callable[[Callable], Callable]:
    """Wraps a pure attack so that it checks its arguments and compiles itself.

    The pure attack takes the fields of `Inputs` in order, without `classes`, and then
    its settings. `unchecked(attack)` returns the pure attack.

    Args:
      *static: names of the settings that are static in the compiled program.
      **requires: keyword arguments for `prepare`.
    """

    def decorate(function: Callable) -> Callable:
        signature, name = inspect.signature(function), function.__name__

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            values = _bind(name, signature, arguments, options)
            given, settings = values[:5], dict(values[5:])
            settings = {
                key: _setting(name, signature.parameters[key], value, key in static)
                for key, value in settings.items()
            }
            randomized = bool(settings.get("eot_iter", 0))
            inputs = prepare(
                name, *(x for _, x in given), **requires, randomized=randomized
            )
            settings = _arrays(name, settings, inputs)
            call = inputs[:5]
            if nets.is_traced(call, settings):
                outcome, finite = _with_finite(function, randomized)(*call, **settings)
                infinite = requires.get("infinite_eps", False)
                ok = _check_while_running(inputs, settings, finite, infinite)
                return _only_if(ok, outcome)
            program = _program(function, static, randomized)
            try:
                outcome, finite = program(*call, **settings)
            except ValueError as error:
                if "do not support JVP" not in str(error):
                    raise
                raise ValueError(
                    f"{name}: logits_fn has no gradient, because it calls the host: "
                    "attack it with square, or define its gradient by jax.custom_vjp."
                ) from error
            check_finite(finite)
            return outcome

        return run

    return decorate


def unchecked(attack: Callable) -> Callable:
    """The attack without checks and without its own `jax.jit`.

    Programs whose arguments were checked on the host already call it.
    """
    return getattr(attack, "__wrapped__", attack)


def whole_number(name: str, setting: str, value: Any, least: float = 1) -> int:
    """The setting as an int.

    Raises:
      ValueError: if the value is not a whole number, or is below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}: {setting}={value!r}: expected a whole number.")
    if number < least:
        raise ValueError(f"{name}: {setting}={value}: expected {least} or more.")
    return number


def is_number(value: Any) -> bool:
    """Whether the value is a single number, and not True or False."""
    kinds = int, float, np.integer, np.floating
    return isinstance(value, kinds) and not isinstance(value, bool)


def _bind(name, signature, arguments, options) -> list[tuple[str, Any]]:
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError as error:
        unknown = [x for x in options if x not in signature.parameters]
        near = unknown and difflib.get_close_matches(
            unknown[0], signature.parameters, n=1
        )
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"{name}: {error}.{hint}") from None
    bound.apply_defaults()
    return list(bound.arguments.items())


def _setting(
    attack: str, parameter: inspect.Parameter, value: Any, static: bool
) -> Any:
    """The setting, checked by the type of its default; a Python value if not traced."""
    name, default = parameter.name, parameter.default
    if nets.is_traced(value):
        if static:
            raise ValueError(
                f"{attack}: {name} is traced by a surrounding jax.jit or jax.vmap: "
                f"expected a Python value. Leave out the jax.jit ({attack} compiles "
                "itself), or name the argument in static_argnames."
            )
        return value
    if isinstance(value, (np.generic, np.ndarray, Array)) and np.size(value) == 1:
        value = np.asarray(value).item()
    if isinstance(default, (bool, str)) and not isinstance(value, type(default)):
        kind = "a string" if isinstance(default, str) else "True or False"
        raise ValueError(f"{attack}: {name}={value!r}: expected {kind}.")
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        return value
    low, high = RANGES.get(name, (1, np.inf))
    if isinstance(default, int):
        return whole_number(attack, name, value, low)
    if not (is_number(value) and low <= value <= high and np.isfinite(value)):
        limits = f"{low} or more" if high == np.inf else f"{low} to {high}"
        raise ValueError(
            f"{attack}: {name}={value!r}: expected a finite number, {limits}."
        )
    return value


def _arrays(attack: str, settings: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
    """The settings; `rank` is checked, arrays are checked and converted."""
    settings, images, classes = dict(settings), inputs.images, inputs.classes
    rank, targets, step, start = (
        settings.get(name) for name in ("rank", "targets", "step_size", "start")
    )
    wanted = settings.get("targeted") and not nets.is_traced(rank)
    if wanted and not 2 <= int(rank or 0) <= classes:
        raise ValueError(
            f"{attack}: rank={rank}: expected 2 to {classes}, the number of classes."
        )
    if targets is not None:
        targets = as_classes("targets", targets, len(images), classes)
        check_targets(inputs.labels, targets)
        settings["targets"] = targets
    if step is not None:
        dtype = images.dtype
        settings["step_size"] = one_or_each("step_size", step, images.shape[-1], dtype)
        check_step_size(step)
    if start is not None:
        if np.shape(start) != images.shape:
            raise ValueError(
                f"{attack}: start of shape {np.shape(start)}: expected {images.shape}, "
                "the shape of the images."
            )
        start = settings["start"] = jnp.asarray(start, images.dtype)
        if not nets.is_traced(start, images, inputs.threat):
            inside = inputs.threat.contains(start, images)
            if not inside.all():
                raise ValueError(
                    f"{attack}: start leaves the ball or the bounds for image "
                    f"{np.argmin(inside)}: project it with threat.project first."
                )
    return settings


def _with_finite(function: Callable, randomized: bool) -> Callable:
    """The attack; it also returns whether each clean image's logits are finite."""

    def run(net, images, labels, key, threat, **settings):
        outcome = function(net, images, labels, key, threat, **settings)
        logits = net(images, key) if randomized else net(images)
        return outcome, jnp.all(jnp.isfinite(logits), axis=1)

    return run


@functools.cache
def _program(function: Callable, static: tuple[str, ...], randomized: bool):
    run = _with_finite(function, randomized)
    return compilation.jit(run, static_argnames=static)


def _check_while_running(
    inputs: Inputs, settings: dict[str, Any], finite: Array, infinite: bool
) -> Array:
    """Checks traced values on the host while the program runs; True if they are valid.

    The program fails if a value is invalid.
    """
    images, labels, threat = inputs.images, inputs.labels, inputs.threat
    extremes = jnp.stack([end(images, (0, 1, 2)) for end in (jnp.min, jnp.max)])
    arrays = [settings.get(name) for name in ("targets", "step_size")]

    def check(values):
        pixels, labels, threat, targets, step_size, finite = jax.tree.map(
            np.asarray, values
        )
        check_threat(threat, images.shape[1:], infinite)
        check_pixels(pixels[None, None], threat)
        check_classes("labels", labels, inputs.classes)
        check_classes("targets", targets, inputs.classes)
        check_targets(labels, targets)
        check_step_size(step_size)
        check_finite(finite)
        return np.True_

    flag = jax.ShapeDtypeStruct((), jnp.bool_)
    values = extremes, labels, threat, *arrays, finite
    return jax.pure_callback(check, flag, values, vmap_method="sequential")


def _only_if(ok: Array, outcome: Any) -> Any:
    """The outcome, made to depend on the checks, so that XLA cannot remove them."""

    def depend(leaf):
        if leaf.dtype == jnp.bool_:
            return leaf & ok
        missing = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else -1
        return jnp.where(ok, leaf, missing)

    return jax.tree.map(depend, outcome)
