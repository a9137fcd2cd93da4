"""Accuracy on corrupted test images, attacked or not (paper, Section 6.3, Table 1).

    images = source(run, "auto")                 # published files, or made by symjax
    rows = measure(run, store, Attack("pgd"), "linf", [0.01], images, n=1000)

The benchmark is that of Hendrycks and Dietterich (2019): 19 corruptions with five
severities.
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
    """Corruptions of a test split that symjax makes, from a random seed."""

    seed: int = SEED

    def identity(self) -> dict[str, Any]:
        """The entries of a row's identity."""
        return {"source": "generated", "corruption_seed": self.seed}

    def __call__(self, test: Split, name: str, severity: int) -> Split:
        """Corrupts the images; the result for an image does not depend on the others.

        Gray images, C = 1, are corrupted as color images and averaged over channels.
        """
        key = jax.random.key(self.seed)
        is_gray = test.images.shape[-1] == 1
        color = np.repeat(test.images, 3, axis=-1) if is_gray else test.images
        images = corruptions.corrupt(color, name, severity, key)
        if is_gray:
            mean = images.mean(axis=-1, keepdims=True)
            images = np.rint(mean).astype(np.uint8)
        return Split(images, test.labels)


@dataclasses.dataclass(frozen=True)
class PublishedCorruptions:
    """Corruptions from the published files of the benchmark, see `data.cifar_c`."""

    read: cifar_c.NpyCifarC | cifar_c.TfdsCifarC

    def identity(self) -> dict[str, Any]:
        """The entry of a row's identity."""
        return {"source": "official" if self.read.paired else "tfds"}

    def __call__(self, test: Split, name: str, severity: int) -> Split:
        """The first images of the file, as many as `test` has.

        The images of TFDS are in another order than those of `test`.
        """
        images, labels = self.read(name, severity)
        count = len(test.labels)
        return Split(np.asarray(images[:count]), labels[:count])


def source(
    run: Run, kind: str = "auto", seed: int = SEED
) -> GeneratedCorruptions | PublishedCorruptions:
    """The source of the corrupted images for a run.

    Args:
      run: the run, whose configuration names the folder of the data.
      kind: "published": the files of CIFAR-10-C or CIFAR-100-C, see `data.cifar_c`;
        "made": made by `data.corruptions`; "auto": the published files if they are
        there, and made otherwise.
      seed: the seed of corruptions that are made.

    Raises:
      ValueError: for another kind, or if the kind is "published" and the files are not
        there.
    """
    if kind not in SOURCES:
        raise ValueError(f"corruptions {kind!r}: expected one of {list(SOURCES)}.")
    name = run.experiment.dataset.name
    folder = expand(run.experiment.config.dataset.data_dir)
    files = cifar_c.find(name, folder, run.experiment.dataset.test)
    if kind == "published" and files is None:
        raise ValueError(
            f"{folder} has no published corruptions of {name!r}: expected "
            f"{cifar_c.FOLDERS.get(name, 'cifar10 or cifar100, which have some')}. Use "
            "--corruptions made to make them."
        )
    return (
        GeneratedCorruptions(seed)
        if files is None or kind == "made"
        else PublishedCorruptions(files)
    )


def named(beginning: str) -> list[str]:
    """The available corruptions whose names begin with a text.

    Raises:
      ValueError: if there are none.
    """
    available = corruptions.available()
    chosen = [name for name in available if name.startswith(beginning)]
    if not chosen:
        raise ValueError(
            f"only={beginning!r}: expected the beginning of one of {available}."
        )
    return chosen


def identity(
    name: str, severity: int, images: GeneratedCorruptions | PublishedCorruptions
) -> dict[str, Any]:
    """The entries of a row's identity that describe its images."""
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
    """Measures accuracy on every corruption and severity, and writes the rows.

    Cells that the store holds already are not measured again.

    Args:
      run, store, attack, norm, eps, batch_size, console: as in `evaluation.measure`.
      images: the source of the images, see `source`.
      n: the number of images per corruption and severity, the first ones; 0: all.
      names: names of corruptions; empty: all of `corruptions.available`.
      severities: the severities, from 1 to 5.

    Returns:
      Rows in the order of names, severities, eps and seeds.

    Raises:
      ValueError: for an unknown corruption or severity.
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
