"""Does the missing pieces: trains, measures, and stops when the time is up.

    work(trainings, FULL, minutes=50, folders=Folders(results, runs))

A piece is a run and some of its seeds, trained and measured together. What is measured
is written row by row, so that a slice of time on a machine that is then gone counts; a
training that was cut off goes on from its checkpoint, where that is still there.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from symjax import evaluation
from symjax.evaluation.results import Results
from symjax.evaluation.rows import cell_id
from symjax.folders import FolderInUseError, hold
from symjax.study import nets
from symjax.study.measurements import Measurement, PlannedRun, of_training
from symjax.study.size import Size
from symjax.study.trainings import Training
from symjax.terminal import counted
from symjax.training import train

KEPT = ("robust", "largest", "clean", "original", "last_held")
"""Of what each image came to: what paired comparisons and Figure 5 need."""


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where rows and runs lie.

    Attributes:
      results: a folder a run with rows and cells; small enough to be kept for good.
      runs: run folders with their checkpoints, which may go.
      nets: final weights, a file per run and seed; None: they are not kept.
    """

    results: Path
    runs: Path
    nets: Path | None = None

    def store(self, training: Training, write: bool = True) -> Results:
        """A run's rows."""
        return Results(self.results / training.name, write=write, keep=KEPT)

    def run(self, training: Training, seeds: Sequence[int]) -> Path:
        """Where some seeds of a run are trained."""
        return self.runs / f"seeds-{seeds[0]}-{seeds[-1]}" / training.name

    def begun(self, training: Training) -> list[list[int]]:
        """Seeds that were trained together, or in part; the larger groups first."""
        found = []
        for path in self.runs.glob(f"seeds-*-*/{training.name}/config.json"):
            first, last = map(int, path.parents[1].name.split("-")[1:])
            found.append(list(range(first, last + 1)))
        return sorted(found, key=lambda seeds: (-len(seeds), seeds))

    @contextlib.contextmanager
    def alone(self, training: Training) -> Iterator[bool]:
        """Whether this process alone works on a run; it does until the end."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(hold(self.results / training.name))
                mine = True
            except FolderInUseError:
                mine = False
            yield mine


class Clock:
    """Time that is left.

    Args:
      minutes: from now; None: no end.
      stop: whether it is up all the same; None: never.
    """

    def __init__(self, minutes: float | None, stop: Callable[[], bool] | None = None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._stop = stop or (lambda: False)

    def is_up(self) -> bool:
        """Whether nothing more should be begun."""
        late = self._end is not None and time.monotonic() >= self._end
        return late or self._stop()


def missing(subject: PlannedRun, store: Results, seed: int) -> list[Measurement]:
    """The measurements of one seed that have a cell without a row, in order."""
    return [
        measurement
        for measurement in of_training(subject.training, subject.size)
        if _lacks(measurement, subject, store, seed)
    ]


def _lacks(measurement: Measurement, subject: PlannedRun, store: Results, seed) -> bool:
    cells = measurement.identities(subject, seed)
    return any(cell_id(cell) not in store.rows for cell in cells)


def share(size: Size, only: str) -> list[Training]:
    """The trainings that are one of n workers' part, as "2/8"; empty: all.

    Raises:
      ValueError: for another form, or numbers that cannot be.
    """
    found = list(size.trainings.values())
    if not only:
        return found
    index, _, count = only.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise ValueError(
            f"--only={only!r}: expected i/n, i from 1 to n, the n parts of the work."
        )
    return found[int(index) - 1 :: int(count)]


def work(
    trainings: Sequence[Training],
    size: Size,
    folders: Folders,
    minutes: float | None = None,
    together: int = 0,
    more: Mapping[str, Any] = {},  # noqa: B006 - never changed
    console: Console | None = None,
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Does what is missing, in order, until it is done or the time is up.

    What has begun when the time is up is finished: about a second of training, which is
    saved; one epsilon of one attack, or all where an attack moves the averages of batch
    norm; one corruption; an audit. A run that another process works on is left to it.
    A measurement that fails does not stop the others.

    Args:
      trainings: the runs.
      size: of the study.
      folders: where rows and runs lie.
      minutes: for all of it; None: no end.
      together: seeds that are trained and measured at once; 0: all on an accelerator,
        one on a CPU.
      more: changes of every configuration, as where the data are.
      console: where progress goes.
      stop: where it says True, the time is up.

    Returns:
      Whether nothing is missing.

    Raises:
      ValueError: at the end, if a measurement failed.
    """
    console, clock = console or Console(), Clock(minutes, stop)
    at_once = together or (1 if jax.default_backend() == "cpu" else size.seeds)
    whole, failed = True, []
    for training in trainings:
        with folders.alone(training) as mine:
            subject, store = PlannedRun.of(training, size), folders.store(training)
            seeds = range(size.seeds_of(training))
            left = [x for x in seeds if missing(subject, store, x)]
            if left and not mine:
                console.print(f"{training.name}: another process is at it.")
                whole = False
                continue
            for group in _plan(left, at_once, folders.begun(training)):
                call = subject, group, folders, more, clock, console, failed
                jax.clear_caches()  # programs of all nets are more than memory maps
                if clock.is_up() or not _piece(*call):
                    console.print("the time is up; the same command goes on from here.")
                    _refuse_failures(failed)
                    return False
    _refuse_failures(failed)
    return whole


