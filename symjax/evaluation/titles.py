"""Titles of metrics and of the checks of the audit, for tables, plots and pages.

    title(row)                       # "theorem 1, clever"

Rows name a metric or a check by a slug, which never changes; its title may.
"""

from collections.abc import Mapping
from typing import Any

from symjax.attacks import sanity

METRICS: dict[str, str] = {
    "appendix_a1": "appendix A.1",
    "clever": "clever",
    "cost": "cost",
    "distance": "distance",
    "equation_12": "equation 12",
    "equivariance": "equivariance",
    "generalization_gap": "generalisation gap",
    "invariance": "invariance",
    "lemma_1": "lemma 1",
    "lemma_2": "lemma 2",
    "lemma_3": "lemma 3",
    "lemma_4": "lemma 4",
    "lemma_5": "lemma 5",
    "lipschitz": "lipschitz",
    "section_4_4_variance": "section 4.4, variance",
    "section_4_5_frequency": "section 4.5, frequency",
    "section_4_5_scales_averaged": "section 4.5, scales averaged",
    "smoothing": "smoothing",
    "tangent_slope": "tangent slope",
    "theorem_1": "theorem 1",
    "theorem_1_clever": "theorem 1, clever",
    "theorem_2": "theorem 2",
    "theorem_2_orbit": "theorem 2, orbit",
    "tolerance_invariant_box": "tolerance, invariant box",
    "tolerance_noise": "tolerance, noise",
    "tolerance_removal": "tolerance, removal",
    "tolerance_removal_published": "tolerance, removal as published",
    "tolerance_rotation": "tolerance, rotation",
    "tolerance_scale": "tolerance, scale",
    "tolerance_translation": "tolerance, translation",
}
CHECKS: dict[str, str] = {
    "epsilon_unit": "epsilon in pixel units",
    **{name: check.title for name, check in sanity.CHECKS.items()},
}


def begins(row: Mapping[str, Any], beginning: str) -> bool:
    """Whether the name of a row's metric, or its title, begins so."""
    return row["metric"].startswith(beginning) or title(row).startswith(beginning)


def title(row: Mapping[str, Any]) -> str:
    """The title of a row's metric or check; a name without a title is its own."""
    if "check" in row:
        return f"audit, {CHECKS.get(row['check'], row['check'])}"
    name = str(row["metric"])
    return METRICS.get(name, name)


def metric_name(row: Mapping[str, Any]) -> str:
    """The title of a row's metric, and those of its settings that tell it from others.

    Args:
      row: of a metric, or the settings of a metric.
    """
    keys = ("norm", "length", "method", "sigma")
    settings = [str(row[key]) for key in keys if row.get(key) is not None]
    if row.get("orbit", "C4") != "C4":
        settings.append(f"under {row['orbit']}")
    return ", ".join([title(row), *settings])
