"""Trains a net of the paper, all seeds at once.

python train.py --config configs/parallel_rs.py --config.seeds=5
"""

if __name__ == "__main__":
    from symjax import interruption

    interruption.install()  # the import of the libraries takes a while
    from symjax.cli import train

    train()