def _refuse_failures(failed: Sequence[str]) -> None:
    if failed:
        raise ValueError(
            f"{counted(len(failed), 'measurement')} failed; the same command tries "
            f"them again: {'; '.join(failed)}"
        )


def _plan(
    seeds: Sequence[int], at_once: int, begun: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Groups of seeds that are missing: those that were begun together stay so."""
    left, groups = list(seeds), []
    for group in begun:
        if set(group) & set(left):
            groups.append(list(group))
            left = [seed for seed in left if seed not in group]
    return groups + _groups(left, at_once)


def _groups(seeds: Sequence[int], at_once: int) -> list[list[int]]:
    """Seeds that follow one another, so many at most."""
    groups: list[list[int]] = []
    for seed in seeds:
        if groups and groups[-1][-1] == seed - 1 and len(groups[-1]) < at_once:
            groups[-1].append(seed)
        else:
            groups.append([seed])
    return groups


def _piece(
    subject: PlannedRun,
    seeds,
    folders: Folders,
    more,
    clock,
    console,
    failed: list[str],
) -> bool:
    """Trains and measures some seeds of a run; False if the time was up before."""
    training = subject.training
    folder = folders.run(training, seeds)
    changes = subject.size.changes(training) | dict(more)
    changes |= {"first_seed": seeds[0], "seeds": len(seeds)}
    console.rule(f"{training.name}, seeds {seeds[0]} to {seeds[-1]}")
    train(training.config(changes), folder, console=console, stop=clock.is_up)
    try:
        run = evaluation.Run.open(folder)
    except evaluation.RunNotFoundError:  # the time was up within the first epoch
        return False
    if run.diverged.all():  # it ended early; rows say what they say of a frozen seed
        run = dataclasses.replace(run, epoch=subject.config.epochs)
    if run.epoch < subject.config.epochs:
        return False
    store = folders.store(training)
    _refuse_mixing(store, run)
    if folders.nets is not None:
        for index, seed in enumerate(run.seeds):
            nets.save(run, index, folders.nets, subject.size.is_half(training, seed))
    stopped = False
    for measurement in of_training(training, subject.size):
        if not any(_lacks(measurement, subject, store, seed) for seed in seeds):
            continue
        if clock.is_up():
            return False
        began = time.perf_counter()
        name = f"{type(measurement).__name__.lower()}, {measurement.protocol}"
        try:
            for _ in measurement.take(run, store, subject, console):
                if stopped := clock.is_up():
                    break
        except Exception as error:  # hours of other measurements are not lost for it
            what = f"{training.name}, {name}, {measurement.attack}: {error!r}"
            failed.append(what)
            console.print(f"failed: {what}", highlight=False, markup=False)
            continue
        if store.failure is not None:  # nothing else would be kept either
            raise store.failure
        seconds = time.perf_counter() - began
        console.print(f"{name}, {measurement.attack}: {seconds:.0f} s", highlight=False)
    return not stopped or not any(missing(subject, store, seed) for seed in seeds)


def _refuse_mixing(store: Results, run: evaluation.Run) -> None:
    """Nets trained in one precision are not among those of another.

    Raises:
      ValueError: if there are rows of another one.
    """
    now = run.experiment.config.model.dtype
    before = {row["trained_in"] for row in store.rows.values()} - {now}
    if before:
        raise ValueError(
            f"{store.path} has rows of nets trained in {', '.join(before)}, and these "
            f"are trained in {now}: give --dtype as before, or other folders."
        )
