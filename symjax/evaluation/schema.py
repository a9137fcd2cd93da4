"""What a row of `results.jsonl` holds; every row is checked where it is read.

check(row)                 # ValueError: "value='x': expected a number, or null ..."
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a value has to be.

    Attributes:
      accepts: whether a value is fine.
      text: what is expected, after "expected".
    """

    accepts: Callable[[Any], bool]
    text: str


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _or_null(rule: Rule) -> Rule:
    return Rule(lambda x: x is None or rule.accepts(x), f"{rule.text}, or null")


def _list_of(rule: Rule, text: str) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(map(rule.accepts, value))

    return Rule(accepts, text)


TEXT = Rule(lambda x: isinstance(x, str), "text")
NUMBER = Rule(_is_number, "a number")
COUNT = Rule(
    lambda x: _is_number(x) and isinstance(x, int) and x >= 0,
    "a whole number of 0 or more",
)
SWITCH = Rule(lambda x: isinstance(x, bool), "true or false")
OBJECT = Rule(lambda x: isinstance(x, dict), "an object")
NAMES = _list_of(TEXT, "a list of names")
NUMBERS = _list_of(NUMBER, "a list of numbers")
PER_CHANNEL = Rule(
    lambda x: _is_number(x) or (NUMBERS.accepts(x) and len(x) > 0),
    "a number, or a list of one number a channel",
)

NEEDED = {
    **dict.fromkeys(("cell_id", "run", "model", "trunk", "dataset", "dtype"), TEXT),
    **dict.fromkeys(("metric", "attack", "protocol", "split", "data"), TEXT),
    **dict.fromkeys(("depth", "epoch", "n", "seed", "severity"), COUNT),
    **dict.fromkeys(("norm", "corruption"), _or_null(TEXT)),
    "eps": PER_CHANNEL,
    "diverged": SWITCH,
    "value": _or_null(NUMBER),
}
"""Of every row."""

OTHERS = {
    **dict.fromkeys(("utc", "commit", "images", "group", "orbit"), TEXT),
    **dict.fromkeys(("steps", "undefined", "no_error_found"), _or_null(COUNT)),
    **dict.fromkeys(("low", "high", "exact"), _or_null(NUMBER)),
    **dict.fromkeys(("versions", "broken_by"), OBJECT),
    "levels": NUMBERS,
    "settings": NAMES,
    "in_ball": SWITCH,
    "input_std": PER_CHANNEL,
}
"""Of rows that have them."""


def check(row: Any) -> None:
    """Checks that a row holds what tables, figures and pages need of it.

    Args:
      row: as parsed from a line of JSON.

    Raises:
      ValueError: for the first entry that is not there, or is of another type.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{_shown(row)}: expected one JSON object a line")
    for name, rule in {**NEEDED, **OTHERS}.items():
        needed = name in NEEDED or name in _needed_as_well(row)
        if name not in row and needed:
            raise ValueError(f"{name} is missing: expected {rule.text}")
        if name in row and not rule.accepts(row[name]):
            raise ValueError(f"{name}={_shown(row[name])}: expected {rule.text}")
    if row["value"] is None and not _may_lack_value(row):
        raise ValueError("value=null: expected a number, as the seed did not diverge")
    if row["attack"] == "pgd" and row["steps"] is None:
        raise ValueError("steps=null: expected a number of steps, since pgd has them")


def _needed_as_well(row: dict[str, Any]) -> set[str]:
    """What is needed of such a row beside `NEEDED`."""
    names = {"steps"} if row.get("attack") == "pgd" else set()
    if row.get("corruption") is not None:
        names |= {"images"}
        names |= {"input_std"} if row.get("protocol") == "reference" else set()
    of_metric = row.get("metric") != "accuracy" and not _is_audit(row)
    return names | ({"settings"} if of_metric and not row.get("diverged") else set())


def _may_lack_value(row: dict[str, Any]) -> bool:
    """Seeds that diverged have no value, nor has a check that does not apply."""
    return row["diverged"] or _is_audit(row)


def _is_audit(row: dict[str, Any]) -> bool:
    return str(row.get("metric")).startswith("audit")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
