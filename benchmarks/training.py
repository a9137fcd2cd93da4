"""A training step of S seeds, against PyTorch with one seed after another.

    python -m benchmarks.training                        # parallel_rs, 10 layers
    python -m benchmarks.training --seeds 1
    python -m benchmarks.training --net equivariant      # C8, against e2cnn or escnn

The unit is images per second over all seeds. One of our calls runs `--steps` steps of
every seed. PyTorch runs as many steps of one seed, since each further seed would take
the same time.
"""

from collections.abc import Callable, Sequence

from benchmarks import ours, report, setting
from benchmarks.setting import Setting

PEER_OF = {"parallel_rs": "torch", "equivariant": "escnn"}
OURS = "symjax"


def main(argv: Sequence[str] | None = None) -> dict:
    parser = setting.parser(__doc__, steps=None)
    parser.add_argument(
        "--peer",
        choices=("torch", "escnn", "none"),
        help="default: torch; escnn (or e2cnn) for the equivariant net",
    )
    asked, arguments = setting.read(parser, argv)
    peer = arguments.peer or PEER_OF[asked.net]
    if peer not in (PEER_OF[asked.net], "none"):
        parser.error(
            f"--peer {peer} is not there for --net {asked.net}: use "
            f"{PEER_OF[asked.net]} or none"
        )
    contestants = {OURS: ours.training(asked)} | peers(asked, peer)
    times = report.alternate(contestants, asked.repeats)
    images = asked.steps * asked.batch_size
    counts = dict.fromkeys(times, images) | {OURS: images * asked.seeds}
    rates = counts, "images/s", times
    return report.publish_rates("training", vars(asked), *rates, arguments.out)


def peers(asked: Setting, peer: str) -> dict[str, Callable[[], None]]:
    """The PyTorch runs to compare with, by name; empty if PyTorch is not installed."""
    packages = {"none": (), "torch": ("torch",), "escnn": ("escnn", "e2cnn")}[peer]
    if not packages or report.missing(*packages):
        return {}
    from benchmarks import torch_peers

    images, labels = asked.images(asked.steps * asked.batch_size)
    variants = torch_peers.variants()
    if peer == "escnn":  # as a user runs it
        variants = [variant for variant in variants if not variant.compiled]
    contestants = {}
    for variant in variants:
        net, name = peer_net(asked)
        contestants[f"{name}, {variant}"] = torch_peers.training(
            net, images, labels, asked.batch_size, variant
        )
    return contestants


def peer_net(asked: Setting):
    """A PyTorch module of the same net, and the library of its layers."""
    model = ours.model(asked)
    trunk = model.trunk
    if asked.net == "equivariant":
        from benchmarks import steerable

        rotations = model.group.rotations
        net = steerable.equivariant(trunk, setting.CLASSES, asked.width, rotations)
        return net, steerable.library()
    from benchmarks import torch_nets

    net = torch_nets.ParallelRotScale(trunk, setting.CLASSES, asked.width)
    return net, "PyTorch"


if __name__ == "__main__":
    main()
