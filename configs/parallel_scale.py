"""Standard and scale branches side by side (Figure 6); 10 layers, CIFAR-10.

    python train.py --config configs/parallel_scale.py

`--config.model.trunk=published` selects the net as published. `docs/models.md` has the
flags of its published training.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "parallel_scale"
    config.model.name = "parallel_scale"
    return config
