"""Accuracy under attack, for all seeds at once, with one program for all epsilons.

measure(run, store, Attack("pgd", steps=40), norm="linf", eps=[1 / 255, 8 / 255])
"""

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from symjax import attacks
from symjax.attacks import ThreatModel
from symjax.attacks.checks import check_finite
from symjax.attacks.threat import as_norm
from symjax.data.augment import to_unit
from symjax.evaluation import provenance
from symjax.evaluation.attack import HOST_DRIVEN, Attack, Eps, Radius
from symjax.evaluation.progress import Progress
from symjax.evaluation.published_attack import PublishedAttack
from symjax.evaluation.results import Results
from symjax.evaluation.rows import ATTACK, Row, cell_id
from symjax.evaluation.run import Run
from symjax.formatting import format_eps
from symjax.io import in_batches
from symjax.mesh import DeviceLayout
from symjax.seeds import KeyPurpose, purpose_key
from symjax.training import experiment as experiments

OUTCOMES = ("robust", "distance", "queries", "gradients")  # saved for every image
HOST_DRIVEN_OUTCOMES = (*OUTCOMES, "broken_by", "rejected", "images")
UNCORRUPTED = {"corruption": None, "severity": 0}


SeedAttack = Attack | PublishedAttack
"""An attack on the net of one seed; hashable and static in a compiled program."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcomes of an attack on all images, for all seeds.

    Attributes:
      images: one array `[S, n]` by name, with one entry per seed and image.
      in_ball: `[S]`, whether all images of a seed are inside of the ball and valid.
      seconds: the time of the attack, for all seeds.
      batch_size: the number of images that were attacked at a time.
    """

    images: Mapping[str, np.ndarray]
    in_ball: Sequence[bool]
    seconds: float
    batch_size: int


class OutcomeAccumulator:
    """Collects the outcomes of batches; `threat` is what the images have to satisfy."""

    def __init__(self, run: Run, threat: ThreatModel):
        self._began = time.perf_counter()
        self._threat, self._parts = threat, []
        self._inside = np.ones(len(run.seeds), bool)

    def add(self, fields: Mapping[str, np.ndarray], clean: Any) -> None:
        """Adds a batch: "images" and `OUTCOMES` `[S, B, ...]`, and the clean images.

        Raises:
          ValueError: if a distance is NaN, because the logits of that image were not
            finite.
        """
        check_finite(~np.isnan(fields["distance"]))
        contains = self._threat.contains
        self._inside &= [contains(x, clean).all() for x in fields["images"]]
        self._parts.append({name: fields[name] for name in OUTCOMES})

    def outcome(self, batch_size: int) -> Outcome:
        """The outcomes of all batches that were added."""
        whole = {
            name: np.concatenate([part[name] for part in self._parts], axis=1)
            for name in OUTCOMES
        }
        seconds = round(time.perf_counter() - self._began, 3)
        return Outcome(whole, self._inside.tolist(), seconds, batch_size)


@dataclasses.dataclass(frozen=True)
class EvalImages:
    """Images for an evaluation other than the clean test split, such as corrupted ones.

    Attributes:
      identity: the entries that the images add to a row's identity, as `UNCORRUPTED`.
      load: returns images uint8 `[n, H, W, C]` and labels `[n]`; it is called only if a
        row is missing.
      n: the number of images.
    """

    identity: Mapping[str, Any]
    load: Callable[[], tuple[np.ndarray, np.ndarray]]
    n: int


@functools.cache
def _program(attack: SeedAttack, layout: DeviceLayout):
    """The program of an attack; another epsilon or run needs no new compilation."""

    def attack_one_seed(logits_fn, images, labels, key, index, threat):
        key = purpose_key(key, KeyPurpose.EVALUATION_ATTACK, index)
        images, labels = layout.spread((to_unit(images), labels))
        result = attack(logits_fn, images, labels, key, threat)
        finite = jnp.all(jnp.isfinite(logits_fn(images)), axis=1)
        return result.replace(distance=jnp.where(finite, result.distance, jnp.nan))

    attacked = layout.over_seeds(attack_one_seed, (0, None, None, 0, None, None))
    return layout.jit(attacked, layout.everywhere)


