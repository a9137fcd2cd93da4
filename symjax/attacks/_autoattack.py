"""AutoAttack (Croce and Hein 2020): parameter-free attacks, one after another.

    result = autoattack(logits_fn, images, labels, key, attacks.Linf(8 / 255))
    result.robust.mean(), result.broken_by

Driven from the host: each attack meets the images that are left, in full batches of one
shape, stops when its batch is broken, and what it claims is verified in float64 and at
batch size 1. With a folder, a killed evaluation goes on where it was.
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

CLEAN, ROBUST = "clean", ""  # in broken_by: misclassified as it is; not broken


@dataclasses.dataclass(frozen=True)
class AutoAttackResult:
    """What `autoattack` returns: NumPy arrays `[N, ...]`, or `[S, N, ...]` of S seeds.

    Attributes:
      images: `[N, H, W, C]`, the adversarial image, or the image itself.
      robust: `[N]`, bool: no attack broke it.
      broken_by: `[N]`, name of the attack that did, "clean" where there was no need of
        one, "" where it is robust.
      distance: `[N]`, of the returned from the given image, from float64.
      queries, gradients: `[N]`, int32, passes spent on it.
      rejected: `[N]`, int32, how often an attack claimed the image wrongly: out of
        the ball or the bounds, not finite, or correct at batch size 1.
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
    """Where an evaluation is: `attack` and its attempt, batches done of those that it
    has, and how many are still `robust` of the `images` of the seeds that run together:
    all on an accelerator, one on a CPU. `work` counts attempts x images that are done,
    of all seeds, and `total` adds those that are left if no other image is broken; the
    fraction `work / total` never falls, and is 1 at the end alone."""

    attack: str
    attempt: int
    done: int
    batches: int
    robust: int
    images: int
    work: int
    total: int


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
      logits_fn: `[B, H, W, C] -> [B, K]`, pure, each image on its own; with "rand",
        `(images, key) -> [B, K]`. Other weights of the same net compile nothing.
      images: `[N, H, W, C]`, float, within the threat's bounds.
      labels: `[N]`, integers in [0, K).
      key: one key; or `[S]` keys, and a leading axis S on every leaf of `logits_fn`:
        S nets, together on an accelerator and in turn on a CPU.
      threat: ball and bounds, of one eps.
      version: "standard", "plus", "rand", or names of attacks, see `ensemble.stages`.
      steps, n_target_classes, n_queries, eot_iter: settings of the attacks in it.
      batch_size: images at a time, of each seed.
      folder: finished batches are kept here; the same call goes on from them.
      report: called after each batch.

    Returns:
      An `AutoAttackResult`.

    Raises:
      ValueError: for another version, images, labels or an eps that cannot be, or a
        folder that holds the batches of another call.

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
    randomised = version == "rand"
    call = logits_fn, images, labels, key, threat
    with jax.default_matmul_precision("highest"):  # as in `run`
        given = prepare(
            "autoattack", *call, one_radius=True, randomized=randomised, seeds=True
        )
    nets, key, threat, classes = given.net, given.key, given.threat, given.classes
    images, labels = np.asarray(given.images), np.asarray(given.labels)
    several = key.ndim > 0
    if not several:
        nets, key = jax.tree.map(lambda x: jnp.asarray(x)[None], nets), key[None]
    plan = (
        Stage(CLEAN, NoAttack(randomised), (0,)),
        *ensemble.stages(
            version, threat.norm, classes, steps, n_target_classes, n_queries, eot_iter
        ),
    )
    lanes = [slice(0, len(key))]  # of seeds that run together
    if jax.default_backend() == "cpu":
        lanes = [slice(seed, seed + 1) for seed in range(len(key))]
    parts, done = [], 0
    attempts = sum(len(stage.ranks) for stage in plan)
    for lane in lanes:
        where = folder and Path(folder) / f"seeds-{lane.start}-{lane.stop - 1}"
        of_lane = jax.tree.map(lambda x, lane=lane: x[lane], nets)
        evaluation = _Evaluation(
            of_lane, key[lane], images, labels, threat, batch_size, randomised
        )
        evaluation.check_finite()
        checkpoint = BatchCheckpoint(
            where, evaluation.identity(plan), evaluation.fingerprint()
        )
        later = attempts * len(images) * (len(key) - lane.stop)
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
    """Attempts x images: those `done`, those of seeds that come `later`; and how many
    `attempts` the seeds that run now have left."""

    done: int
    later: int
    attempts: int


