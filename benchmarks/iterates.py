"""Iterates of the public AutoAttack implementation, stored for a test.

    python -m benchmarks.iterates --out tests/data/autoattack_iterates.npz

The command needs PyTorch and `pyautoattack` (the public implementation as a package).
It attacks a small net from fixed starts and records every evaluated point. Nothing in
it is random.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import report
from symjax.arguments import Parser
from symjax.io import write_arrays

SEED, STEPS, IMAGES = 3, 50, 4
KEPT = (1, 2, 5, 10, 11, 12, 20, 21, 22, 30, 40, 50)  # around checkpoints
NORMS = {"linf": ("Linf", 0.03), "l2": ("L2", 0.5), "l1": ("L1", 6.0)}
ATTACKS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t")
DLR_SHARE = 0.25  # of eps: less is broken, and the loss less often constant


def radius(attack: str, norm: str) -> float:
    """The ball of an attack, in pixels."""
    return NORMS[norm][1] * (DLR_SHARE if attack == "apgd-dlr" else 1)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    out = parser.parse_args(argv).out
    if report.missing("pyautoattack") or report.missing("torch"):
        return
    arrays = problem()
    for norm in NORMS:
        for attack in ATTACKS:
            arrays[f"{attack}_{norm}"] = iterates(attack, norm, arrays)
    write_arrays(out, arrays)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


def problem() -> dict[str, np.ndarray]:
    """A net's weights, images, and a start in each ball, float32.

    Two convolutions with ReLU, the second with stride 2, and a dense layer.
    """
    rng = np.random.default_rng(SEED)
    arrays = {
        "conv_0": 0.4 * rng.normal(size=(3, 3, 3, 6)),
        "conv_1": 0.3 * rng.normal(size=(3, 3, 6, 8)),
        "dense": 0.2 * rng.normal(size=(128, 10)),
        "images": rng.uniform(0.1, 0.9, (IMAGES, 8, 8, 3)),
    }
    for norm, (_, eps) in NORMS.items():
        noise = rng.normal(size=arrays["images"].shape)
        if norm == "l1":  # four pixels of each image
            noise *= (
                noise >= np.sort(noise.reshape(IMAGES, -1))[:, -4, None, None, None]
            )
        order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
        flat = np.linalg.norm(noise.reshape(IMAGES, -1), order, axis=1)
        length = flat[:, None, None, None]
        start = arrays["images"] + 0.2 * eps * noise / length
        arrays[f"start_{norm}"] = np.clip(start, 0, 1)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def iterates(attack: str, norm: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The evaluated points after the steps in `KEPT`, `[steps, B, H, W, C]`."""
    import torch  # pyright: ignore

    net, seen = _net(arrays)
    images, start = (
        torch.from_numpy(arrays[name].transpose(0, 3, 1, 2).copy())
        for name in ("images", f"start_{norm}")
    )
    labels = net(images).argmax(dim=1)
    if attack.startswith("fab"):
        _fab(attack, norm, net, images, labels, seen)
        # One call for clean accuracy, one more for the target; then two a step, the
        # first of them at the outcome of the step before.
        points = seen[2 if attack == "fab-t" else 1 :: 2]
        kept = [points[step] for step in KEPT if step < STEPS]
    else:
        _apgd(attack, norm, net, images, labels, start, seen)
        kept = [seen[step] for step in KEPT]  # the first one is the start
    return np.stack(kept)


def _net(arrays: dict[str, np.ndarray]) -> tuple[Callable, list[np.ndarray]]:
    """The net, and a list of the images that it has evaluated, NHWC."""
    import torch  # pyright: ignore

    from benchmarks.torch_nets import small_net

    inner, seen = small_net(arrays, torch.relu), []

    def net(images):
        seen.append(images.detach().permute(0, 2, 3, 1).numpy().copy())
        return inner(images)

    return net, seen


def _apgd(attack, norm, net, images, labels, start, seen) -> None:
    from pyautoattack.autopgd_base import (  # pyright: ignore
        APGDAttack,
        APGDAttack_targeted,
    )

    name, eps = NORMS[norm][0], radius(attack, norm)
    options = {"n_iter": STEPS, "norm": name, "eps": eps}
    if attack == "apgd-t":
        peer = APGDAttack_targeted(net, **options)
        peer.y_target = net(images).sort(dim=1)[1][:, -2]
    else:
        loss = {"apgd-ce": "ce", "apgd-dlr": "dlr"}[attack]
        peer = APGDAttack(net, loss=loss, **options)
    peer.init_hyperparam(images)
    seen.clear()
    peer.attack_single_run(images, labels, x_init=start)


def _fab(attack, norm, net, images, labels, seen) -> None:
    import torch  # pyright: ignore
    from pyautoattack.fab_pt import FABAttack_PT  # pyright: ignore

    name, eps = NORMS[norm]
    peer = FABAttack_PT(net, norm=name, n_iter=STEPS, eps=eps, device="cpu")
    peer.target_class = 2
    seen.clear()
    with torch.no_grad():
        peer.attack_single_run(images, labels, is_targeted=attack == "fab-t")


if __name__ == "__main__":
    main()
