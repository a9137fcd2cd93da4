"""Standard and rotation branches side by side; 10 layers, CIFAR-10.

    python train.py --config configs/parallel_rot.py

The net as published, with what was published of its training:
`--config.model.trunk=published` and the flags in `docs/models.md`.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "parallel_rot"
    config.model.name = "parallel_rot"
    return config
