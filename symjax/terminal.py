"""Output of commands on any terminal.

terminal.prepare()          # the first call of a command
"""

import codecs
import io
import sys
import unicodedata
import warnings

WIDTH = 80  # columns
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
    """Makes stdout and stderr accept any character, and warnings take one line.

    A character that the encoding of the terminal lacks, such as "±" in ASCII, is
    printed as similar ASCII text or as "?", and raises no UnicodeEncodeError.
    """
    codecs.register_error("symjax.nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="symjax.nearest")
    warnings.showwarning = _one_line


def warn(text: str) -> None:
    """Prints a warning in one line on stderr."""
    print(f"warning: {text}", file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """ "1 seed", "2 seeds", "1,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def fail(error: object) -> int:
    """Prints an error in one line on stderr; returns the exit code, 2."""
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
