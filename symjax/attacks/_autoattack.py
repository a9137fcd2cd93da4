"""AutoAttack (Croce and Hein 2020): an ensemble of parameter-free attacks.

    result = autoattack(logits_fn, images, labels, key, attacks.Linf(8 / 255))
    result.robust.mean(), result.broken_by

The host runs the attacks one after another. Each attack runs only on images that are
still robust, in fixed-size batches, and stops early once a batch is broken. Every
success is checked again in float64 and at batch size 1. With a folder, an interrupted
evaluation resumes at the first batch that is not finished.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from symjax.attacks import ensemble, host_loop
from symjax.attacks.checks import check_finite, refuse_traced
from symjax.attacks.ensemble import NoAttack, Stage
from symjax.attacks.entry import whole_number
from symjax.attacks.inputs import prepare
from symjax.attacks.iterative import AttackInputs
from symjax.attacks.result import LogitsFn
from symjax.attacks.threat import ThreatModel, host_lengths
from symjax.io import BatchCheckpoint, in_batches
from symjax.jaxprs import host_array
from symjax.seeds import fold_in

CLEAN, ROBUST = "clean", ""  # in broken_by: misclassified without attack; robust


@dataclasses.dataclass(frozen=True)
class AutoAttackResult:
    """The result of `autoattack`: NumPy arrays `[N, ...]`, `[S, N, ...]` for S seeds.

    Attributes:
      images: `[N, H, W, C]`, the adversarial image, or the image itself.
      robust: `[N]`, bool: no attack broke the image.
      broken_by: `[N]`, name of the attack that broke the image; "clean" where the image
        is misclassified without an attack, "" where it is robust.
      distance: `[N]`, norm of the difference between the returned and the given image,
        computed in float64.
      queries, gradients: `[N]`, int32, forward and backward passes spent on the image.
      rejected: `[N]`, int32, the number of successes of attacks that the check did not
        confirm: images outside the ball or the bounds, not finite, or classified
        correctly at batch size 1.
    """

    images: np.ndarray
    robust: np.ndarray
    broken_by: np.ndarray
    distance: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    rejected: np.ndarray


@dataclasses.dataclass(frozen=True)
class Progress:
    """The state of a running evaluation.

    `robust` and `images` count the seeds that run together: all seeds on an
    accelerator, one on a CPU. The fraction `work / total` never decreases, and is 1
    only at the end.
    """

    attack: str  # its name
    attempt: int  # rank of the target class, or number of the restart
    done: int  # batches of this attempt that are done
    batches: int  # all batches of this attempt
    robust: int  # images that are still robust
    images: int  # all images
    work: int  # pairs of an attempt and an image that are done, of all seeds
    total: int  # `work`, and the pairs that remain if no other image is broken


def autoattack(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    key: Array,
    threat: ThreatModel,
    version: str | Sequence[str] = "standard",
    steps: int = 100,
    n_target_classes: int = 9,
    n_queries: int = 5000,
    eot_iter: int = 20,
    batch_size: int = 128,
    folder: Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> AutoAttackResult:
    """Robustness against an ensemble of attacks; a host driver, not for use inside jit.

    Args:
      logits_fn, images, labels, key, threat: see `symjax.attacks`; eps is one number.
        With "rand", `logits_fn` is `(images, key) -> [B, K]`. For S nets: `[S]` keys,
        and a leading axis S on every leaf of `logits_fn`; the nets run together on an
        accelerator, one by one on a CPU.
      version: "standard", "plus", "rand", or names of attacks, see `ensemble.stages`.
      steps, n_target_classes, n_queries, eot_iter: settings of the attacks, see
        `ensemble.stages`.
      batch_size: the number of images per batch, for each seed.
      folder: where finished batches are saved; the same call resumes from them.
      report: called with a `Progress` after each batch.

    Returns:
      An `AutoAttackResult`.

    Raises:
      ValueError: for an unknown version, invalid images, labels or eps, or a folder
        that contains the batches of another call.

    References:
      Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
      Diverse Parameter-free Attacks, ICML 2020; and the public implementation.
    """
    refuse_traced("autoattack", logits_fn, images, labels, key, threat)
    settings = {
        "steps": steps,
        "n_target_classes": n_target_classes,
        "n_queries": n_queries,
        "eot_iter": eot_iter,
        "batch_size": batch_size,
    }
    for name, value in settings.items():
        whole_number("autoattack", name, value)
    randomized = version == "rand"
    call = logits_fn, images, labels, key, threat
    with jax.default_matmul_precision("highest"):  # as in `run`
        given = prepare(
            "autoattack", *call, one_radius=True, randomized=randomized, seeds=True
        )
    nets, key, threat, classes = given.net, given.key, given.threat, given.classes
    images, labels = np.asarray(given.images), np.asarray(given.labels)
    several = key.ndim > 0
    if not several:
        nets, key = jax.tree.map(lambda x: jnp.asarray(x)[None], nets), key[None]
    plan = (
        Stage(CLEAN, NoAttack(randomized), (0,)),
        *ensemble.stages(
            version, threat.norm, classes, steps, n_target_classes, n_queries, eot_iter
        ),
    )
    groups = [slice(0, len(key))]  # seeds that run together
    if jax.default_backend() == "cpu":
        groups = [slice(seed, seed + 1) for seed in range(len(key))]
    parts, done = [], 0
    attempts = sum(len(stage.ranks) for stage in plan)
    for seeds in groups:
        where = folder and Path(folder) / f"seeds-{seeds.start}-{seeds.stop - 1}"
        some_nets = jax.tree.map(lambda x, seeds=seeds: x[seeds], nets)
        evaluation = _Evaluation(
            some_nets, key[seeds], images, labels, threat, batch_size, randomized
        )
        evaluation.check_finite()
        checkpoint = BatchCheckpoint(
            where, evaluation.identity(plan), evaluation.fingerprint()
        )
        later = attempts * len(images) * (len(key) - seeds.stop)
        work = _Work(done, later, attempts)
        parts.append(evaluation.run(plan, checkpoint, report, work))
        done = work.done
    whole = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(AutoAttackResult)
    }
    if not several:
        whole = {name: array[0] for name, array in whole.items()}
    return AutoAttackResult(**whole)


@dataclasses.dataclass
class _Work:
    """Counts of the work, for `Progress`."""

    done: int  # pairs of an attempt and an image that are done
    later: int  # pairs of the seeds that run later
    attempts: int  # attempts that the seeds that run now still have to make


class _Evaluation:
    """Attacks S seeds in one program; the host arrays have a leading axis S."""

    def __init__(self, nets, keys, images, labels, threat, batch_size, randomized):
        self.nets, self.keys, self.threat = nets, keys, threat
        self.images, self.labels = images, labels
        self.size, self.randomized = min(batch_size, len(images)), randomized
        shape = len(keys), len(images)
        self.adversarial = np.broadcast_to(images, (len(keys), *images.shape)).copy()
        self.broken_by = np.full(shape, ROBUST, dtype="<U16")
        self.queries, self.gradients, self.rejected = np.zeros((3, *shape), np.int32)

    def identity(self, plan: Sequence[Stage]) -> dict[str, Any]:
        """The settings and arrays that the batches in a folder depend on."""
        return {
            "plan": [repr(stage) for stage in plan],
            "threat": repr(jax.tree.map(np.asarray, self.threat)),
            "batch_size": self.size,
            "arrays": (
                self.images,
                self.labels,
                jax.random.key_data(self.keys),
                *map(host_array, jax.tree.leaves(self.nets)),
            ),
        }

    def check_finite(self) -> None:
        """Refuses nets whose logits of the clean images are not finite."""
        finite = host_loop.finite(len(self.keys), self.randomized)
        for index in in_batches(len(self.images), self.size):
            images = np.stack([self.images[index]] * len(self.keys))
            flags = np.ones(self.broken_by.shape, bool)
            flags[:, index] = np.asarray(finite(self.nets, images, self.keys))
            check_finite(flags)

    def fingerprint(self) -> np.ndarray:
        """Margins of the first images, `[S, B]`."""
        no_attack = NoAttack(self.randomized)
        index = np.broadcast_to(np.arange(self.size), (len(self.keys), self.size))
        with jax.default_matmul_precision("highest"):  # as in `run`: one program
            problem = self._problem(index, self.keys, 0)
            return np.asarray(
                host_loop.run(no_attack, self.nets, problem, index >= 0).margin
            )

    def run(
        self, plan, checkpoint: BatchCheckpoint, report, work: _Work
    ) -> AutoAttackResult:
        """Runs every attack on the images that are still robust before it."""
        with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
            for number, stage in enumerate(plan):
                for rank in stage.ranks:
                    work.attempts -= 1
                    self._attempt(number, stage, rank, checkpoint, report, work)
        start = np.asarray(self.images, np.float64)
        norm = self.threat.norm
        length = [host_lengths(images - start, norm) for images in self.adversarial]
        return AutoAttackResult(
            images=self.adversarial,
            robust=self.broken_by == ROBUST,
            broken_by=self.broken_by,
            distance=np.stack(length),
            queries=self.queries,
            gradients=self.gradients,
            rejected=self.rejected,
        )

    def _attempt(
        self, number, stage: Stage, rank, checkpoint: BatchCheckpoint, report, work
    ) -> None:
        """One attempt of one attack on all robust images, batch by batch."""
        left = [np.flatnonzero(row == ROBUST) for row in self.broken_by]
        batches = -(-max(map(len, left)) // self.size)
        for batch in range(batches):
            part = slice(batch * self.size, (batch + 1) * self.size)
            chosen = [row[part] for row in left]
            name = f"{number:02d}-{stage.name}-{rank}-{batch:04d}"
            outcome = checkpoint.load(name)
            if outcome is None:
                outcome = self._attack(number, stage, rank, batch, chosen)
                checkpoint.save(name, outcome)
            self._record(stage.name, chosen, outcome)
            work.done += sum(map(len, chosen))
            if report:
                robust = int(np.sum(self.broken_by == ROBUST))
                now = sum(len(row[part.stop :]) for row in left)
                total = work.done + now + work.attempts * robust + work.later
                place = stage.name, rank, batch + 1, batches
                of_images = robust, self.broken_by.size
                report(Progress(*place, *of_images, work.done, total))

    def _attack(self, number, stage, rank, batch, chosen) -> dict[str, np.ndarray]:
        """Attacks one batch `[S, B]`; images of a seed are repeated to fill it."""
        index = np.stack(
            [np.resize(row if len(row) else np.arange(1), self.size) for row in chosen]
        )
        real = np.arange(self.size) < np.array([[len(row)] for row in chosen])
        keys = fold_in(self.keys, number, batch)
        problem = self._problem(index, keys, rank)
        best = host_loop.run(stage.attack, self.nets, problem, real)
        claimed = np.asarray(best.margin) >= 0
        adversarial = np.asarray(best.images)
        stands = claimed & real
        if stands.any():
            verify = host_loop.verifier(len(self.keys), self.randomized)
            margin = np.asarray(verify(self.nets, best.images, problem.labels, keys))
            inside = [
                self.threat.contains(adversarial[seed], self.images[index[seed]])
                for seed in range(len(adversarial))
            ]
            stands &= (margin >= 0) & np.stack(inside)
        return {
            "stands": stands,
            "rejected": claimed & real & ~stands,
            "images": np.where(stands[..., None, None, None], adversarial, 0),
            "queries": np.asarray(best.queries),
            "gradients": np.asarray(best.gradients),
        }

    def _problem(self, index: np.ndarray, keys: Array, rank: int) -> AttackInputs:
        """The inputs of an attack on the images with these indices, `[S, B]`."""
        return AttackInputs(
            images=jnp.asarray(self.images[index]),
            labels=jnp.asarray(self.labels[index]),
            key=keys,
            threat=self._for_each_seed(self.threat),
            rank=self._for_each_seed(rank),
        )

    def _record(self, name, chosen, outcome) -> None:
        for seed, index in enumerate(chosen):
            count = len(index)
            result = {key: value[seed][:count] for key, value in outcome.items()}
            self.queries[seed, index] += result["queries"]
            self.gradients[seed, index] += result["gradients"]
            self.rejected[seed, index] += result["rejected"]
            broken = index[result["stands"]]
            self.broken_by[seed, broken] = name
            self.adversarial[seed, broken] = result["images"][result["stands"]]

    def _for_each_seed(self, tree: Any) -> Any:
        count = len(self.keys)
        return jax.tree.map(
            lambda x: jnp.broadcast_to(jnp.asarray(x), (count, *np.shape(x))), tree
        )
