"""Standard, rotation and scale branches side by side; 10 layers, CIFAR-10.

    python train.py --config configs/parallel_rs.py

The net as published, with what was published of its training:
`--config.model.trunk=published` and the flags in `docs/models.md`.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "parallel_rs"
    return config
