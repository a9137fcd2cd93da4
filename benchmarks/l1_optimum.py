"""How close PGD and APGD come to the best l1 perturbation of linear nets.

    python -m benchmarks.l1_optimum

For a linear net with two classes, the largest margin in an l1 ball within the bounds
follows from a linear program: the pixels with the largest weights move to their bounds
until eps is used up. The command prints the fraction of this gain that each attack
reaches (the mean and the minimum over images and seeds) and the largest difference of
margins. If PyTorch and `pyautoattack` (the public implementation) are installed, their
results are printed as well.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from benchmarks import report
from symjax import attacks
from symjax.arguments import Parser
from symjax.attacks import iterative
from symjax.attacks._apgd import APGD
from symjax.attacks.ensemble import L1_RADII
from symjax.attacks.iterative import AttackInputs

IMAGES, SEEDS = 50, 3
SHAPE, EPS = (8, 8, 1), 0.5
STEPS = (100, 400)


def main(argv: Sequence[str] | None = None) -> None:
    Parser(description=__doc__).parse_args(argv)
    runs: dict[str, Callable] = {"pgd, 40 steps": pgd}
    peers = not report.missing("pyautoattack") and not report.missing("torch")
    for steps in STEPS:
        for radii in ((1.0,), L1_RADII):
            said = f"{steps} steps" + ", radii 3, 2, 1" * (len(radii) > 1)
            runs[f"apgd, {said}"] = lambda *p, s=steps, r=radii: apgd(*p, s, r)
            if peers:
                runs[f"public, {said}"] = lambda *p, s=steps, r=radii: public(*p, s, r)
    for name, run in runs.items():
        gaps, fractions = zip(
            *(compare(seed, run) for seed in range(SEEDS)), strict=True
        )
        print(
            f"{name:32s} mean {np.mean(fractions):.3f}  least {np.min(fractions):.3f}  "
            f"largest gap {np.max(gaps):.2f}"
        )


def compare(seed: int, run: Callable):
    """Differences to the optimal margin, and fractions of its gain, `[B]`."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(size=(IMAGES, *SHAPE)).astype(np.float32)
    weights = rng.normal(size=(np.prod(SHAPE), 2)).astype(np.float32)
    labels = (images.reshape(IMAGES, -1) @ weights).argmax(axis=1)
    found = np.asarray(run(weights, images, labels, EPS, seed), np.float64)
    uphill = (weights[:, 1 - labels] - weights[:, labels]).T.astype(np.float64)
    moved = (found - images).reshape(IMAGES, -1)
    assert np.abs(moved).sum(axis=1).max() < EPS + 1e-4
    best, gain = optimum(uphill, images.reshape(IMAGES, -1), EPS), uphill * moved
    return best - gain.sum(axis=1), gain.sum(axis=1) / best


def optimum(uphill: np.ndarray, images: np.ndarray, eps: float) -> np.ndarray:
    """The maximum of `<uphill, delta>` in the l1 ball and in [0, 1], `[B]`."""
    room = np.where(uphill > 0, 1.0 - images, images)
    order = np.argsort(-np.abs(uphill), axis=1)
    room, weight = (
        np.take_along_axis(x, order, axis=1) for x in (room, np.abs(uphill))
    )
    before = np.cumsum(room, axis=1) - room
    return np.sum(weight * np.clip(eps - before, 0.0, room), axis=1)


def linear(weights, images):
    return images.reshape(len(images), -1) @ weights


def pgd(weights, images, labels, eps, seed):
    net, key = Partial(linear, weights), jax.random.key(seed)
    return _pgd(net, images, labels, key, attacks.L1(eps)).images


_pgd = jax.jit(lambda *problem: attacks.pgd(*problem, loss="margin"))


def apgd(weights, images, labels, eps, seed, steps, radii):
    threat, key = attacks.L1(eps), jax.random.key(seed)
    problem = AttackInputs(jnp.asarray(images), labels, key, threat)
    attack = APGD("cross_entropy", steps, radii=radii)
    return _apgd(attack, Partial(linear, weights), problem).best.images


_apgd = jax.jit(iterative.run, static_argnums=0)


def public(weights, images, labels, eps, seed, steps, radii):
    import torch  # pyright: ignore
    from pyautoattack.autopgd_base import APGDAttack  # pyright: ignore

    w = torch.from_numpy(weights)
    x, y = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.tensor(labels)

    def net(x):
        return x.permute(0, 2, 3, 1).reshape(len(x), -1) @ w

    torch.random.manual_seed(seed)
    attack = APGDAttack(net, n_iter=steps, norm="L1", eps=eps, loss="ce")
    attack.init_hyperparam(x)
    if len(radii) == 1:
        found = attack.attack_single_run(x, y)[0]
    else:
        parts = [int(np.ceil(0.3 * steps))] * 2
        parts.append(steps - sum(parts))
        found = attack.decr_eps_pgd(x, y, [r * eps for r in radii], parts)[0]
    return found.numpy().transpose(0, 2, 3, 1)


if __name__ == "__main__":
    main()
