"""The published PyTorch nets and attacks against ours, with the same weights.

    python -m benchmarks.parity PATH_TO_CHECKOUT --out results/benchmarks/parity.jsonl

PATH_TO_CHECKOUT is a checkout of github.com/ifratmitul/Role-of-Equivariance, the
published code of the paper; this repository has none of its code. Each of its six nets
with 10 layers for CIFAR-10 is trained for a few steps in PyTorch, so that predictions
and running averages differ from those of an untrained net, and its weights are
transferred to ours. On the first test images, the command compares the logits in
evaluation and in training mode, and the published attacks with those of
`symjax.evaluation.published` under the published protocol of the net. PGD follows the
sign of the gradient, which depends on rounding where a derivative is nearly zero. The
comparison in float64 shows the differences that remain with far less rounding.

The command needs PyTorch and e2cnn (`pip install -e ".[peers]"`).
"""

import argparse
import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import report, weight_transfer
from benchmarks.setting import positive
from study import provenance
from symjax import data, io, models
from symjax.attacks import ThreatModel
from symjax.evaluation.protocol import published
from symjax.evaluation.published import forward_fn
from symjax.evaluation.published_attack import PublishedAttack

NAMES = tuple(weight_transfer.NETS)
SLOW = "weighted", "equivariant"
"""Nets that take some ten images a second in training: 20 times as long as others."""
EPSILONS = 0.01, 0.03, 0.05
ATTACKS = "fgsm", "pgd"
DTYPES = "float32", "float64"
WIDTH = 150  # of the table, in characters
SAME = 1e-4
"""Values of adversarial images agree if they differ by less, in units of what the net
is fed: a hundredth of a step."""


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    arguments = _parser().parse_args(argv)
    if report.missing("torch") or report.missing("e2cnn"):
        return []
    import torch  # pyright: ignore

    from benchmarks import published_code

    torch.set_num_threads(1)
    console = Console()
    cifar = data.load("cifar10", data_dir=arguments.data_dir)
    commit = published_code.commit(arguments.checkout)
    rows = []
    for name in arguments.nets:
        code = published_code.PublishedCode(arguments.checkout, name)
        steps, batch_size = (40, 32) if name in SLOW else (200, 128)
        training = {"steps": arguments.steps or steps, "batch_size": batch_size}
        console.print(f"{name}: {training['steps']} steps of training")
        trained = published_code.train(code, *cifar.train, **training)
        for dtype in arguments.dtypes:
            count = images_of(name, dtype, arguments.images)
            console.print(f"{name}: comparison in {dtype}, {count} images")
            row = {
                "benchmark": "parity",
                "command": _command(arguments),
                "published_commit": commit,
                "net": name,
                "dtype": dtype,
                "images": count,
                "training": training,
                **compare(code, trained, *cifar.test, dtype, count),
                **report.origin(),
            }
            del row["argv"]  # has places of files; "command" stands for it
            rows.append(row)
            if arguments.out:
                _store(row, arguments.out)
    Console(width=max(console.width, WIDTH)).print(_printed(rows))
    return rows


def images_of(name: str, dtype: str, images: int) -> int:
    """All images in float32, a quarter of them in float64, and of a slow net in float64
    a sixteenth."""
    if dtype == "float32":
        return images
    return math.ceil(images / (16 if name in SLOW else 4))


def compare(code, trained, images, labels, dtype: str, count: int) -> dict[str, Any]:
    """The comparison of one net.

    Args:
      code: `published_code.PublishedCode`.
      trained: its net, a `torch.nn.Module` of float64.
      images, labels: uint8 `[N, H, W, 3]`, and `[N]`, the test set.
      dtype: of all computations.
      count: how many images are used, the first ones.

    Returns:
      "clean": the accuracies; "logits": largest differences; "attacks": of each attack
      and epsilon the accuracies and the fraction of adversarial values that agree.
    """
    import torch  # pyright: ignore

    theirs = copy.deepcopy(trained).to(getattr(torch, dtype))
    unit, labels = images[:count].astype(dtype), labels[:count]
    unit /= 255
    fed, right = code.fed(unit), torch.from_numpy(labels).long()
    wide = jax.enable_x64(dtype == "float64")
    with wide, jax.default_matmul_precision("highest"):
        mean, std = code.script.mean, code.script.std
        ours = models.build(code.name, 10, 10, "published", mean=mean, std=std)
        ours = ours.clone(dtype=jnp.dtype(dtype))
        theirs.train()
        variables = weight_transfer.variables(code.name, theirs, ours, dtype)
        logits = _logits(theirs, fed, ours, variables, unit)
        attacked = _attacks(code, theirs, (fed, right), ours, variables, (unit, labels))
    clean = {who: np.mean(x.argmax(1) == labels) for who, x in logits[0].items()}
    largest = [float(np.abs(x["published"] - x["ours"]).max()) for x in logits]
    return {
        "clean": {who: float(value) for who, value in clean.items()},
        "logits": dict(zip(("evaluation", "training"), largest, strict=True))
        | {"largest": float(np.abs(logits[0]["published"]).max())},
        "attacks": attacked,
    }


