"""The three branches summed with learned weights; 10 layers, CIFAR-10.

    python train.py --config configs/weighted.py

The net as published, with what was published of its training:
`--config.model.trunk=published` and the flags in `docs/models.md`.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "weighted"
    config.model.name = "weighted"
    return config
