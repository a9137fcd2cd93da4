"""Every key of a configuration, with the paper's defaults (Section 6, reference.md).

No experiment of its own: the others start from it. A flag overrides any key,
`--config.seeds=2`; a key that is not here is an error.
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
    config.model.group = ""  # of rotation layers, "C8", "D4"; "": the trunk's, C4
    config.model.basis = ""  # "full", "steerable", "interpolated"; "": as is usual
    config.model.readout = ""  # of equivariant: "invariant", "flatten"; "": the trunk's
    config.model.order = ()  # of cascaded; (): standard, rotation, scale
    config.model.mean = (0.5,)  # of [0, 1] images; one value, or one a channel
    config.model.std = (0.5,)
    config.model.dtype = "float32"  # of the computation, or "bfloat16"
    config.model.lowering = ""  # "patches", "conv", "winograd", "mixed"; "": by backend

    config.dataset = ConfigDict()
    config.dataset.name = "cifar10"  # or "cifar100", "digits"
    config.dataset.data_dir = "~/tensorflow_datasets"
    config.dataset.cache_dir = ""  # "": the user's cache folder
    config.dataset.size = 16  # side of the digits, in pixels
    config.dataset.train_images = 0  # a fixed subset of that many; 0: all
    config.dataset.validation_images = 0  # cut from the training images
    config.dataset.augment = False  # random flips and crops
    config.dataset.quarter_turns = False  # random turns by 0, 90, 180, 270 degrees

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
    config.training.bounds = (0.0, 1.0)  # to which FGSM's images are clipped
    config.training.drop_last = True  # of the images that do not fill a batch

    config.mesh = ConfigDict()  # of devices; 0: seeds first, then each seed's batch
    config.mesh.seed = 0
    config.mesh.data = 0

    config.evaluation = ConfigDict()
    config.evaluation.every_epochs = 1
    config.evaluation.batch_size = 250

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 10
    config.checkpoint.keep = 1
    return config.lock()
