"""Trains and measures what is missing, and stops when the time is up.

    run_missing(trainings, FULL, Folders(results, runs), minutes=50)

Some seeds of a run are trained together and then measured. Rows are written as they are
measured, so that a machine that is lost costs one measurement at most; an interrupted
training goes on from its checkpoint.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from study import nets
from study.plan import PlannedRun
from study.runs import Size, Training
from symjax import evaluation
from symjax.evaluation.results import Results
from symjax.folders import FolderInUseError, hold
from symjax.terminal import counted
from symjax.training import train

KEPT = ("robust", "largest", "clean", "original", "last_held")
"""The outcomes of each image that paired comparisons and Figure 5 need."""


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where rows and runs lie.

    Attributes:
      results: a folder per run with rows and outcomes, small enough to be kept.
      runs: run folders with their checkpoints, which may be removed.
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

    def started(self, training: Training) -> list[list[int]]:
        """Groups of seeds whose training was started; the larger groups first."""
        groups = []
        for path in self.runs.glob(f"seeds-*-*/{training.name}/config.json"):
            first, last = map(int, path.parents[1].name.split("-")[1:])
            groups.append(list(range(first, last + 1)))
        return sorted(groups, key=lambda seeds: (-len(seeds), seeds))

    @contextlib.contextmanager
    def lock(self, training: Training) -> Iterator[bool]:
        """Whether no other process works on a run; none does until the end."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(self.results / training.name))
                is_free = True
            except FolderInUseError:
                is_free = False
            yield is_free


