"""PGD on S nets, against torchattacks' PGD on the same net in PyTorch, seed by seed.

    python -m benchmarks.attack                          # PGD-40, five seeds
    python -m benchmarks.attack --images 1000 --eps 0.031

The unit is attacked images per second over all seeds. The nets are untrained, because
the time of an attack does not depend on the weights. PyTorch gets the weights of our
first seed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import ours, report, setting
from benchmarks.setting import Setting
from benchmarks.training import OURS
from symjax import seeds


def main(argv: Sequence[str] | None = None) -> dict:
    parser = setting.parser(__doc__, steps=40, repeats=5)
    parser.set_defaults(batch_size=250)
    parser.add_argument(
        "--images", type=setting.positive, default=1000, help="of each seed"
    )
    parser.add_argument("--eps", type=float, default=8 / 255, help="linf, in pixels")
    parser.add_argument("--peer", choices=("torchattacks", "none"))
    asked, arguments = setting.read(parser, argv)
    if asked.net != "parallel_rs":
        parser.error(f"--net {asked.net} has no peer to attack: use parallel_rs")
    batches = 1 if arguments.smoke else max(1, arguments.images // asked.batch_size)
    split = asked.images(batches * asked.batch_size)
    variables = ours.variables(asked)
    contestants = {OURS: ours.attack(asked, variables, *split, arguments.eps)}
    if arguments.peer != "none":
        contestants |= peers(asked, variables, split, arguments.eps)
    times = report.alternate(contestants, asked.repeats)
    count = len(split[0])
    counts = dict.fromkeys(times, count) | {OURS: count * asked.seeds}
    work = vars(asked) | {"images": count, "eps": arguments.eps}
    rates = counts, "images/s", times
    return report.publish_rates("attack", work, *rates, arguments.out)


def peers(
    asked: Setting, variables: Any, split: tuple[np.ndarray, np.ndarray], eps: float
) -> dict[str, Callable[[], None]]:
    """torchattacks on the variants of the PyTorch net; empty if it is not installed."""
    if report.missing("torchattacks"):
        return {}
    from benchmarks import torch_nets, torch_peers

    trunk, first = ours.model(asked).trunk, seeds.of_seed(variables, 0)
    contestants = {}
    for variant in torch_peers.variants():
        net = torch_nets.ParallelRotScale(trunk, setting.CLASSES, asked.width)
        torch_nets.copy_weights(first, net)
        contestants[f"torchattacks, {variant}"] = torch_peers.attack(
            net, *split, asked.batch_size, asked.steps, eps, variant
        )
    return contestants


if __name__ == "__main__":
    main()
