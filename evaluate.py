"""Attacks a trained run, all seeds at once, and prints a table.

python evaluate.py --attack pgd --eps 1/255,8/255
"""

if __name__ == "__main__":
    from symjax import interruption

    interruption.install()  # the import of the libraries takes a while
    from symjax.cli import evaluate

    evaluate()
