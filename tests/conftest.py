"""What the tests share: quick compilation, tiny configurations, one trained run."""

import dataclasses
import io
import os
import shutil
import tempfile
from pathlib import Path

import jax
import pytest
from rich.console import Console

from configs import base
from symjax.training import train
from symjax.training.experiment import Config
from symjax.training.state import TrainState

# Nearly all the time of the tests goes into compiling nets that are then run for a
# moment: optimise nothing, and share programs between tests and the commands that they
# call. This works until JAX first computes something.
CACHE = tempfile.mkdtemp(prefix="symjax-tests-")  # each process of the tests has one
os.environ.setdefault("JAX_PLATFORMS", "cpu")
QUICKLY = " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "").replace(QUICKLY, "") + QUICKLY
for name, value in (
    ("jax_platforms", os.environ["JAX_PLATFORMS"]),
    ("jax_compilation_cache_dir", CACHE),
    ("jax_persistent_cache_min_compile_time_secs", 0.5),
):
    os.environ[name.upper()] = str(value)
    jax.config.update(name, value)
jax.config.update("jax_numpy_rank_promotion", "raise")

TINY = {
    "name": "tiny",
    "seeds": 2,
    "epochs": 3,
    "batch_size": 32,
    "model.name": "baseline",
    "model.depth": 4,
    "model.width": 0.1,
    "dataset.name": "digits",
    "dataset.train_images": 430,  # 13 batches; 14 images sit out
    "optimizer.rate": 0.01,
}


def pytest_unconfigure():
    shutil.rmtree(CACHE, ignore_errors=True)


@dataclasses.dataclass
class Trained:
    """A run, and what it said."""

    folder: Path
    config: Config
    state: TrainState
    log: str


@pytest.fixture(scope="session")
def tiny():
    """`tiny({"epochs": 1})`: a configuration that trains in a moment."""

    def make(changes=()):
        config = base.get_config()
        config.update_from_flattened_dict(TINY | dict(changes))
        return config

    return make


@pytest.fixture(scope="session")
def train_run():
    """`train_run(config, folder)`: trains, and keeps what was printed."""

    def run(config, folder, **options):
        log = io.StringIO()
        console = Console(file=log, width=200)
        state = train(config, folder, console=console, **options)
        return Trained(folder, config, state, log.getvalue())

    return run


@pytest.fixture(scope="session")
def trained(tiny, train_run, tmp_path_factory):
    """Two seeds of a tiny net after three epochs of digits."""
    return train_run(tiny(), tmp_path_factory.mktemp("runs") / "tiny")
