"""Results rows: identity, value, further facts and provenance of a measurement.

    row = Row(identity, value=0.41, facts={...}, provenance={...})
    row["eps"], row.get("orbit")               # every entry by its name
    frame(read([path]))                        # one line per row, one column per name

In memory a row is a flat mapping, because the names of its entries are unique. In a
file it is one line with a nested JSON object, which `docs/rows.md` shows. The identity
describes what was measured: the run, the images, the measurement and the seed. Its hash
is the `cell_id`, which serves to find out whether a cell is measured already.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

Identity = dict[str, Any]
ATTACK, METRIC, AUDIT = KINDS = ("attack", "metric", "audit")

RUN = {
    "run": "name",
    **{
        name: name
        for name in (
            *("model", "depth", "width", "trunk", "trunk_version", "group", "basis"),
            *("training", "epoch", "dtype"),
        )
    },
}
"""Entries of the part "run" of an identity, and their names in a file."""
IMAGES = (
    *("dataset", "split", "n"),
    *("corruption", "severity", "source", "corruption_seed"),
)
"""Entries of the part "images" of an identity. All other entries, except for the seed,
belong to the part "measurement"."""
FIRST = ("kind", "metric", "check", "protocol", "attack", "norm")
"""Entries that are written before the others of the part "measurement"."""
DEFAULTS = {"width": 1.0, "trunk_version": 1, "basis": "full", "orbit": "C4"}
"""Entries that older rows lack, and the values that these rows have implicitly. A new
entry of identities is added here with the value that holds for all existing rows; then
the cell ids of existing rows do not change."""


def nest(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The nested form of a flat identity: "run", "images", "measurement" and "seed"."""
    rest = dict(identity)
    seed = rest.pop("seed", None)
    run = {new: rest.pop(old) for old, new in RUN.items() if old in rest}
    images = {name: rest.pop(name) for name in IMAGES if name in rest}
    measurement = {name: rest.pop(name) for name in FIRST if name in rest} | rest
    return {"run": run, "images": images, "measurement": measurement, "seed": seed}


def flatten(nested: Mapping[str, Any]) -> Identity:
    """The inverse of `nest`; run entries that an older row lacks get their default."""
    run = {old: nested["run"][new] for old, new in RUN.items() if new in nested["run"]}
    parts = {**run, **nested["images"], **nested["measurement"]}
    added = {name: DEFAULTS[name] for name in DEFAULTS if name in RUN}
    seed = {"seed": nested["seed"]} if "seed" in nested else {}
    return {**added, **parts, **seed}


def cell_id(identity: Mapping[str, Any]) -> str:
    """The hash of a flat identity, 16 hexadecimal digits.

    Entries with the value in `DEFAULTS` do not enter the hash.
    """
    named = {
        name: value
        for name, value in identity.items()
        if name not in DEFAULTS or value != DEFAULTS[name]
    }
    text = json.dumps(nest(named), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Row(Mapping[str, Any]):
    """One measured cell: a mapping from the names of all entries to their values.

    Attributes:
      identity: what was measured, flat.
      facts: further measured values, beside `row["value"]`, which is a fraction for an
        accuracy, and None if there is none.
      provenance: commit, versions, device, time and settings of the computation.

    Raises:
      ValueError: for an entry that is missing or has another type, or for a name that
        appears in two of the parts.
    """

    def __init__(
        self,
        identity: Mapping[str, Any],
        value: float | None,
        facts: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ):
        self.identity = dict(identity)
        self.facts, self.provenance = dict(facts), dict(provenance)
        self._flat = {
            **self.identity,
            "cell_id": cell_id(identity),
            "value": value,
            **self.facts,
            **self.provenance,
        }
        names = [*identity, *facts, *provenance]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"{twice}: expected each name in one of identity, facts, provenance"
            )
        _check(self._flat)

    @classmethod
    def of_nested(cls, parsed: Any) -> "Row":
        """The row of a line of a file, parsed from JSON.

        Raises:
          ValueError: as the class, or if the object is not a nested row, or its cell id
            is not the hash of its identity.
        """
        if not isinstance(parsed, dict):
            raise ValueError(f"{_shown(parsed)}: expected one JSON object per line")
        if "identity" not in parsed and "metric" in parsed:
            raise ValueError(
                "the row has an older format: convert its file with `python -m "
                "symjax.evaluation.convert FILE`"
            )
        _check_parts(parsed, ("identity", "facts", "provenance"))
        _check_parts(parsed["identity"], ("run", "images", "measurement"))
        if "value" not in parsed:
            raise ValueError(f"value is missing: expected {NEEDED['value'].text}")
        parts = parsed["value"], parsed["facts"], parsed["provenance"]
        row = cls(flatten(parsed["identity"]), *parts)
        if row["cell_id"] != parsed.get("cell_id"):
            raise ValueError(
                f"cell_id={_shown(parsed.get('cell_id'))}: expected "
                f"{row['cell_id']!r}, the hash of the identity"
            )
        return row

    def nested(self) -> dict[str, Any]:
        """The row as the nested object of a file."""
        return {
            "identity": nest(self.identity),
            "cell_id": self["cell_id"],
            "value": self["value"],
            "facts": self.facts,
            "provenance": self.provenance,
        }

    @property
    def measurement(self) -> dict[str, Any]:
        """The part of the identity that is the measurement and its settings."""
        return nest(self.identity)["measurement"]

    def identity_without(self, names: Collection[str]) -> Identity:
        """The identity without some of its entries."""
        return {key: x for key, x in self.identity.items() if key not in names}

    def __getitem__(self, name: str) -> Any:
        return self._flat[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat)

    def __len__(self) -> int:
        return len(self._flat)

    def __repr__(self) -> str:
        return f"Row({self['cell_id']}, value={self['value']})"


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """A table with one line per row and one column per entry; NaN if it is missing."""
    return pd.DataFrame([dict(row) for row in rows])


