"""Every convolution on C4, invariant logits; 10 layers, CIFAR-10.

    python train.py --config configs/equivariant.py

`--config.model.trunk=published` selects the net as published. `docs/models.md` has the
flags of its published training.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "equivariant"
    config.model.name = "equivariant"
    config.batch_size = 64  # this net alone, and its epochs, as published
    config.epochs = 50
    return config