class Clock:
    """Time that is left.

    Args:
      minutes: from now; None: no end.
      stop: whether to stop all the same; None: never.
    """

    def __init__(self, minutes: float | None, stop: Callable[[], bool] | None = None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._stop = stop or (lambda: False)

    def is_up(self) -> bool:
        """Whether nothing more should be started."""
        late = self._end is not None and time.monotonic() >= self._end
        return late or self._stop()


def part_of(size: Size, only: str) -> list[Training]:
    """The trainings that are one of n parts of the work, as "2/8"; empty: all.

    Raises:
      ValueError: for another form, or numbers that cannot be.
    """
    trainings = list(size.trainings.values())
    if not only:
        return trainings
    index, _, count = only.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise ValueError(
            f"--only={only!r}: expected i/n, i from 1 to n, the n parts of the work."
        )
    return trainings[int(index) - 1 :: int(count)]


def run_missing(
    trainings: Sequence[Training],
    size: Size,
    folders: Folders,
    minutes: float | None = None,
    together: int = 0,
    more: Mapping[str, Any] = {},  # noqa: B006 - never changed
    console: Console | None = None,
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Trains and measures what is missing, in order, until the time is up.

    What has started when the time is up is finished: about a second of training, which
    is saved; one epsilon of one attack, or all where an attack moves the averages of
    batch norm; one corruption; an audit. A run that another process works on is left
    out. A measurement that fails does not stop the others.

    Args:
      trainings: the runs.
      size: of the study.
      folders: where rows and runs lie.
      minutes: for all of it; None: no end.
      together: seeds that are trained and measured at once; 0: all on an accelerator,
        one on a CPU.
      more: changes of every configuration, such as the folder of the data.
      console: where progress goes.
      stop: where it returns True, the time is up.

    Returns:
      Whether nothing is missing.

    Raises:
      ValueError: at the end, if a measurement failed.
    """
    console, failed = console or Console(), []
    clock, finished = Clock(minutes, stop), True
    at_once = together or (1 if jax.default_backend() == "cpu" else size.seeds)
    for training in trainings:
        with folders.lock(training) as is_free:
            planned, store = PlannedRun.of(training, size), folders.store(training)
            left = [x for x in planned.seeds if planned.missing(x, store.rows)]
            if left and not is_free:
                console.print(f"{training.name}: another process works on it.")
                finished = False
                continue
            for group in groups_of(left, at_once, folders.started(training)):
                jax.clear_caches()  # programs of all nets are more than memory maps
                job = _Job(planned, group, folders, clock, console, failed)
                if clock.is_up() or not job.run(more):
                    console.print("the time is up; the same command goes on from here.")
                    _raise_failures(failed)
                    return False
    _raise_failures(failed)
    return finished


def _raise_failures(failed: Sequence[str]) -> None:
    if failed:
        raise ValueError(
            f"{counted(len(failed), 'measurement')} failed; the same command tries "
            f"them again: {'; '.join(failed)}"
        )


def groups_of(
    seeds: Sequence[int], at_once: int, started: Sequence[Sequence[int]] = ()
) -> list[list[int]]:
    """Groups of consecutive seeds, so many at most; those that were started together
    stay together."""
    left, groups = list(seeds), []
    for group in started:
        if set(group) & set(left):
            groups.append(list(group))
            left = [seed for seed in left if seed not in group]
    first = len(groups)
    for seed in left:
        last = groups[-1] if len(groups) > first else []
        if last and last[-1] == seed - 1 and len(last) < at_once:
            last.append(seed)
        else:
            groups.append([seed])
    return groups


@dataclasses.dataclass(frozen=True)
class _Job:
    """Some seeds of a run, trained and measured together; `failed` is added to."""

    planned: PlannedRun
    seeds: Sequence[int]
    folders: Folders
    clock: Clock
    console: Console
    failed: list[str]

    def run(self, more: Mapping[str, Any]) -> bool:
        """Trains and measures; False if the time was up before the end."""
        run = self._train(more)
        if run is None:
            return False
        training, planned = self.planned.training, self.planned
        store = self.folders.store(training)
        _refuse_mixing(store, run)
        if self.folders.nets is not None:
            for index, seed in enumerate(run.seeds):
                half = is_half(training, seed)
                nets.save(run, index, self.folders.nets, half)
        for measurement in planned.measurements():
            if any(measurement in planned.missing(x, store.rows) for x in self.seeds):
                if self.clock.is_up():
                    return False
                self._measure(measurement, run, store)
        stopped = self.clock.is_up()
        return not stopped or not any(
            planned.missing(x, store.rows) for x in self.seeds
        )

    def _train(self, more: Mapping[str, Any]) -> evaluation.Run | None:
        """The trained run; None if the time was up before."""
        training, seeds = self.planned.training, self.seeds
        folder, console = self.folders.run(training, seeds), self.console
        changes = self.planned.size.override_of(training) | dict(more)
        changes |= {"first_seed": seeds[0], "seeds": len(seeds)}
        console.rule(f"{training.name}, seeds {seeds[0]} to {seeds[-1]}")
        stop = self.clock.is_up
        train(training.config(changes), folder, console=console, stop=stop)
        try:
            run = evaluation.Run.open(folder)
        except evaluation.RunNotFoundError:  # the time was up within the first epoch
            return None
        epochs = self.planned.config.epochs
        if run.diverged.all():  # it ended early, and its rows are those of all epochs
            run = dataclasses.replace(run, epoch=epochs)
        return run if run.epoch >= epochs else None

    def _measure(self, measurement, run: evaluation.Run, store: Results) -> None:
        """All parts of a measurement, or until the time is up; failures are noted."""
        start = time.perf_counter()
        name = f"{type(measurement).__name__.lower()}, {measurement.protocol}"
        try:
            call = run, store, self.planned, self.console
            for _ in measurement.measure(*call):
                if self.clock.is_up():
                    break
        except Exception as error:  # hours of other measurements are not lost for it
            text = f"{run.folder.name}, {name}, {measurement.attack}: {error!r}"
            self.failed.append(text)
            self.console.print(f"failed: {text}", highlight=False, markup=False)
            return
        if store.failure is not None:  # nothing else would be kept either
            raise store.failure
        text = f"{name}, {measurement.attack}: {time.perf_counter() - start:.0f} s"
        self.console.print(text, highlight=False)


def is_half(training: Training, seed: int) -> bool:
    """Whether a net's weights are kept in float16, so that all files stay small."""
    return (training.dataset, training.depth) != ("cifar10", 4) or seed != 0


def _refuse_mixing(store: Results, run: evaluation.Run) -> None:
    """Nets trained in one precision are not mixed with those of another.

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
