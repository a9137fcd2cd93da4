"""PGD adversarial training (Madry et al. 2018) of the baseline net, CIFAR-10.

    python train.py --config configs/adversarial_training.py

The attack is linf with radius 8/255 and 7 steps of 2/255 from a random start. The paper
(Table 4) does not state its settings.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "adversarial_training"
    config.model.name = "baseline"
    config.training.mode = "pgd"
    config.training.eps_pixels = 8 / 255
    config.training.steps = 7
    config.training.step_size_pixels = 2 / 255
    return config