def _logits(theirs, fed, ours, variables, unit) -> list[dict[str, np.ndarray]]:
    """The logits of both sides, in evaluation mode and in training mode."""
    functions: list[Callable] = [
        lambda x, images: models.logits_fn(ours, x)(images),
        lambda x, images: models.training_fn(ours, x)(images)[0],
    ]
    return [
        {
            "published": copy.deepcopy(theirs).train(training)(fed).detach().numpy(),
            "ours": np.asarray(jax.jit(function)(variables, unit)),
        }
        for training, function in zip((False, True), functions, strict=True)
    ]


def _attacks(code, theirs, for_theirs, ours, variables, for_ours) -> list[dict]:
    """One dict per attack and epsilon, in the order of the published code.

    The running averages of both nets carry over from one attack to the next.
    """
    stats, found = variables["batch_stats"], []
    mean, std = (np.asarray(x, np.float64) for x in (code.script.mean, code.script.std))
    programs = {attack: _program(code, attack, ours) for attack in ATTACKS}
    for eps in EPSILONS:
        for attack in ATTACKS:
            adversarial, robust = code.outcome(theirs, attack, *for_theirs, eps)
            mine, kept, stats = programs[attack](
                variables["params"], stats, *for_ours, eps
            )
            fed = (np.asarray(mine, np.float64) - mean) / std
            apart = np.abs(fed.transpose(0, 3, 1, 2) - adversarial.numpy())
            found.append(
                {
                    "attack": attack,
                    "eps": eps,
                    "published": float(robust.double().mean()),
                    "ours": float(np.mean(kept)),
                    "agree": float(np.mean(apart < SAME)),
                }
            )
    return found


def _program(code, attack: str, ours: models.Net) -> Callable:
    """Our attack: `(params, averages, images, labels, eps of the input)` to adversarial
    images in [0, 1], whether they are still classified correctly, and averages."""
    protocol = published(code.name)
    mean, std = code.script.mean, code.script.std
    searching = PublishedAttack(attack, protocol, mean, std)

    @jax.jit
    def run(params, stats, images, labels, pixels):
        forward = forward_fn(ours, params, protocol.batch_norm)
        threat, key = ThreatModel("linf", pixels), jax.random.key(0)
        result, stats = searching.attack(forward, stats, images, labels, key, threat)
        return result.images, result.robust, stats

    def in_input_units(params, stats, images, labels, eps: float):
        pixels = np.asarray(searching.radius(eps).pixels, images.dtype)
        return run(params, stats, images, labels, pixels)

    return in_input_units


def _printed(rows: Sequence[dict]) -> Table:
    shown = provenance.parity(rows)
    table = Table(*shown.columns, title=shown.name, caption=shown.caption)
    for cells in shown.rows:
        table.add_row(*map(str, cells))
    return table


def _store(row: dict[str, Any], path: Path) -> None:
    """Adds a row to a file, in place of a row of the same net and type."""
    same = row["net"], row["dtype"]
    others = [x for x in io.read_rows(path) if (x["net"], x["dtype"]) != same]
    io.write_rows(path, [*others, row])


def _command(arguments: argparse.Namespace) -> str:
    """The command, but for the places of files."""
    parts = ["python -m benchmarks.parity PATH_TO_CHECKOUT"]
    parts += [f"--nets {','.join(arguments.nets)}"]
    parts += [f"--dtypes {','.join(arguments.dtypes)} --images {arguments.images}"]
    return " ".join(parts + [f"--steps {arguments.steps}"] * bool(arguments.steps))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, help="of the published repository")
    parser.add_argument("--data_dir", default="~/tensorflow_datasets", help="of CIFAR")
    parser.add_argument(
        "--images",
        type=positive,
        default=128,
        help="in float32; fewer in float64",
    )
    parser.add_argument("--nets", type=_some(NAMES), default=NAMES)
    parser.add_argument("--dtypes", type=_some(DTYPES), default=DTYPES)
    parser.add_argument(
        "--steps", type=positive, help="of training; 200, or 40 of the slow nets"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSONL for the rows")
    return parser


def _some(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(
                f"{sorted(unknown)}: expected some of {', '.join(known)}"
            )
        return names

    return read


if __name__ == "__main__":
    main()
