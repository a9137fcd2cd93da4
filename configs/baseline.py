"""The paper's benchmark: a standard CNN of 10 layers on CIFAR-10.

    python train.py --config configs/baseline.py

The net as published, with what was published of its training:
`--config.model.trunk=published` and the flags in `docs/models.md`.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "baseline"
    config.model.name = "baseline"
    return config
