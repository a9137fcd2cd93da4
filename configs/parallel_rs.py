"""Standard, rotation and scale branches side by side; 10 layers, CIFAR-10.

    python train.py --config configs/parallel_rs.py

`--config.model.trunk=published` selects the net as published. `docs/models.md` has the
flags of its published training.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "parallel_rs"
    return config
