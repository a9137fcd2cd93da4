"""What the commands print, on whatever terminal they print it.

terminal.prepare()          # first thing in a command
"""

import codecs
import io
import sys
import unicodedata
import warnings

WIDTH = 80  # columns that every terminal has
ASCII = {
    "±": "+-",
    "−": "-",
    "–": "-",
    "—": "-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "━": "-",
}


def prepare() -> None:
    """Makes the output streams take every character, and warnings one line.

    A character that the terminal's encoding does not have, as "±" in ASCII, is printed
    as its nearest ASCII text or as "?", instead of a UnicodeEncodeError.
    """
    codecs.register_error("symjax.nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="symjax.nearest")
    warnings.showwarning = _one_line


def warn(text: str) -> None:
    """Prints a warning, one line on stderr."""
    print(f"warning: {text}", file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """ "1 seed", "2 seeds", "1,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def fail(error: object) -> int:
    """Prints an error, one line on stderr; returns the exit code, 2."""
    lines = (line.strip() for line in str(error).splitlines())
    print(f"error: {' '.join(lines)}", file=sys.stderr)
    return 2


def _one_line(message, category, filename, lineno, file=None, line=None) -> None:
    del category, filename, lineno, file, line
    warn(" ".join(str(message).split()))


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_ascii, text)), error.end


def _ascii(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return ASCII.get(character) or plain or "?"
