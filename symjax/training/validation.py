"""The valid values of each key of a configuration.

    check(config.to_dict())          # ValueError: "seeds=0: expected an integer of ..."

Whether values are compatible with each other and with the data is checked where they
are used.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from symjax import data, models
from symjax.data import digits
from symjax.training import adversarial, optimizer

LARGEST = 2**31 - 1
"""The largest int32."""
MAX_SEEDS, MAX_EPOCHS, MAX_WIDTH, MAX_BATCH = 10_000, 10**6, 100, 10**5
"""Limits far above useful values. Larger ones would exhaust memory or int32 later."""


class Rule(NamedTuple):
    """What is expected of the value of a key.

    Attributes:
      accepts: returns whether a value is valid.
      text: the expected values, in words that follow "expected" in an error.
      names: the valid names, from which an error proposes the nearest one.
    """

    accepts: Callable[[Any], bool]
    text: str
    names: Sequence[Any] = ()


def _integer(least: int, most: int = LARGEST) -> Rule:
    def is_fine(value: Any) -> bool:
        known = isinstance(value, int) and not isinstance(value, bool)
        return known and least <= value <= most

    return Rule(is_fine, f"an integer of {least} or more, up to {most:,}")


def _number(accepts: Callable[[float], bool], text: str) -> Rule:
    def is_fine(value: Any) -> bool:
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return known and math.isfinite(value) and accepts(value)

    return Rule(is_fine, f"a finite number {text}")


def _one_of(names: Sequence[Any]) -> Rule:
    return Rule(lambda x: x in names, f"one of {list(names)}", names)


def _numbers(accepts: Callable[[Sequence[float]], bool], text: str) -> Rule:
    each = _number(lambda x: True, "").accepts
    return Rule(
        lambda x: isinstance(x, list | tuple) and all(map(each, x)) and accepts(x), text
    )


_ABOVE_0 = _number(lambda x: x > 0, "above 0")
_NOT_NEGATIVE = _number(lambda x: x >= 0, "of 0 or more")
_TEXT = Rule(lambda x: isinstance(x, str), "text")
_SWITCH = Rule(lambda x: isinstance(x, bool), "True or False")
_ORDER = Rule(
    lambda x: isinstance(x, list | tuple) and all(isinstance(n, str) for n in x),
    "names of layers",
)

RULES = {
    "name": Rule(lambda x: isinstance(x, str) and bool(x), "a name"),
    "first_seed": _integer(0, LARGEST - MAX_SEEDS),
    "seeds": _integer(1, MAX_SEEDS),
    "epochs": _integer(1, MAX_EPOCHS),
    "batch_size": _integer(1),
    "model.name": _one_of(list(models.MODELS)),
    "model.depth": _integer(1),
    "model.trunk": _TEXT,
    "model.width": _number(lambda x: 0 < x <= MAX_WIDTH, f"above 0, up to {MAX_WIDTH}"),
    "model.group": _TEXT,
    "model.basis": _TEXT,
    "model.readout": _TEXT,
    "model.order": _ORDER,
    "model.mean": _numbers(
        lambda x: len(x) > 0, "a list of one finite number, or of one per channel"
    ),
    "model.std": _numbers(
        lambda x: len(x) > 0 and min(x) > 0,
        "a list of one number above 0, or of one per channel",
    ),
    "model.dtype": _TEXT,
    "model.lowering": _TEXT,
    "dataset.name": _one_of(data.NAMES),
    "dataset.data_dir": Rule(lambda x: isinstance(x, str) and bool(x), "a folder"),
    "dataset.cache_dir": _TEXT,
    "dataset.size": _integer(1, digits.LARGEST_SIDE),
    "dataset.train_images": _integer(0),
    "dataset.validation_images": _integer(0),
    "dataset.augment": _SWITCH,
    "optimizer.rate": _ABOVE_0,
    "optimizer.schedule": _one_of(optimizer.SCHEDULES),
    "optimizer.decay_epochs": _integer(1, MAX_EPOCHS),
    "optimizer.decay_factor": _ABOVE_0,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.label_smoothing": _number(lambda x: 0 <= x < 1, "from 0 to below 1"),
    "training.mode": _one_of(adversarial.MODES),
    "training.eps_pixels": _number(
        lambda x: 0 <= x <= 1, "from 0 to 1, in pixels of [0, 1], as 8/255 = 0.031"
    ),
    "training.drop_last": _SWITCH,
    "training.steps": _integer(1),
    "training.step_size_pixels": _number(
        lambda x: 0 < x <= 1, "above 0, to 1, in pixels of [0, 1], as 2/255 = 0.008"
    ),
    "training.bounds": _numbers(
        lambda x: len(x) == 2 and x[0] < x[1], "two numbers, the smaller one first"
    ),
    "mesh.seed": _integer(0),
    "mesh.data": _integer(0),
    "evaluation.every_epochs": _integer(1),
    "evaluation.batch_size": _integer(1, MAX_BATCH),
    "checkpoint.every_epochs": _integer(1),
    "checkpoint.keep": _integer(1),
}
"""Keys that every configuration has; run folders of older versions lack other keys."""


def check(config: Mapping[str, Any]) -> None:
    """Checks each value of a nested configuration.

    Raises:
      ValueError: for the first key that is missing or has an invalid value.
    """
    values = dict(flat(config))
    for key, rule in RULES.items():
        if key not in values:
            raise ValueError(f"{key} is missing: expected {rule.text}.")
        value = values[key]
        if not rule.accepts(value):
            near = difflib.get_close_matches(str(value), map(str, rule.names), 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{key}={value!r}: expected {rule.text}.{hint}")


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of nested keys, joined by dots, and their values."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
