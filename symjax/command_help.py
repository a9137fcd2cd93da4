"""The text that `--help` prints for a command whose flags are absl's.

text = show_help("Trains a net.", ["python train.py ..."], {"The run": ["workdir"]})
exit_if_asked(sys.argv, text)
"""

import sys
import textwrap
from collections.abc import Mapping, Sequence

from absl import flags

from symjax.terminal import WIDTH

FLAGS = flags.FLAGS
ASKED = ("help", "h", "helpshort", "?", "helpfull")  # after one hyphen or two


def show_help(
    summary: str, examples: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> str:
    """The help of a command: summary, examples and flags, at most 80 columns wide.

    Args:
      summary: what the command does, in whole sentences.
      examples: commands that can be copied into a shell; they are not wrapped.
      groups: names of defined flags, by the heading under which they are listed.

    Raises:
      ValueError: if a flag is not defined.
    """
    parts = [textwrap.fill(" ".join(summary.split()), WIDTH)]
    parts.append("\n".join(["Examples:", *(f"  {example}" for example in examples)]))
    for heading, names in groups.items():
        parts.append("\n".join([f"{heading}:", *map(_flag, names)]))
    parts.append("--help prints this text, and --helpfull also the flags of absl.")
    return "\n\n".join(parts) + "\n"


def exit_if_asked(argv: Sequence[str], text: str) -> None:
    """Prints the help and exits with code 0 if a flag such as `--help` is given.

    Args:
      argv: the command line, whose first element is the program. Arguments after "--"
        are ignored.
      text: the text of `show_help`; `--helpfull` adds all flags of absl.
    """
    given = list(argv[1:])
    given = given[: given.index("--")] if "--" in given else given
    names = [word.lstrip("-") for word in given if word.startswith("-")]
    asked = [name for name in names if name in ASKED]
    if asked:
        print(f"{text}\n{FLAGS.get_help()}" if "helpfull" in asked else text, end="")
        sys.exit(0)


def _flag(name: str) -> str:
    """A flag with a placeholder of its value, followed by its help and its default."""
    if name not in FLAGS:
        raise ValueError(f"--{name}: expected the name of a flag that is defined.")
    flag = FLAGS[name]
    text, value = " ".join((flag.help or "").split()), f" {_placeholder(flag)}"
    if isinstance(flag, flags.EnumFlag):
        choices = "|".join(flag.parser.enum_values)  # pyright: ignore
        text, value = text.removeprefix(f"<{choices}>: "), f" {choices}"
    head = f"  --[no]{name}" if flag.boolean else f"  --{name}{value}"
    default = (flag.default_as_str or "").strip("'")
    if flag.boolean and flag.default:
        text += f" It is on by default; --no{name} turns it off."
    elif default not in ("", "None") and not flag.boolean:
        text += f" The default is {default}."
    indent = 6 * " "
    lines = textwrap.wrap(head, WIDTH, subsequent_indent=indent)
    lines += textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)


def _placeholder(flag: flags.Flag) -> str:
    kinds = {"int": "INTEGER", "float": "NUMBER", "config object": "FILE"}
    kind = flag.flag_type()
    return "A,B,..." if "list" in kind else kinds.get(kind, "TEXT")
