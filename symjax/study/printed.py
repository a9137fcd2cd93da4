"""What the paper's own numbers say of its claims, in words.

printed_curve("cifar100", 4, "parallel_rs", "parallel_rot")
"""

import numpy as np

from symjax.study import published


def printed_curve(dataset: str, depth: int, first: str, second: str) -> str:
    """Where one published curve lies above another, in words."""
    curves = published.numbers()["figure1_2_curves"]
    parts = []
    for attack in ("fgsm", "pgd"):
        pair = [
            curves["curves"][f"{dataset}/{depth}/{net}/{attack}"]
            for net in (first, second)
        ]
        both = [
            (eps, a - b)
            for eps, a, b in zip(curves["eps"], *pair, strict=True)
            if a is not None and b is not None
        ]
        lower = [eps for eps, gap in both if gap < 0]
        text = f"{attack}: above at {len(both) - len(lower)} of {len(both)} epsilons"
        if lower:
            text += f", below at {', '.join(f'{eps:g}' for eps in lower)}"
        parts.append(text)
    return f"the paper's own plot, {first} over {second}: {'; '.join(parts)}"


def printed_gains(dataset: str) -> str:
    """Table 2 or 3: what ten layers gain over four."""
    table = published.numbers()["table2_3_fully_equivariant"][dataset]
    parts = []
    for attack in ("fgsm", "pgd"):
        gains = np.subtract(table["10"][attack], table["4"][attack])
        text = ", ".join(f"{gain:+.2f}" for gain in gains)
        parts.append(f"{attack} {text}")
    return f"printed gains at 0.01, 0.03, 0.05, 0.1, {dataset}: {'; '.join(parts)}"


def printed_table_4() -> str:
    """Table 4: the equivariant net less the trained one."""
    table = published.numbers()["table4_adversarial_training"]
    parts = []
    for attack in ("fgsm", "pgd"):
        gaps = np.subtract(table["equivariant_no_at"][attack], table["cnn_at"][attack])
        parts.append(f"{attack} " + ", ".join(f"{gap:+.2f}" for gap in gaps))
    return f"printed, G-CNN less CNN + AT at 0.01 to 0.05: {'; '.join(parts)}"


def printed_means() -> str:
    """Table 1: its Mean row against the mean of its rows, where they differ."""
    rows = dict(published.numbers()["table1_cifar10c"]["rows"])
    printed = rows.pop("mean")
    rows.pop("std")
    parts = []
    for net, values in printed.items():
        again = np.mean([row[net] for row in rows.values()], axis=0)
        if abs(again[0] - values[0]) > 0.02:
            parts.append(f"{net} {values[0]:.2f} printed, {again[0]:.2f} of the rows")
    return f"Table 1's mean row at 0.01: {'; '.join(parts)}"
