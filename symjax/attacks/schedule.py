"""When APGD reviews its steps (Croce and Hein 2020, Section 3), and in which ball.

first, radius, window = plan("linf", steps=100, radii=(1.0,))
"""

import functools

import numpy as np


@functools.cache
def plan(norm: str, steps: int, radii: tuple[float, ...]):
    """What each step is: three arrays `[steps]`.

    Args:
      norm: of the ball.
      steps: of all balls together.
      radii: of the balls, in eps.

    Returns:
      Whether it is the first in its ball; the radius; and the length of the window that
      it closes, 0 where it is no checkpoint.
    """
    lengths = [steps]
    if len(radii) > 1:  # the reference: 30 % each, the rest in the last
        lengths = [int(np.ceil(0.3 * steps))] * (len(radii) - 1)
        lengths.append(steps - sum(lengths))
    first, radius, window = [], [], []
    for length, factor in zip(lengths, radii, strict=True):
        first += [index == 0 for index in range(length)]
        radius += [factor] * length
        window += windows(norm, length)
    return np.array(first), np.array(radius, np.float32), np.array(window)


def windows(norm: str, steps: int) -> list[int]:
    """Window lengths at checkpoints: of 100 steps at 22, 41, 57, 70, 80, 87, 93, 99."""
    if norm == "l1":
        length, less = max(int(0.04 * steps), 1), 0
    else:
        length, less = max(int(0.22 * steps), 1), max(int(0.03 * steps), 1)
    shortest, since, windows = max(int(0.06 * steps), 1), 0, []
    for _ in range(steps):
        since += 1
        closes = since == length
        windows.append(length if closes else 0)
        if closes:
            since = 0
            length = max(length - less, shortest) if less else length
    return windows
