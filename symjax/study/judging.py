"""What the rows say about a claim under one protocol: it holds, it does not, or open.

finding = above(evidence, "sound", ["cifar10-10-parallel_rs-published"],
                ["cifar10-10-baseline-published"])
finding.holds                # True, False, or None: what is missing is in the text
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from symjax.statistics import Estimate
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
UNDER = {"published": "the published protocol", "sound": "a sound protocol"}


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
        return f"stands only under {UNDER['published']}"
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

    It holds where every paired interval lies above 0, and does not where one lies
    below; else it is open. Cells in which both are below 1 % say nothing.

    Args:
      evidence: the rows.
      protocol: "published" or "sound".
      winners, losers: names of runs.
      attacks: that are compared.
      radii: in the protocol's unit; none: all that both have.
    """
    found, text, lost = _compared(evidence, protocol, winners, losers, attacks, radii)
    if lost or not found:
        return Finding(None, text, lost)
    if any(each.high < 0 for each in found):
        return Finding(False, text)
    return Finding(True if all(each.low > 0 for each in found) else None, text)


def not_below(
    evidence: Evidence,
    protocol: str,
    ours: Sequence[str],
    theirs: Sequence[str],
    attacks: Sequence[str] = ATTACKS,
    radii: Sequence[float] = (),
) -> Finding:
    """Whether none of ours is less accurate than any of theirs: no paired interval lies
    below 0. Arguments as in `above`."""
    found, text, lost = _compared(evidence, protocol, ours, theirs, attacks, radii)
    if lost or not found:
        return Finding(None, text, lost)
    return Finding(all(each.high >= 0 for each in found), text)


def _compared(
    evidence, protocol, winners, losers, attacks, radii
) -> tuple[list[Estimate], str, list[str]]:
    """Differences that say something, what they come to in words, runs without rows."""
    kept, worst, lost = [], "", []
    for ours, theirs, attack in itertools.product(winners, losers, attacks):
        for eps in radii or _shared(evidence, protocol, ours, theirs, attack):
            found = evidence.difference(ours, theirs, protocol, attack, eps)
            if found is None:
                lost += [x for x in (ours, theirs) if x not in lost]
            elif not _nothing(evidence, protocol, attack, eps, ours, theirs):
                if all(found.value < other.value for other in kept):
                    worst = (
                        f"the least is {found.value:+.2f} ({found.low:+.2f} to "
                        f"{found.high:+.2f}) points, {ours} less {theirs}, {attack} at "
                        f"{eps:.4g}"
                    )
                kept.append(found)
    if lost:
        return kept, missing(lost).text, lost
    if not kept:
        return kept, "every cell is below 1 %", lost
    counts = sum(x.low > 0 for x in kept), sum(x.high < 0 for x in kept)
    text = f"{counts[0]} of {len(kept)} differences above 0, {counts[1]} below; {worst}"
    for name in (*winners, *losers):
        if count := evidence.diverged(name):
            text += f"; {count} seeds of {name} diverged"
    return kept, text, lost


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
        return missing(lost)
    text = ", ".join(f"{name} {value:.2f} %" for name, value in values.items())
    largest = max(value for value in values.values() if value is not None)
    return Finding(largest < percent, f"{attack} at {eps:g}: {text}")


def every(*findings: Finding) -> Finding:
    """Whether all hold: one that does not is enough to refute it."""
    lost = dict.fromkeys(name for finding in findings for name in finding.lost)
    texts = [finding.text for finding in findings if not finding.lost]
    if lost:
        texts.append(missing(list(lost)).text)
    text = "; ".join(dict.fromkeys(texts))
    if any(finding.holds is False for finding in findings):
        return Finding(False, text)
    undecided = any(finding.holds is None for finding in findings)
    return Finding(None if undecided else True, text, list(lost))


def missing(names: Sequence[str]) -> Finding:
    """Open, because these runs are not measured."""
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
