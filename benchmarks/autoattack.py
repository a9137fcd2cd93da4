"""AutoAttack standard on a trained net, against the public implementation in PyTorch.

    python -m benchmarks.autoattack --run runs/NAME
    python -m benchmarks.autoattack --run runs/NAME --images 1000 --eps 8/255

Both implementations attack the first seed of a baseline net with four layers, with the
same weights. Each runs once, after a first run on a single batch that compiles ours.
The row also holds the robust accuracies and the number of images on which the two
disagree. The public implementation is the package `pyautoattack`.
"""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import report, setting
from symjax import attacks, models, seeds
from symjax.arguments import Parser
from symjax.evaluate_flags import parse_eps
from symjax.evaluation import Run

PEER = "pyautoattack"
SMOKE = {"version": ("square",), "n_queries": 4}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = Parser(description=__doc__)
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="of a trained net")
    parser.add_argument("--images", type=setting.positive, default=1000)
    parser.add_argument("--eps", default="8/255", help="linf, in pixels")
    parser.add_argument("--batch_size", type=setting.positive, default=64, help="ours")
    parser.add_argument("--peer", choices=(PEER, "none"), default=PEER)
    setting.add_shared(parser, repeats=None)
    asked = parser.parse_args(argv)
    if not asked.smoke and asked.run is None:
        parser.error("--run: name a trained run, or say --smoke")
    (eps,) = parse_eps(asked.eps)
    model, variables, images, labels = _untrained() if asked.smoke else _trained(asked)
    call = model, variables, images, labels, eps
    options = SMOKE if asked.smoke else {}
    stands, taken, first = ours(*call, asked.batch_size, options)
    robust = {"symjax": (stands, taken)}
    if asked.peer != "none" and not asked.smoke and not report.missing(PEER):
        robust |= {PEER: theirs(*call)}
    times = [report.seconds(name, [found[1]]) for name, found in robust.items()]
    fractions = {name: float(np.mean(found[0])) for name, found in robust.items()}
    differ = sum(
        int(np.sum(found[0] != robust["symjax"][0])) for found in robust.values()
    )
    work = {
        "run": asked.run.name if asked.run else None,
        "images": len(images),
        "eps": eps,
        "batch_size": asked.batch_size,
        "robust": fractions,
        "disagree": differ,
    }
    also = [report.seconds("symjax, one batch, compilation included", [first])]
    return report.publish("autoattack", work, times[0], times[1:], also, asked.out)


def ours(
    model: models.Net,
    variables: Any,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
    batch_size: int,
    options: dict[str, Any],
) -> tuple[np.ndarray, float, float]:
    """Which images are robust, `[N]`; the time in seconds; that of the first batch."""
    attack = functools.partial(
        attacks.autoattack,
        models.logits_fn(model, variables),
        key=jax.random.key(0),
        threat=attacks.Linf(eps),
        batch_size=batch_size,
        **options,
    )
    began = time.perf_counter()
    attack(images=images[:batch_size], labels=labels[:batch_size])
    compiled = time.perf_counter()
    result = attack(images=images, labels=labels, report=_say)
    return result.robust, time.perf_counter() - compiled, compiled - began


def _say(now: attacks.Progress) -> None:
    if now.done == now.batches:
        print(f"{now.attack} {now.attempt}: {now.robust} of {now.images}", flush=True)


def theirs(
    model: models.Net,
    variables: Any,
    images: np.ndarray,
    labels: np.ndarray,
    eps: float,
) -> tuple[np.ndarray, float]:
    """As `ours`, for PyTorch in the faster of both memory layouts."""
    import torch  # pyright: ignore
    from pyautoattack import AutoAttack  # pyright: ignore

    from benchmarks import torch_nets, torch_peers

    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    truth = torch.from_numpy(labels).long()
    nets, device = {}, torch_peers.device()
    for channels_last in (False, True):
        net = torch_nets.Baseline(model.trunk, model.classes, model.width)
        torch_nets.copy_weights(variables, net)
        variant = torch_peers.Variant(channels_last)
        net = torch_peers.prepare(net.requires_grad_(False), variant).eval()
        nets[_gradient_seconds(net, pixels[:64].to(device))] = net
    net = nets[min(nets)]
    attack = AutoAttack(net, norm="Linf", eps=eps, device=device, seed=0)
    began = time.perf_counter()
    found, _ = attack.run_standard_evaluation(pixels, truth)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        robust = net(found.to(device)).argmax(dim=1).cpu() == truth
    return robust.numpy(), seconds


def _gradient_seconds(net: Callable, images: Any, repeats: int = 5) -> float:
    import torch  # pyright: ignore

    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        x = images.clone().requires_grad_()
        torch.autograd.grad(net(x).sum(), x)[0].cpu()  # waits for the device
        times.append(time.perf_counter() - began)
    return min(times)


def _trained(asked) -> tuple[models.Net, Any, np.ndarray, np.ndarray]:
    run = Run.open(asked.run)
    model, test = run.experiment.model, run.experiment.dataset.test
    variables = seeds.of_seed(run.state.variables, 0)
    images = test.images[: asked.images].astype(np.float32) / 255
    return model, variables, images, test.labels[: asked.images]


def _untrained() -> tuple[models.Net, Any, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.random((8, 16, 16, 3), np.float32)
    model = models.build("baseline", 4, setting.CLASSES, width=0.1)
    variables = model.init(jax.random.key(0), images, train=False)
    logits = models.logits_fn(model, variables)(images)
    return model, variables, images, np.asarray(logits).argmax(axis=1)


if __name__ == "__main__":
    main()
