"""A parallel rot & scale net on the bundled digits, to see everything work.

python train.py --config configs/quickstart.py && python evaluate.py --attack pgd
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "quickstart"
    config.seeds = 2
    config.epochs = 8
    config.model.depth = 4
    config.dataset.name = "digits"
    config.checkpoint.every_epochs = 4
    return config
