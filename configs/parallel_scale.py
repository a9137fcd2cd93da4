"""Standard and scale branches side by side (Figure 6); 10 layers, CIFAR-10.

    python train.py --config configs/parallel_scale.py

The net as published, with what was published of its training:
`--config.model.trunk=published` and the flags in `docs/models.md`.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "parallel_scale"
    config.model.name = "parallel_scale"
    return config
