"""Trains a net of the paper, all seeds at once.

python train.py --config configs/parallel_rs.py --config.seeds=5
"""

from symjax.cli import train

if __name__ == "__main__":
    train()
