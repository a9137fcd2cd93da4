"""Rows of results, for tests that make rows up, and what metrics of a net are given."""

import dataclasses

import jax
from jax.tree_util import Partial
from rich.console import Console

from symjax import io
from symjax.evaluation.metrics.base import SeedContext
from symjax.evaluation.results import Results
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
QUIET = Console(quiet=True)


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


def add(folder, value=0.5, outcomes=None, facts=(), provenance=(), **changes):
    """Writes `row(value, facts, provenance, **changes)` and the outcomes of images."""
    made = row(value, facts, provenance, **changes)
    parts = outcomes or {}, made.facts, made.provenance
    return Results(folder).add(made.identity, value, *parts)


def outcomes_of(folder, row):
    """The saved outcomes of the images of a row."""
    return io.read_arrays(folder / "cells" / f"{row['cell_id']}.npz", "")


def seed_context(net, images, labels, **changes):
    """A net and its images, as a metric of a run gets them."""
    layers = Partial(lambda x: {"head": net(x)})
    rest = jax.random.key(0), None, lambda done, total: None, None, 0
    context = SeedContext(net, layers, images, labels, *rest)  # pyright: ignore
    return dataclasses.replace(context, **changes)
