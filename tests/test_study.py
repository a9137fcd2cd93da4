"""The study: the paper's numbers, the runs, what is measured of them, and the work."""

import dataclasses
import io
import json
import shlex
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags
from rich.console import Console

from symjax import compilation, models
from symjax.attacks import sanity
from symjax.evaluation import results
from symjax.evaluation.results import cell_id
from symjax.study import __main__ as command
from symjax.study import listing, measurements, published
from symjax.study import work as works
from symjax.study.measurements import Accuracy, Audit, Corrupted, Subject, Tolerance
from symjax.study.size import SMALL, WHOLE, Size
from symjax.study.trainings import CONTROLLED, PUBLISHED, TRAININGS
from symjax.study.work import Folders
from symjax.training import experiment as experiments

ROOT = Path(__file__).parents[1]
BASELINE, EQUIVARIANT = (f"cifar10-10-{x}-reference" for x in ("baseline", "equivariant"))
CHECKS = ("logits, not probabilities", "no dependence on the batch")
TINY = Size(
    name="tiny",
    override={
        "dataset.name": "digits",
        "dataset.size": 8,
        "dataset.train_images": 320,
        "model.depth": 4,
        "model.width": 0.1,
        "model.mean": (0.5,),  # grey
        "model.std": (0.5,),
        "epochs": 2,
        "batch_size": 32,
        "optimizer.rate": 0.01,
    },
    seeds=2,
    n=40,
    n_autoattack=8,
    n_audit=24,
    n_tolerance=2,
    n_corrupted=8,
    radii=2,
    autoattack={"steps": 2, "queries": 4, "target_classes": 1},
    audit={"only": CHECKS},
    corruptions=("contrast",),
    severities=(1, 5),
)


def few(training):
    """One measurement of each kind, of the two nets."""
    if training.name == EQUIVARIANT:
        yield Accuracy("reference", "none")
        yield Accuracy("reference", "fgsm", (0.01, 0.02))
        return
    seen = set()
    for each in measurements.of_training(training):
        says = type(each), each.protocol, each.attack, getattr(each, "metric", "")
        if says[:2] == (Corrupted, "sound") or says[1:3] == ("switched", "pgd"):
            continue
        if says not in seen:
            yield each
        seen.add(says)


@dataclasses.dataclass
class Study:
    folders: Folders
    trainings: list

    def work(self, **options):
        said = io.StringIO()
        console = Console(file=said, width=200)
        call = self.trainings, TINY, self.folders
        return works.work(*call, console=console, **options), said.getvalue()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    folders = Folders(folder / "results" / "tiny", folder / "runs")
    made = Study(folders, [TRAININGS[BASELINE], TRAININGS[EQUIVARIANT]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanity, "CHECKS", {x: sanity.CHECKS[x] for x in CHECKS})
        for module in (works, listing):
            patch.setattr(module, "of_training", few)
        finished, log = made.work()
        assert finished
        print(log)
        yield made


def test_x(study):
    pass
