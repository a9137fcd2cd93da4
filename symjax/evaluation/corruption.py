"""Accuracy on corrupted test images, attacked or not (paper, Section 6.3, Table 1).

    images = source(run, "auto")                 # the published ones, or made here
    rows = measure(run, store, Attack("pgd"), "linf", [0.01], images, n=1000)

The benchmark is Hendrycks and Dietterich's (2019): 19 corruptions, five severities.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console

from symjax import attacks
from symjax.data import cifar_c, corruptions
from symjax.data.dataset import Split
from symjax.evaluation.measurement import Eps, EvalImages, SeedAttack, first_images
from symjax.evaluation.measurement import measure as measure_images
from symjax.evaluation.progress import Progress
from symjax.evaluation.results import Results
from symjax.evaluation.rows import Row
from symjax.evaluation.run import Run
from symjax.folders import expand

SOURCES = ("auto", "published", "made")
SEED = 0


@dataclasses.dataclass(frozen=True)
class GeneratedCorruptions:
    """Corruptions of a test split, made here.

    Attributes:
      seed: of all that is random in them.
    """

    seed: int = SEED

    def identity(self) -> dict[str, Any]:
        """The entries of a row's identity."""
        return {"source": "generated", "corruption_seed": self.seed}

    def __call__(self, test: Split, name: str, severity: int) -> Split:
        """These images, corrupted; each as it would be among others.

        Args:
          test: images uint8 `[n, H, W, C]`, C of 3, or of 1 for grey ones, which are
            corrupted as colours and turned grey again.
          name, severity: as in `corruptions.corrupt`.
        """
        key = jax.random.key(self.seed)
        grey = test.images.shape[-1] == 1
        colours = np.repeat(test.images, 3, axis=-1) if grey else test.images
        images = corruptions.corrupt(colours, name, severity, key)
        if grey:
            mean = images.mean(axis=-1, keepdims=True)
            images = np.rint(mean).astype(np.uint8)
        return Split(images, test.labels)


@dataclasses.dataclass(frozen=True)
class PublishedCorruptions:
    """The benchmark's own files; not all of them may be there."""

    read: cifar_c.NpyCifarC | cifar_c.TfdsCifarC

    def identity(self) -> dict[str, Any]:
        """The entry of a row's identity."""
        return {"source": "official" if self.read.paired else "tfds"}

    def __call__(self, test: Split, name: str, severity: int) -> Split:
        """The first of them, as many as `test` has; TFDS's are in another order."""
        images, labels = self.read(name, severity)
        count = len(test.labels)
        return Split(np.asarray(images[:count]), labels[:count])


def source(
    run: Run, kind: str = "auto", seed: int = SEED
) -> GeneratedCorruptions | PublishedCorruptions:
    """Where a run's corrupted images come from.

    Args:
      run: its configuration says where data is looked for.
      kind: "published": CIFAR-10-C or CIFAR-100-C, see `data.cifar_c`; "made": by
        `data.corruptions`; "auto": the published ones where they are.
      seed: of what is made.

    Raises:
      ValueError: for another kind, or if nothing published is there and it must be.
    """
    if kind not in SOURCES:
        raise ValueError(f"corruptions {kind!r}: expected one of {list(SOURCES)}.")
    name = run.experiment.dataset.name
    folder = expand(run.experiment.config.dataset.data_dir)
    there = cifar_c.find(name, folder, run.experiment.dataset.test)
    if kind == "published" and there is None:
        raise ValueError(
            f"{folder} has no published corruptions of {name!r}, which would be in "
            f"{cifar_c.FOLDERS.get(name, 'no folder')}: have them made, by "
            "--corruptions made."
        )
    return (
        GeneratedCorruptions(seed)
        if there is None or kind == "made"
        else PublishedCorruptions(there)
    )


def named(beginning: str) -> list[str]:
    """The corruptions that can be had, and whose names begin so.

    Raises:
      ValueError: if there are none.
    """
    there = corruptions.available()
    found = [name for name in there if name.startswith(beginning)]
    if not found:
        raise ValueError(
            f"only={beginning!r}: expected the beginning of one of {there}."
        )
    return found


def identity(
    name: str, severity: int, images: GeneratedCorruptions | PublishedCorruptions
) -> dict[str, Any]:
    """The entries of a row's identity that are of its images."""
    return {"corruption": name, "severity": severity, **images.identity()}


def measure(
    run: Run,
    store: Results,
    attack: SeedAttack,
    norm: attacks.Norm,
    eps: Sequence[Eps],
    images: GeneratedCorruptions | PublishedCorruptions,
    n: int = 0,
    names: Sequence[str] = (),
    severities: Sequence[int] = cifar_c.SEVERITIES,
    batch_size: int = 250,
    console: Console | None = None,
) -> list[Row]:
    """Accuracy on every corruption and severity; what the store holds stays.

    Args:
      run, store, attack, norm, eps, batch_size, console: as in `evaluation.measure`.
      images: of `source`.
      n: the first n of each; 0: all.
      names: of corruptions; none: all that can be had, see `corruptions.available`.
      severities: of each.

    Returns:
      Rows in the order of names, severities, eps and seeds.

    Raises:
      ValueError: for a corruption or severity that there is not.
    """
    first = Split(*first_images(run, n))
    wanted = list(itertools.product(names or corruptions.available(), severities))
    quiet, rows = Console(quiet=True), []
    with Progress(console, len(wanted)) as progress:
        for name, severity in wanted:
            progress.begin(f"{name} {severity}")
            take = functools.cache(functools.partial(images, first, name, severity))
            tested = EvalImages(
                identity(name, severity, images), take, len(first.labels)
            )
            call = run, store, attack, norm, eps, 0, batch_size, quiet
            rows += measure_images(*call, tested=tested)
    return rows
