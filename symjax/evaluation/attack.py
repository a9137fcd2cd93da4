"""Accuracy under attack: all seeds at once, one program for a whole sweep over eps.

measure(run, store, Attack("pgd", steps=40), norm="linf", eps=[1 / 255, 8 / 255])
"""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import Progress

from symjax import attacks
from symjax.attacks import AttackResult, ThreatModel
from symjax.data.augment import to_unit
from symjax.evaluation import provenance
from symjax.evaluation.results import Results, Row, cell_id
from symjax.evaluation.run import Run
from symjax.evaluation.table import format_eps
from symjax.seeds import Stream, stream
from symjax.training import experiment as experiments
from symjax.training.mesh import Layout

OUTCOMES = ("robust", "distance", "queries", "gradients")  # saved for every image


def none(logits_fn, images, labels, key, threat) -> AttackResult:
    """No attack, so that clean accuracy is a cell like the others."""
    del key
    count = jnp.ones(len(images), jnp.int32)
    robust = attacks.is_correct(logits_fn(images), labels)
    return AttackResult(images, robust, jnp.zeros(len(images)), count, 0 * count)


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack by name and what it is set to; static in the program.

    Attributes:
      name: "none", "fgsm" or "pgd".
      steps, step_size_pixels, restarts, random_start, keep: of PGD, see `attacks.pgd`.
      loss: that is ascended.
    """

    name: str
    steps: int = 40
    step_size_pixels: float | None = None
    restarts: int = 1
    random_start: bool = True
    keep: attacks.Keep = "best"
    loss: str = "cross_entropy"

    def __post_init__(self):
        if self.name not in ("none", *attacks.ATTACKS):
            known = ["none", *attacks.ATTACKS]
            raise ValueError(f"attack {self.name!r}: expected one of {known}.")

    def __call__(self, logits_fn, images, labels, key, threat) -> AttackResult:
        """As every attack: `[B, H, W, C]` in [0, 1] to an `AttackResult`."""
        call = logits_fn, images, labels, key, threat
        if self.name == "none":
            return none(*call)
        if self.name == "fgsm":
            return attacks.fgsm(*call, loss=self.loss)
        return attacks.pgd(
            *call,
            steps=self.steps,
            step_size=self.step_size_pixels,
            restarts=self.restarts,
            random_start=self.random_start,
            loss=self.loss,
            keep=self.keep,
        )

    def identity(self) -> dict[str, Any]:
        """What a results row says of it; what an attack does not have is None."""
        says = {field: None for field in ("steps", "step_size", "restarts", "start")}
        says |= {"attack": self.name, "loss": None, "keep": None}
        if self.name == "none":
            return says
        says["loss"] = self.loss
        if self.name == "fgsm":
            return says | {"steps": 1, "start": "image"}
        step = self.step_size_pixels
        return says | {
            "steps": self.steps,
            "step_size": "2.5 eps / steps" if step is None else step,
            "restarts": self.restarts,
            "start": "uniform" if self.random_start else "image",
            "keep": self.keep,
        }


@functools.cache
def _program(attack: Attack, layout: Layout):
    """One program an attack: a sweep over eps, and another run, compile nothing."""

    def attack_one_seed(logits_fn, images, labels, key, index, threat):
        key = stream(key, Stream.EVALUATION_ATTACK, index)
        images, labels = layout.spread((to_unit(images), labels))
        return attack(logits_fn, images, labels, key, threat)

    attacked = layout.over_seeds(attack_one_seed, (0, None, None, 0, None, None))
    return layout.jit(attacked, layout.everywhere)


def measure(
    run: Run,
    store: Results,
    attack: Attack,
    norm: attacks.Norm,
    eps: Sequence[float | tuple[float, ...]],
    n: int = 0,
    batch_size: int = 250,
    console: Console | None = None,
) -> list[Row]:
    """Measures accuracy under an attack for every seed and eps, and writes the rows.

    Cells that the store holds already are not measured again.

    Args:
      run: the trained run.
      store: where the rows go.
      attack: the attack.
      norm: "linf" or "l2".
      eps: radii in pixel units, each a number or one a channel.
      n: the first n test images; 0: all.
      batch_size: images at a time, for each seed.
      console: where progress goes.

    Returns:
      One row a seed and eps, in the order of `eps`, then of the seeds.

    Raises:
      ValueError: if the test split has fewer than n images, or the batch size is not
        positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected 1 or more.")
    images, labels = _test_images(run, n)
    rows = []
    with Progress(console=console or Console(stderr=True), transient=True) as progress:
        for radius in eps:
            cells = [
                _identity(run, attack, norm, radius, len(images), seed)
                for seed in run.seeds
            ]
            if any(cell_id(cell) not in store.rows for cell in cells):
                threat = ThreatModel(norm, np.asarray(radius, np.float32))
                text = f"{attack.name}, eps {format_eps(radius)}"
                task = progress.add_task(text, total=len(images))
                step = functools.partial(progress.advance, task)
                outcome = _attack(run, attack, threat, images, labels, batch_size, step)
                _write(store, run, cells, outcome)
            rows += [store.rows[cell_id(cell)] for cell in cells]
    return rows


