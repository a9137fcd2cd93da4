"""Names as people spell them, matched with those that the library has.

    matched("attack", "Auto-Attack", names, SPELLINGS["attack"])     # "autoattack"

Case, spaces, hyphens, underscores and dots do not count.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "attack": {
        "clean": "none",
        "aa": "autoattack",
        "aa+": "autoattack-plus",
        "c&w": "cw",
        "carlini-wagner": "cw",
        "carlini and wagner": "cw",
        "cw2": "cw",
        "square attack": "square",
        "apgd targeted": "apgd-t",
        "fab targeted": "fab-t",
        "fast gradient sign method": "fgsm",
        "projected gradient descent": "pgd",
    },
    "norm": {
        **dict.fromkeys(["inf", "np.inf", "infinity", "linfinity"], "linf"),
        **dict.fromkeys(["2", "euclidean"], "l2"),
        **dict.fromkeys(["1", "manhattan"], "l1"),
    },
    "loss": {"ce": "cross_entropy", "xent": "cross_entropy", "cw": "margin"},
    "metric": {"corruptions": "corruption", "tolerances": "tolerance"},
}
"""By kind: what peers, and papers, call what the library has."""


def matched(kind: str, given: Any, names: Iterable[str]) -> str:
    """The name that is meant.

    Args:
      kind: what is named, for the error and for `SPELLINGS`: "attack", "norm".
      given: as a person wrote it; a number stands for its text.
      names: those that there are.

    Raises:
      ValueError: if none is meant; it proposes the nearest and lists all.
    """
    names = list(names)
    spellings = SPELLINGS.get(kind, {})
    known = {_plain(other): name for other, name in spellings.items() if name in names}
    known |= {_plain(name): name for name in names}
    text = _plain(given)
    if text in known:
        return known[text]
    near = difflib.get_close_matches(text, known, n=1)
    proposal = f"; did you mean {known[near[0]]!r}?" if near else "."
    raise ValueError(f"{kind} {given!r}: expected one of {', '.join(names)}{proposal}")


def _plain(text: Any) -> str:
    return re.sub(r"[\s_.-]", "", str(text).lower().replace("+", "plus"))
