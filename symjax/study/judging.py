"""What the rows say about a claim under one protocol: it holds, it does not, or open.

finding = above(evidence, "sound", ["cifar10-10-parallel_rs-reference"],
                ["cifar10-10-baseline-reference"])
finding.holds                # True, False, or None: what is missing is in the text
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from symjax.study.evidence import Evidence
from symjax.study.tables import ATTACKS, mean

Holds = bool | None
FLOOR = 1.0
"""Percent below which neither of two accuracies is compared: both are nothing."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found under one protocol.

    Attributes:
      holds: None where it is open.
      text: what was seen, or what is missing.
      lost: runs that are not measured.
    """

    holds: Holds
    text: str
    lost: Sequence[str] = ()


Judge = Callable[[Evidence, str], Finding]
WORDS = {True: "holds", False: "does not hold", None: "open"}
UNDER = {"reference": "the published protocol", "sound": "a sound protocol"}


def overall(published: Finding, sound: Finding) -> str:
    """The verdict of a claim that was judged under both protocols.

    Returns:
      "stands", "stands only under ...", "does not stand" or "inconclusive".
    """
    if published.holds is None or sound.holds is None:
        return "inconclusive"
    if published.holds and sound.holds:
        return "stands"
    if published.holds:
        return f"stands only under {UNDER['reference']}"
    return f"stands only under {UNDER['sound']}" if sound.holds else "does not stand"


def above(
    evidence: Evidence,
    protocol: str,
    winners: Sequence[str],
    losers: Sequence[str],
    attacks: Sequence[str] = ATTACKS,
    radii: Sequence[float] = (),
) -> Finding:
    """Whether each winner is more accurate than each loser, in every cell.

    It holds where every paired interval lies above 0. It does not where one lies below,
    or none above; else it is open. Cells in which both are below 1 % say nothing.

    Args:
      evidence: the rows.
      protocol: "reference" or "sound".
      winners, losers: names of runs.
      attacks: that are compared.
      radii: in the protocol's unit; none: all that both have.
    """
    signs, worst, lost = [], None, []
    for ours in winners:
        for theirs in losers:
            for attack in attacks:
                for eps in radii or _shared(evidence, protocol, ours, theirs, attack):
                    found = evidence.difference(ours, theirs, protocol, attack, eps)
                    if found is None:
                        lost += [x for x in (ours, theirs) if x not in lost]
                        continue
                    if _nothing(evidence, protocol, attack, eps, ours, theirs):
                        continue
                    signs.append(int(found.low > 0) - int(found.high < 0))
                    if worst is None or found.value < worst[0].value:
                        worst = found, ours, theirs, attack, eps
    if lost:
        return _missing(lost)
    if worst is None:
        return Finding(None, "every cell is below 1 %")
    found, ours, theirs, attack, eps = worst
    text = (
        f"{sum(sign > 0 for sign in signs)} of {len(signs)} differences above 0, "
        f"{sum(sign < 0 for sign in signs)} below; the least is {found.value:+.2f} "
        f"({found.low:+.2f} to {found.high:+.2f}) points, {ours} less {theirs}, "
        f"{attack} at {eps:.4g}"
    )
    if all(sign > 0 for sign in signs):
        return Finding(True, text)
    if any(sign < 0 for sign in signs) or not any(sign > 0 for sign in signs):
        return Finding(False, text)
    return Finding(None, text)


def below(
    evidence: Evidence,
    protocol: str,
    runs: Sequence[str],
    attack: str,
    eps: float,
    percent: float,
) -> Finding:
    """Whether the mean accuracy of every run is below a number at one epsilon."""
    values = {x: mean(evidence.line(x, protocol, attack), eps) for x in runs}
    lost = [name for name, value in values.items() if value is None]
    if lost:
        return _missing(lost)
    text = ", ".join(f"{name} {value:.2f} %" for name, value in values.items())
    largest = max(value for value in values.values() if value is not None)
    return Finding(largest < percent, f"{attack} at {eps:g}: {text}")


def every(*findings: Finding) -> Finding:
    """Whether all hold: one that does not is enough to refute it."""
    lost = dict.fromkeys(name for finding in findings for name in finding.lost)
    texts = [finding.text for finding in findings if not finding.lost]
    if lost:
        texts.append(_missing(list(lost)).text)
    text = "; ".join(dict.fromkeys(texts))
    if any(finding.holds is False for finding in findings):
        return Finding(False, text)
    undecided = any(finding.holds is None for finding in findings)
    return Finding(None if undecided else True, text, list(lost))


def _missing(names: Sequence[str]) -> Finding:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return Finding(None, f"not measured: {names[0]}{more}", names)


def _shared(evidence, protocol, ours, theirs, attack) -> list[float]:
    lines = [evidence.line(name, protocol, attack) for name in (ours, theirs)]
    if any(line is None for line in lines):
        raise ValueError(f"{ours}, {theirs}: {protocol} {attack} is not in the study.")
    first, second = lines
    return [eps for eps in first.eps if np.isclose(second.eps, eps).any()]


def _nothing(evidence, protocol, attack, eps, *names) -> bool:
    values = [mean(evidence.line(name, protocol, attack), eps) for name in names]
    return all(value is not None and value < FLOOR for value in values)