def _test_images(run: Run, n: int) -> tuple[np.ndarray, np.ndarray]:
    test = run.experiment.dataset.test
    if n < 0 or n > len(test.images):
        raise ValueError(
            f"n={n}: expected 0 (all) to {len(test.images)}, the test images of "
            f"{run.experiment.dataset.name}."
        )
    count = n or len(test.images)
    return test.images[:count], test.labels[:count]


def _identity(run, attack, norm, eps, n, seed) -> dict[str, Any]:
    return {
        **run.identity(),
        **attack.identity(),
        "split": "test",
        "n": n,
        "seed": seed,
        "norm": None if attack.name == "none" else norm,
        "eps": 0.0 if attack.name == "none" else eps,
        "protocol": "sound",
        "corruption": None,
        "severity": 0,
        "metric": "accuracy",
    }


def _attack(run, attack, threat, images, labels, batch_size, advance) -> dict[str, Any]:
    """Outcomes of all images, `[S, n]` each, and how they were come by."""
    began = time.perf_counter()
    batches = -(-len(images) // batch_size)
    batch_size = -(-len(images) // batches)  # even batches: little to pad
    outcomes, inside = [], np.ones(len(run.seeds), bool)
    for index in range(batches):
        batch = slice(index * batch_size, (index + 1) * batch_size)
        result = _one_batch(
            run, attack, threat, images[batch], labels[batch], batch_size, index
        )
        clean = np.asarray(to_unit(images[batch]))
        inside &= [threat.contains(x, clean).all() for x in result["images"]]
        outcomes.append(result)
        advance(len(clean))
    whole = {
        name: np.concatenate([part[name] for part in outcomes], axis=1)
        for name in OUTCOMES
    }
    seconds = round(time.perf_counter() - began, 3)
    return {
        "outcomes": whole,
        "in_ball": inside,
        "seconds": seconds,
        "batch_size": batch_size,
    }


def _one_batch(run, attack, threat, images, labels, size, index) -> dict[str, Any]:
    """The result's fields for these images, `[S, count, ...]`, on the host.

    Fewer images than `size` are padded by repeating them, so that nothing recompiles.
    """
    layout = run.experiment.layout
    size = layout.whole_batches(size)
    padded = np.resize(images, (size, *images.shape[1:])), np.resize(labels, size)
    with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
        program, keys = _program(attack, layout), run.experiment.keys
        result = program(run.logits_fns, *layout.put(padded), keys, index, threat)
    names = ("images", *OUTCOMES)
    return {name: np.asarray(getattr(result, name))[:, : len(images)] for name in names}


def _write(store: Results, run: Run, cells, outcome) -> None:
    common = {
        "config": experiments.digest(run.experiment.config),
        "data": run.experiment.dataset.sha256,
        "batch_size": outcome["batch_size"],
        "seconds_all_seeds": outcome["seconds"],
        **provenance.now(),
    }
    for index, cell in enumerate(cells):
        if cell_id(cell) in store.rows:
            continue
        of_seed = {name: values[index] for name, values in outcome["outcomes"].items()}
        facts = {
            "in_ball": bool(outcome["in_ball"][index]),
            "diverged": bool(run.diverged[index]),
        }
        value = float(np.mean(of_seed["robust"]))
        store.add(cell, value, of_seed, facts | common)
