"""Standard, rotation, scale layers in sequence; 10 layers, CIFAR-10.

    python train.py --config configs/cascaded.py

`--config.model.trunk=published` selects the net as published. `docs/models.md` has the
flags of its published training.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "cascaded"
    config.model.name = "cascaded"
    return config