def measure(
    run: Run,
    store: Results,
    attack: SeedAttack,
    norm: attacks.Norm,
    eps: Sequence[Eps],
    n: int = 0,
    batch_size: int = 250,
    console: Console | None = None,
    tested: EvalImages | None = None,
) -> list[Row]:
    """Measures accuracy under an attack for every seed and eps, and writes the rows.

    Cells that the store holds already are not measured again.

    Args:
      run: the trained run.
      store: where the rows are written.
      attack: the attack. A published attack may leave the ball; the entry `in_ball` of
        a row states whether it did.
      norm: "linf", "l2" or "l1", or another common spelling.
      eps: radii, each in pixel units (one number, or one per channel) or a `Radius`.
      n: the number of test images, the first ones of the test split; 0: all.
      batch_size: the number of images that are attacked at a time, for each seed.
      console: where progress is printed.
      tested: images other than those of the test split; `n` has no effect then.

    Returns:
      One row per seed and eps, in the order of `eps`, then of the seeds.

    Raises:
      ValueError: if the test split has fewer than n images, or the batch size is not
        positive.
    """
    norm, radii = as_norm(norm), [Radius.of(each) for each in eps]
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected 1 or more.")
    store.drop_stale(run)
    if tested is None:
        first = first_images(run, n)
        tested = EvalImages(UNCORRUPTED, lambda: first, len(first[0]))
    cells = [
        [
            identity(run.identity(), attack, norm, radius, tested.n, seed)
            | dict(tested.identity)
            for seed in run.seeds
        ]
        for radius in radii
    ]
    due = [x for x in zip(radii, cells, strict=True) if not store.holds(x[1])]
    with Progress(console, len(due)) as progress:
        for radius, of_radius in due:
            threat = ThreatModel(norm, np.asarray(radius.pixels, np.float32))
            progress.begin(_title(attack, radius))
            call = run, attack, threat, *tested.load(), batch_size
            if isinstance(attack, Attack) and attack.host_driven:
                report = functools.partial(_report_progress, progress)
                outcome = _drive(*call, store.unfinished(of_radius), report)
            else:
                outcome = _attack(*call, progress.part)
            write(store, run, of_radius, outcome)
            store.finish(of_radius)
    return [store.rows[cell_id(cell)] for of_radius in cells for cell in of_radius]


def _title(attack: SeedAttack, radius: Radius) -> str:
    """What is measured, for the progress bar."""
    if attack.name == "none":
        return "accuracy without an attack"
    return f"{attack.name}, eps {format_eps(radius.pixels)}"


