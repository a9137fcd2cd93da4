"""Rows in words, for tables and plots.

    title(row)                       # "theorem 1, clever"
    description(row)                 # "pgd-40, linf 8/255, fog 3"

Rows hold the name of a metric or check ("theorem_1_clever"), which never changes. The
words for it may change.
"""

from collections.abc import Mapping
from typing import Any

from symjax.attacks import sanity
from symjax.evaluation.rows import ATTACK, METRIC
from symjax.formatting import attack_name, format_eps

METRICS: dict[str, str] = {
    "appendix_a1": "appendix A.1",
    "section_4_4_variance": "section 4.4, variance",
    "section_4_5_frequency": "section 4.5, frequency",
    "section_4_5_scales_averaged": "section 4.5, scales averaged",
    "theorem_1_clever": "theorem 1, clever",
    "theorem_2_orbit": "theorem 2, orbit",
    "tolerance_removal_published": "tolerance, removal as published",
}
"""Titles of metrics other than their name with spaces in place of underscores."""
CHECKS: dict[str, str] = {
    "epsilon_unit": "epsilon in pixel units",
    **{name: check.title for name, check in sanity.CHECKS.items()},
}


def begins(row: Mapping[str, Any], beginning: str) -> bool:
    """Whether the name or the title of a row's metric begins with a text."""
    return row["metric"].startswith(beginning) or title(row).startswith(beginning)


def title(row: Mapping[str, Any]) -> str:
    """The title of a row's metric or check."""
    if "check" in row:
        return f"audit, {CHECKS.get(row['check'], row['check'])}"
    name = str(row["metric"])
    spaced = name.replace("tolerance_", "tolerance, ").replace("_", " ")
    return METRICS.get(name, spaced)


def metric_name(row: Mapping[str, Any]) -> str:
    """The title of a row's metric with the settings that distinguish it from others.

    Args:
      row: the row of a metric, or the identity of a metric.
    """
    keys = ("norm", "length", "method", "sigma")
    settings = [str(row[key]) for key in keys if row.get(key) is not None]
    if row.get("orbit", "C4") != "C4":
        settings.append(f"under {row['orbit']}")
    return ", ".join([title(row), *settings])


def description(row: Mapping[str, Any]) -> str:
    """What a row measures: the attack, metric or check, the images and the protocol."""
    if row["kind"] != ATTACK:
        text = metric_name(row) if row["kind"] == METRIC else title(row)
    elif row["attack"] == "none":
        text = "clean" if row["corruption"] is None else "no attack"
    else:
        text = f"{attack_name(row)}, {row['norm']} {format_eps(row['eps'])}"
    if row["corruption"] is not None:
        text += f", {row['corruption']} {row['severity']}"
    if row["protocol"] != "sound":
        text += f", {row['protocol']} protocol"
    return text
