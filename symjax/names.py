"""Common spellings of names, such as those of attacks and norms.

    matched("attack", "Auto-Attack", ["pgd", "autoattack"])     # "autoattack"

Case, spaces, hyphens, underscores and dots are ignored.
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
"""Names that papers and other libraries use, by kind, and the names in this library."""


def matched(kind: str, given: Any, names: Iterable[str]) -> str:
    """The valid name for a name in any common spelling.

    Args:
      kind: the kind of name, such as "attack" or "norm"; a key of `SPELLINGS`, or any
        other noun for the error.
      given: the name as the user wrote it; a number is converted to text.
      names: the valid names.

    Raises:
      ValueError: if no valid name matches; the error proposes the nearest one and lists
        all.
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
