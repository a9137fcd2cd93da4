"""Configurations: every file has base's keys, its own name, and a net that builds."""

import importlib.util
from pathlib import Path

import pytest

from configs import base
from symjax import models
from symjax.training import adversarial
from symjax.training import experiment as experiments

FOLDER = Path(base.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def keys(config):
    return set(config.copy_and_resolve_references().to_dict(visit_map={})) | {
        f"{name}.{key}"
        for name, value in config.items()
        if hasattr(value, "keys")
        for key in value.keys()
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_is_base_with_other_values(path):
    config = load(path)
    assert config.is_locked and config.name == path.stem
    assert keys(config) == keys(base.get_config())
    kept = experiments.from_json(experiments.to_json(config))
    assert experiments.digest(kept) == experiments.digest(config)
    assert experiments.model(kept, 10) == experiments.model(config, 10)


def test_every_net_has_a_file_of_its_name():
    for name in models.MODELS:
        config = load(FOLDER / f"{name}.py")
        assert config.model.name == name
        assert (config.model.depth, config.seeds) == (10, 5)
        assert config.dataset.name == "cifar10"


def test_the_papers_training_is_the_default():
    config = base.get_config()
    assert (config.optimizer.rate, config.batch_size, config.epochs) == (1e-3, 128, 200)
    assert config.optimizer.schedule == "constant"
    assert not config.dataset.augment and config.training.mode == "clean"


def test_adversarial_training_is_madrys():
    wanted = load(FOLDER / "adversarial_training.py").training
    assert wanted.mode == "pgd" and wanted.mode in adversarial.MODES
    assert wanted.eps_pixels == 8 / 255 and wanted.step_size_pixels == 2 / 255
    assert wanted.steps == 7


def test_an_unknown_key_is_an_error_that_names_the_nearest():
    with pytest.raises(AttributeError, match='Did you mean "epochs"'):
        base.get_config().epoch = 3