def first_images(run: Run, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n test images, uint8 `[n, H, W, C]`, and their labels; 0: all.

    Raises:
      ValueError: if the test split has fewer than n images.
    """
    test = run.experiment.dataset.test
    if n < 0 or n > len(test.images):
        raise ValueError(
            f"n={n}: expected 0 (all) to {len(test.images)}, the number of test images "
            f"of {run.experiment.dataset.name}."
        )
    count = n or len(test.images)
    return test.images[:count], test.labels[:count]


def identity(
    run: Mapping[str, Any],
    attack: SeedAttack,
    norm: attacks.Norm,
    radius: Radius,
    n: int,
    seed: int,
) -> dict[str, Any]:
    """The identity of a row on clean test images; its hash is the cell id.

    Args:
      run: the entries of the run, see `evaluation.run.identity`.
      attack, norm: as in `measure`.
      radius, n, seed: the epsilon, the number of images, and the seed.
    """
    return {
        **run,
        "protocol": "sound",
        **attack.identity(),
        "split": "test",
        "n": n,
        "seed": seed,
        "kind": ATTACK,
        "norm": None if attack.name == "none" else norm,
        **(Radius(0.0, 0.0) if attack.name == "none" else radius).identity(),
        **UNCORRUPTED,
    }


def _attack(run, attack, threat, images, labels, batch_size, part) -> Outcome:
    """Attacks all images, batch by batch."""
    batches = -(-len(images) // batch_size)
    batch_size = -(-len(images) // batches)  # batches of equal size need little padding
    collected = OutcomeAccumulator(run, threat)
    for index, batch in enumerate(in_batches(len(images), batch_size, pad=False)):
        result = one_batch(
            run, attack, threat, images[batch], labels[batch], batch_size, index
        )
        collected.add(result, np.asarray(to_unit(images[batch])))
        part(int(batch[-1]) + 1, len(images))
    return collected.outcome(batch_size)


def _drive(run, attack, threat, images, labels, batch_size, folder, report) -> Outcome:
    """As `_attack`, for attacks that the host drives; continues from `folder`."""
    if jax.process_count() > 1:
        raise ValueError(
            f"{attack.name}: expected a single process, not {jax.process_count()}. Run "
            "the command once, without --distributed and --coordinator."
        )
    began = time.perf_counter()
    clean = np.asarray(to_unit(images))
    keys = jax.vmap(lambda key: purpose_key(key, KeyPurpose.EVALUATION_ATTACK))(
        run.experiment.keys
    )
    result = attacks.autoattack(
        run.logits_fns,
        clean,
        labels,
        keys,
        threat,
        version=HOST_DRIVEN[attack.name],
        steps=attack.steps,
        n_target_classes=attack.n_target_classes,
        n_queries=attack.n_queries,
        batch_size=batch_size,
        folder=folder,
        report=report,
    )
    return Outcome(
        images={name: getattr(result, name) for name in HOST_DRIVEN_OUTCOMES},
        in_ball=[threat.contains(x, clean).all() for x in result.images],
        seconds=round(time.perf_counter() - began, 3),
        batch_size=batch_size,
    )


def _report_progress(progress: Progress, now: attacks.Progress) -> None:
    """Shows how far the attack is and which of its attempts runs."""
    note = f"{now.attack} {now.attempt}, {now.robust:,} of {now.images:,} stand"
    progress.part(now.work, now.total, note)
    if now.done == now.batches:
        progress.say(note)


def one_batch(run, attack, threat, images, labels, size, index) -> dict[str, Any]:
    """Attacks one batch; returns arrays `[S, B, ...]` by name, on the host.

    A batch is padded to `size` images, so that one program serves all batches.
    """
    layout = run.experiment.layout
    size = layout.whole_batches(size)
    padded = np.resize(images, (size, *images.shape[1:])), np.resize(labels, size)
    with jax.default_matmul_precision("highest"):  # no tf32 in a robustness number
        program, keys = _program(attack, layout), run.experiment.keys
        result = program(run.logits_fns, *layout.put(padded), keys, index, threat)
    names = ("images", *OUTCOMES)
    return {name: np.asarray(getattr(result, name))[:, : len(images)] for name in names}


def run_provenance(run: Run, index: int) -> dict[str, Any]:
    """The provenance of a row of the seed at an index of the run's state."""
    return {
        "weights": run.weights[index],
        "trained_in": run.experiment.config.model.dtype,
        "config": experiments.digest(run.experiment.config),
        "data": run.experiment.dataset.sha256,
        **provenance.now(),
    }


def write(
    store: Results, run: Run, cells: Sequence[Mapping[str, Any]], outcome: Outcome
) -> None:
    """Writes those rows that the store does not hold; `cells` has one per seed."""
    common = {"batch_size": outcome.batch_size, "seconds_all_seeds": outcome.seconds}
    for index, cell in enumerate(cells):
        if store.holds([cell]):
            continue
        of_seed = {name: values[index] for name, values in outcome.images.items()}
        facts: dict[str, Any] = {
            "in_ball": bool(outcome.in_ball[index]),
            "diverged": bool(run.diverged[index]),
        }
        if "broken_by" in of_seed:
            counts = collections.Counter(sorted(of_seed["broken_by"].tolist()))
            by = {name or "none": count for name, count in counts.items()}
            facts |= {"broken_by": by, "rejected": int(of_seed["rejected"].sum())}
        value = float(np.mean(of_seed["robust"]))
        where = {**common, **run_provenance(run, index)}
        store.add(cell, value, of_seed, facts, where)