class _Evaluation:
    """S seeds that are attacked in one program; host arrays have a leading axis S."""

    def __init__(self, nets, keys, images, labels, threat, batch_size, randomised):
        self.nets, self.keys, self.threat = nets, keys, threat
        self.images, self.labels = images, labels
        self.size, self.randomised = min(batch_size, len(images)), randomised
        shape = len(keys), len(images)
        self.found = np.broadcast_to(images, (len(keys), *images.shape)).copy()
        self.broken_by = np.full(shape, ROBUST, dtype="<U16")
        self.queries, self.gradients, self.rejected = np.zeros((3, *shape), np.int32)

    def identity(self, plan: Sequence[Stage]) -> dict[str, Any]:
        """What the batches in a folder depend on."""
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
        """Refuses nets that have logits of the clean images that are not finite."""
        finite = host_loop.finite(len(self.keys), self.randomised)
        for index in in_batches(len(self.images), self.size):
            images = np.broadcast_to(
                self.images[index], (len(self.keys), self.size, *self.images.shape[1:])
            )
            found = np.asarray(finite(self.nets, images, self.keys))
            flags = np.ones((len(self.keys), len(self.images)), bool)
            flags[:, index] = found
            check_finite(flags)

    def fingerprint(self) -> np.ndarray:
        """Margins of the first images, `[S, B]`."""
        nothing = NoAttack(self.randomised)
        index = np.broadcast_to(np.arange(self.size), (len(self.keys), self.size))
        with jax.default_matmul_precision("highest"):  # as in `run`: one program
            problem = self._problem(index, self.keys, 0)
            return np.asarray(
                host_loop.run(nothing, self.nets, problem, index >= 0).margin
            )

    def run(
        self, plan, checkpoint: BatchCheckpoint, report, work: _Work
    ) -> AutoAttackResult:
        """All stages, each on what the ones before left."""
        with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
            for number, stage in enumerate(plan):
                for rank in stage.ranks:
                    work.attempts -= 1
                    self._meet(number, stage, rank, checkpoint, report, work)
        start = np.asarray(self.images, np.float64)
        length = [host_lengths(found - start, self.threat.norm) for found in self.found]
        return AutoAttackResult(
            images=self.found,
            robust=self.broken_by == ROBUST,
            broken_by=self.broken_by,
            distance=np.stack(length),
            queries=self.queries,
            gradients=self.gradients,
            rejected=self.rejected,
        )

    def _meet(
        self, number, stage: Stage, rank, checkpoint: BatchCheckpoint, report, work
    ) -> None:
        """One attempt of one attack with every image that is left, batch by batch."""
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
        """One batch `[S, B]`; each seed's images are repeated to fill it."""
        index = np.stack(
            [np.resize(row if len(row) else np.arange(1), self.size) for row in chosen]
        )
        real = np.arange(self.size) < np.array([[len(row)] for row in chosen])
        keys = fold_in(self.keys, number, batch)
        problem = self._problem(index, keys, rank)
        best = host_loop.run(stage.attack, self.nets, problem, real)
        claimed = np.asarray(best.margin) >= 0
        found = np.asarray(best.images)
        stands = claimed & real
        if stands.any():
            verify = host_loop.verifier(len(self.keys), self.randomised)
            margin = np.asarray(verify(self.nets, best.images, problem.labels, keys))
            inside = [
                self.threat.contains(found[seed], self.images[index[seed]])
                for seed in range(len(found))
            ]
            stands &= (margin >= 0) & np.stack(inside)
        return {
            "stands": stands,
            "rejected": claimed & real & ~stands,
            "images": np.where(stands[..., None, None, None], found, 0),
            "queries": np.asarray(best.queries),
            "gradients": np.asarray(best.gradients),
        }

    def _problem(self, index: np.ndarray, keys: Array, rank: int) -> AttackInputs:
        """Of the images `[S, B]`."""
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
            of_seed = {key: value[seed][:count] for key, value in outcome.items()}
            self.queries[seed, index] += of_seed["queries"]
            self.gradients[seed, index] += of_seed["gradients"]
            self.rejected[seed, index] += of_seed["rejected"]
            broken = index[of_seed["stands"]]
            self.broken_by[seed, broken] = name
            self.found[seed, broken] = of_seed["images"][of_seed["stands"]]

    def _for_each_seed(self, tree: Any) -> Any:
        count = len(self.keys)
        return jax.tree.map(
            lambda x: jnp.broadcast_to(jnp.asarray(x), (count, *np.shape(x))), tree
        )
