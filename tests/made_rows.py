"""Rows of results, for tests that make rows up."""

from symjax.evaluation.rows import Row
from symjax.formatting import format_eps

IDENTITY = {
    "run": "net",
    "model": "baseline",
    "depth": 4,
    "width": 1.0,
    "trunk": "matched",
    "trunk_version": 1,
    "basis": "full",
    "epoch": 1,
    "dataset": "digits",
    "dtype": "float32",
    "protocol": "sound",
    "kind": "attack",
    "attack": "none",
    "steps": None,
    "split": "test",
    "n": 3,
    "seed": 0,
    "norm": None,
    "eps": 0.0,
    "eps_given": "0",
    "eps_unit": "pixel",
    "corruption": None,
    "severity": 0,
}
OF_ATTACK = ("attack", "steps", "norm", "eps", "eps_given", "eps_unit")
FACTS = {"diverged": False}
PROVENANCE = {"data": "hash"}


def identity(**changes):
    """A flat identity; of a metric or a check where `changes` name one."""
    if "metric" in changes:
        kept = {key: x for key, x in IDENTITY.items() if key not in OF_ATTACK}
        return {**kept, "kind": "metric", **changes}
    kind = "audit" if "check" in changes else "attack"
    given = {"eps_given": format_eps(changes.get("eps", 0.0))}
    return {**IDENTITY, "kind": kind, **given, **changes}


def row(value=0.5, facts=(), provenance=(), **changes):
    """A row of `identity(**changes)`."""
    return Row(
        identity(**changes),
        value,
        {**FACTS, **dict(facts)},
        {**PROVENANCE, **dict(provenance)},
    )
