"""Converts files of rows from the old, flat format to the nested one.

    python -m symjax.evaluation.convert runs/baseline/results.jsonl ...

In the old format a metric is named by its title ("theorem 1, clever"), in the new one
by a name that does not change ("theorem_1_clever"). The new file replaces the old one
when it is complete. The outcomes `cells/CELL.npz` beside it are renamed to the new cell
ids. Rows in the new format stay as they are, so the command can be repeated.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symjax import io
from symjax.arguments import Parser, command
from symjax.evaluation import titles
from symjax.evaluation.attack import Radius
from symjax.evaluation.rows import ATTACK, AUDIT, METRIC, Row
from symjax.folders import expand
from symjax.terminal import counted

PUBLISHED = {"reference": "published"}
STUDY_RUN = re.compile(r"^(cifar100?-\d+-\w+)-reference")
METRICS = {title: name for name, title in titles.METRICS.items()} | {
    "generalisation gap": "generalization_gap"
}
CHECKS = {title: name for name, title in titles.CHECKS.items()} | {
    "turned image, turned adversarial": "rotated_image",
    "grey image at eps 0.5": "grey_image",
    "returned images hold": "returned_images",
    "loss no longer moving": "loss_converged",
    "found on the path, returned": "path_returned",
    "Square finds no more": "square",
    "transfer finds no more": "transfer",
    "random draws find no more": "random_draws",
}
"""Names of checks by their titles, of which some were others in the old format."""
OF_ATTACK = (
    "steps",
    "step_size",
    "n_restarts",
    "start",
    "attack",
    "loss",
    "keep",
    "eps",
)
SETTINGS = {
    "restarts": "n_restarts",
    "queries": "n_queries",
    "target_classes": "n_target_classes",
}
OVER_ORBIT = ("invariance", "equivariance", "appendix_a1", "theorem", "lemma")
SWITCHED_EPS = (0.01, 0.03)
"""Epsilons at which the study applied single switches of the published protocol."""
PROVENANCE = (
    *("batch_size", "seconds_all_seeds", "seconds", "supersedes", "trained_in"),
    *("config", "data", "commit", "versions", "device", "platform", "utc"),
)
DROPPED = ("settings", "name", "passed")
RENAMED = {"figure": "measured", "source": "literature"}  # facts of a check


def row(old: Mapping[str, Any]) -> Row:
    """Converts one row.

    Args:
      old: a row in the old format, as parsed from JSON.

    Raises:
      ValueError: if it is not such a row.
    """
    names = list(old)
    place = names.index("cell_id")
    identity = {name: old[name] for name in names[:place]}
    facts = {name: old[name] for name in names[place + 1 :] if name not in DROPPED}
    value = facts.pop("value")
    provenance = {name: facts.pop(name) for name in PROVENANCE if name in facts}
    identity = _identity(identity)
    if identity["kind"] == AUDIT:
        facts = {RENAMED.get(name, name): entry for name, entry in facts.items()}
    if "orbit" in facts:
        identity["orbit"] = facts.pop("orbit")
    return Row(identity, value, facts, provenance)


def _identity(old: Mapping[str, Any]) -> dict[str, Any]:
    identity = {SETTINGS.get(name, name): value for name, value in old.items()}
    identity["run"] = STUDY_RUN.sub(r"\1-published", identity["run"])
    for name in ("trunk", "protocol"):
        identity[name] = PUBLISHED.get(identity[name], identity[name])
    title, images = identity.pop("metric"), identity.pop("images", None)
    if images in ("clean", "dequantised"):
        identity["dequantized"] = images == "dequantised"
    elif images is not None:
        source, _, seed = images.partition(", seed ")
        identity["source"] = {"made": "generated"}.get(source, source)
        identity |= {"corruption_seed": int(seed)} if seed else {}
    if title == "accuracy":
        return identity | {"kind": ATTACK, **_radius(identity)}
    if title.startswith("audit, "):
        check = CHECKS[title.removeprefix("audit, ")]
        return identity | {"kind": AUDIT, "check": check, **_radius(identity)}
    name = str(METRICS.get(title, re.sub("[ ,]+", "_", title)))
    unset = [x for x in OF_ATTACK if identity[x] in (None, "none", 0.0)]
    unset += ["norm"] if identity["norm"] is None else []
    kept = {x: entry for x, entry in identity.items() if x not in unset}
    orbit = {"orbit": "C4"} if name.startswith(OVER_ORBIT) else {}
    return {**orbit, **kept, "kind": METRIC, "metric": name}


def _radius(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The epsilon as the user gave it, which rows in the old format did not hold."""
    eps, protocol = identity["eps"], identity["protocol"]
    if isinstance(eps, list):
        eps = tuple(eps)
    if protocol == "sound" or identity["attack"] == "none":
        return Radius(eps, eps).identity()
    given = float(np.ravel(eps)[0] / np.ravel(identity["input_std"])[0])
    if protocol == "switched" and not np.isclose(given, SWITCHED_EPS).any():
        return Radius(eps, eps).identity()
    return Radius(eps, given, "normalized").identity()


def file(path: Path) -> int:
    """Converts one file of rows, and the outcomes beside it.

    Returns:
      The number of rows that were converted.

    Raises:
      ValueError: if a line is not a row; the file is not changed then.
    """
    moved: dict[str, str] = {}

    def converted(parsed: Any) -> dict[str, Any]:
        if "identity" in parsed:
            return parsed
        made = row(parsed)
        moved[parsed["cell_id"]] = made["cell_id"]
        return made.nested()

    with io.locked(path.parent):
        rows = io.read_rows(path, converted, "mend or remove the line")
        cells = path.parent / "cells"
        for old, new in moved.items():
            if (cells / f"{old}.npz").exists():
                (cells / f"{old}.npz").rename(cells / f"{new}.npz")
        io.write_rows(path, rows)
    return len(moved)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    """Converts files and prints the number of converted rows of each."""
    parser = Parser("python -m symjax.evaluation.convert", __doc__)
    parser.add_argument("files", nargs="+", type=expand, metavar="FILE")
    for path in parser.parse_args(arguments).files:
        print(f"{path}: {counted(file(path), 'row')} converted")


if __name__ == "__main__":
    main()
