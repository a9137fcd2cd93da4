"""Configurations: every file has base's keys, its own name, and a net that builds."""

import importlib.util
from pathlib import Path

import pytest

from configs import base
from symjax import models
from symjax.training import experiment as experiments
from symjax.training import validation

FOLDER = Path(base.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_is_base_with_other_values(path):
    config = load(path)
    assert config.is_locked and config.name == path.stem
    keys, known = (
        dict(validation.flat(x.to_dict())).keys() for x in (config, base.get_config())
    )
    assert keys == known
    kept = experiments.from_json(experiments.to_json(config))
    assert experiments.digest(kept) == experiments.digest(config)
    assert experiments.model(kept, 10) == experiments.model(config, 10)


def test_the_papers_trainings():
    config = base.get_config()
    assert (config.optimizer.rate, config.batch_size, config.epochs) == (1e-3, 128, 200)
    assert config.optimizer.schedule == "constant"
    assert not config.dataset.augment and config.training.mode == "clean"
    for name in models.MODELS:
        config = load(FOLDER / f"{name}.py")
        assert config.model.name == name
        assert (config.model.depth, config.seeds) == (10, 5)
        assert config.dataset.name == "cifar10"
    madry = load(FOLDER / "adversarial_training.py").training
    assert (madry.mode, madry.steps) == ("pgd", 7)
    assert (madry.eps_pixels, madry.step_size_pixels) == (8 / 255, 2 / 255)
