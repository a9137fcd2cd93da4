"""Every key of a configuration, with the defaults of the paper (Section 6).

This file is not an experiment; the other files start from it and change some keys. A
flag changes any key: `--config.seeds=2`. A key that is not declared here is an error.
"""

from typing import Any

from ml_collections import ConfigDict


def get_config() -> Any:
    config: Any = ConfigDict()
    config.name = "base"
    config.first_seed = 0
    config.seeds = 5
    config.epochs = 200
    config.batch_size = 128

    config.model = ConfigDict()
    config.model.name = "parallel_rs"
    config.model.depth = 10
    config.model.trunk = "matched"  # or "published": each net as published
    config.model.width = 1.0
    config.model.group = ""  # of rotation layers: "C8", "D4"; "": that of the trunk
    config.model.basis = ""  # "full", "steerable", "interpolated"; "": by the group
    config.model.readout = ""  # of equivariant: "invariant", "flatten"; "": by trunk
    config.model.order = ()  # of cascaded; (): standard, rotation, scale
    config.model.mean = (0.5,)  # of images in [0, 1]; one value, or one per channel
    config.model.std = (0.5,)
    config.model.dtype = "float32"  # of the computation, or "bfloat16"
    config.model.lowering = ""  # "patches", "conv", "winograd", "mixed"; "": by device

    config.dataset = ConfigDict()
    config.dataset.name = "cifar10"  # or "cifar100", "digits"
    config.dataset.data_dir = "~/tensorflow_datasets"
    config.dataset.cache_dir = ""  # "": the user's cache folder
    config.dataset.size = 16  # side of the digits, in pixels
    config.dataset.train_images = 0  # size of a fixed subset; 0: all
    config.dataset.validation_images = 0  # held out from the training images
    config.dataset.augment = False  # random flips and crops
    config.dataset.quarter_turns = False  # random rotations by 0, 90, 180, 270 degrees

    config.optimizer = ConfigDict()
    config.optimizer.rate = 1e-3
    config.optimizer.schedule = "constant"  # or "step", "cosine"
    config.optimizer.decay_epochs = 50
    config.optimizer.decay_factor = 0.1
    config.optimizer.weight_decay = 0.0
    config.optimizer.label_smoothing = 0.0

    config.training = ConfigDict()
    config.training.mode = "clean"  # or "pgd", "fgsm_augmented", "fgsm_published"
    config.training.eps_pixels = 8 / 255
    config.training.steps = 7
    config.training.step_size_pixels = 2 / 255
    config.training.bounds = (0.0, 1.0)  # range to which FGSM clips pixel values
    config.training.drop_last = True  # leave out images that do not fill a batch

    config.mesh = ConfigDict()  # numbers of devices by axis; 0: an automatic choice
    config.mesh.seed = 0
    config.mesh.data = 0

    config.evaluation = ConfigDict()
    config.evaluation.every_epochs = 1
    config.evaluation.batch_size = 250

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 10
    config.checkpoint.keep = 1
    return config.lock()
