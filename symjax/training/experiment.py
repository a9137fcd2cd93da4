"""Builds the objects that a configuration describes.

experiment = Experiment.build(config)
experiment.model, experiment.dataset, experiment.recipe

No other module reads configurations to build objects.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from symjax import data, mesh, models, seeds
from symjax.folders import reading
from symjax.mesh import DeviceLayout
from symjax.training import adversarial, optimizer, validation
from symjax.training import state as states
from symjax.training.state import TrainState
from symjax.training.step import TrainSpec, steps_of_epoch

Config = Any  # a ConfigDict, whose keys no type checker knows


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The objects of a training run.

    Attributes:
      config: the configuration, locked.
      dataset: images and labels, on the host.
      model: the net.
      tx: the optimizer.
      recipe: the arguments of training steps that do not change during training.
      layout: the devices, see `symjax.mesh`.
    """

    config: Config
    dataset: data.Dataset
    model: models.Net
    tx: optax.GradientTransformation
    recipe: TrainSpec
    layout: DeviceLayout

    @classmethod
    def build(cls, config: Config) -> "Experiment":
        """Checks the configuration, loads the data, and builds net and optimizer.

        Raises:
          DataNotFoundError: if the data set is not on this machine and cannot be
            downloaded.
          ValueError: for a missing or invalid value, or if there are fewer training
            images than one batch takes.
        """
        check(config)
        dataset = _dataset(config)
        net = model(config, dataset.classes)
        _check_channels(config, dataset.image_shape[-1])
        count = len(dataset.train.images)
        if count < config.batch_size:
            raise ValueError(
                f"batch_size={config.batch_size} is more than the {count} training "
                "images: choose a smaller one."
            )
        drop_last = config.training.drop_last
        steps = steps_of_epoch(count, config.batch_size, drop_last)
        tx = _optimizer(config, steps)
        layout = mesh.build(config.seeds, config.batch_size, **config.mesh.to_dict())
        recipe = TrainSpec(
            model=net,
            tx=tx,
            make_batch=_batch_maker(config),
            batch_size=config.batch_size,
            augment=config.dataset.augment,
            # Configurations of older run folders do not have this key.
            quarter_turns=config.dataset.get("quarter_turns", False),
            label_smoothing=config.optimizer.label_smoothing,
            layout=layout,
            drop_last=drop_last,
        )
        return cls(config, dataset, net, tx, recipe, layout)

    @property
    def steps(self) -> int:
        """The number of steps per epoch."""
        count, recipe = len(self.dataset.train.images), self.recipe
        return steps_of_epoch(count, recipe.batch_size, recipe.drop_last)

    @functools.cached_property
    def keys(self) -> jax.Array:
        """The random keys of the seeds, `[S]`."""
        keys = functools.partial(seeds.keys, self.config.first_seed, self.config.seeds)
        return self.layout.jit(keys, self.layout.everywhere)()

    def fresh_state(self) -> TrainState:
        """The state of all seeds before the first step, leading axis S."""
        # The program runs once, and optimizing its random numbers would take long.
        options = {"xla_backend_optimization_level": 1}
        by_seed = self.layout.by_seed
        program = jax.jit(self._create, compiler_options=options, out_shardings=by_seed)
        return program(self.keys)

    def state_shapes(self) -> TrainState:
        """Shapes, dtypes and shardings of `fresh_state`, without computing it."""
        shapes = jax.eval_shape(self._create, self.keys)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=self.layout.by_seed
            ),
            shapes,
        )

    def _create(self, keys: jax.Array) -> TrainState:
        def create(key):
            init_key = seeds.purpose_key(key, seeds.KeyPurpose.INIT)
            shape = self.dataset.image_shape
            return states.create(self.model, self.tx, init_key, shape)

        return self.layout.over_seeds(create)(keys)


def to_json(config: Config) -> str:
    """The configuration as indented JSON; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def json_values(config: Config) -> dict[str, Any]:
    """The configuration as a dictionary of JSON values; tuples become lists."""
    return json.loads(to_json(config))


def from_json(text: str) -> Config:
    """Parses the configuration of a run folder; the result is locked.

    Keys that an older run folder lacks get the value that was then in effect, and the
    trunk "published" has its present name instead of "reference".
    """
    values = json.loads(text)
    values.get("training", {}).setdefault("drop_last", True)
    net = values.get("model")
    if isinstance(net, dict) and net.get("trunk") == "reference":
        net["trunk"] = "published"
    return ConfigDict(values).lock()


def read(path: Path) -> Config:
    """Reads the configuration of a run folder; the result is checked and locked.

    Args:
      path: the file `config.json`.

    Raises:
      OSError, ValueError: if the file cannot be read or is not a valid configuration;
        the error names it.
    """
    way_out = "restore the run's configuration from a copy, or train the run again"
    with reading(path, f"{way_out} with another --workdir"):
        config = from_json(path.read_text())
        check(config)
    return config


def check(config: Config) -> None:
    """Checks a configuration before any data is loaded.

    Raises:
      ValueError: for a missing or invalid value.
    """
    if not isinstance(config, ConfigDict):
        raise ValueError(f"the configuration is {config!r}: expected a ConfigDict.")
    validation.check(config.to_dict())
    model(config, classes=2)


def check_trunk(config: Config, meta: Mapping[str, Any]) -> None:
    """Checks that a checkpoint was made with the present version of the trunk.

    Args:
      config: configuration of the run.
      meta: metadata of the checkpoint.

    Raises:
      ValueError: if the trunk has changed, so that the parameters would now describe
        another net.
    """
    trunk = config.model.trunk
    before, now = meta.get("trunk_version", 1), models.TRUNK_VERSIONS[trunk]
    if before != now:
        raise ValueError(
            f"the checkpoint has version {before} of the {trunk} trunk, and this "
            f"symjax has version {now}, in which the same parameters give another net "
            "(CHANGELOG.md): train the run again with another --workdir, or open it "
            "with the symjax that trained it."
        )


def digest(config: Config) -> str:
    """The hash of a configuration that rows hold."""
    values = json.dumps(json_values(config), sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:16]


def _check_channels(config: Config, channels: int) -> None:
    for name in ("mean", "std"):
        if len(config.model[name]) not in (1, channels):
            raise ValueError(
                f"model.{name}={tuple(config.model[name])}: expected one number, or "
                f"one for each of the {channels} channels of the images."
            )


def _dataset(config: Config) -> data.Dataset:
    wanted = config.dataset
    return data.load(
        wanted.name,
        data_dir=wanted.data_dir,
        cache_dir=wanted.cache_dir or None,
        size=wanted.size,
        train_images=wanted.train_images,
        validation_images=wanted.validation_images,
    )


def model(config: Config, classes: int) -> models.Net:
    """The net that a configuration describes."""
    wanted: dict[str, Any] = config.model.to_dict()
    for name in ("order", "mean", "std"):
        wanted[name] = tuple(wanted[name])
    return models.build(classes=classes, **wanted)


def _optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    wanted = config.optimizer
    return optimizer.build(
        rate=wanted.rate,
        schedule=wanted.schedule,
        total_steps=config.epochs * steps,
        decay_steps=wanted.decay_epochs * steps,
        decay_factor=wanted.decay_factor,
        weight_decay=wanted.weight_decay,
    )


def _batch_maker(config: Config) -> adversarial.BatchMaker:
    wanted = config.training
    return adversarial.batch_maker(
        wanted.mode,
        eps=wanted.eps_pixels,
        steps=wanted.steps,
        step_size=wanted.step_size_pixels,
        bounds=tuple(wanted.bounds),
    )