class Rule(NamedTuple):
    """What is expected of an entry: a test of its value, and words for an error."""

    accepts: Callable[[Any], bool]
    text: str


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(accepts: Callable[[Any], bool], value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(accepts, value))


def _or_null(rule: Rule) -> Rule:
    return Rule(lambda x: x is None or rule.accepts(x), f"{rule.text}, or null")


TEXT = Rule(lambda x: isinstance(x, str), "text")
TEXTS = Rule(lambda x: _is_list(TEXT.accepts, x), "a list of texts")
NUMBER = Rule(_is_number, "a number")
NUMBERS = Rule(lambda x: _is_list(_is_number, x), "a list of numbers")
COUNT = Rule(
    lambda x: isinstance(x, int) and _is_number(x) and x >= 0,
    "a whole number of 0 or more",
)
SWITCH = Rule(lambda x: isinstance(x, bool), "true or false")
OBJECT = Rule(lambda x: isinstance(x, dict), "an object")
PER_CHANNEL = Rule(
    lambda x: _is_number(x) or (_is_list(_is_number, x) and len(x) > 0),
    "a number, or a list of one number per channel",
)

NEEDED = {
    **dict.fromkeys(("cell_id", "run", "model", "trunk", "dataset", "dtype"), TEXT),
    **dict.fromkeys(("protocol", "split", "data"), TEXT),
    **dict.fromkeys(("depth", "epoch", "n", "seed", "severity"), COUNT),
    "corruption": _or_null(TEXT),
    "kind": Rule(lambda x: x in KINDS, f"one of {list(KINDS)}"),
    "diverged": SWITCH,
    "value": _or_null(NUMBER),
}
"""Entries that every row has."""
NEEDED_BY_KIND = {
    ATTACK: ("attack", "norm", "eps", "eps_given", "eps_unit"),
    METRIC: ("metric",),
    AUDIT: ("check", "attack", "norm", "eps"),
}

OTHERS = {
    **dict.fromkeys(("utc", "commit", "weights", "source", "group", "orbit"), TEXT),
    **dict.fromkeys(("attack", "metric", "check", "eps_given", "eps_unit"), TEXT),
    **dict.fromkeys(("steps", "undefined", "no_error_found"), _or_null(COUNT)),
    **dict.fromkeys(("low", "high", "exact"), _or_null(NUMBER)),
    **dict.fromkeys(("versions", "broken_by"), OBJECT),
    "norm": _or_null(TEXT),
    "eps": PER_CHANNEL,
    "levels": NUMBERS,
    "argv": TEXTS,
    "in_ball": SWITCH,
    "input_std": PER_CHANNEL,
}
"""Entries that some rows have."""


def _check(row: Mapping[str, Any]) -> None:
    """Refuses a row without the entries that tables and plots read, of their types."""
    needed = {*NEEDED, *NEEDED_BY_KIND.get(str(row.get("kind")), ())}
    if row.get("attack") == "pgd":
        needed.add("steps")
    if row.get("corruption") is not None:
        needed.add("source")
    for name, rule in {**NEEDED, **OTHERS}.items():
        if name not in row and name in needed:
            raise ValueError(f"{name} is missing: expected {rule.text}")
        if name in row and not rule.accepts(row[name]):
            raise ValueError(f"{name}={_shown(row[name])}: expected {rule.text}")
    if row["value"] is None and not (row["diverged"] or row["kind"] == AUDIT):
        raise ValueError("value=null: expected a number, as the seed did not diverge")
    if row.get("attack") == "pgd" and row["steps"] is None:
        raise ValueError("steps=null: expected the number of steps of pgd")


def _check_parts(parsed: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(parsed.get(name), dict):
            raise ValueError(f"{name}={_shown(parsed.get(name))}: expected an object")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
