"""Attacks a trained run, all seeds at once, and prints a table.

python evaluate.py --attack pgd --eps 1/255,8/255
"""

from symjax.cli import evaluate

if __name__ == "__main__":
    evaluate()
