"""Evaluation of trained runs: attacks, metrics, the sanity audit, results rows."""

from symjax.evaluation._audit import audit, audit_published
from symjax.evaluation.attack import Attack
from symjax.evaluation.measurement import measure
from symjax.evaluation.results import Results
from symjax.evaluation.run import Run, RunNotFoundError, newest

__all__ = [
    "Attack",
    "Results",
    "Run",
    "RunNotFoundError",
    "audit",
    "audit_published",
    "measure",
    "newest",
]
