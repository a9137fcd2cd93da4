"""APGD's checkpoints (Croce and Hein 2020, Section 3), and the radius of each step.

first, radius, window = plan("linf", steps=100, radii=(1.0,))
"""

import functools

import numpy as np


@functools.cache
def plan(norm: str, steps: int, radii: tuple[float, ...]):
    """The schedule of all steps, as three arrays `[steps]`.

    Args:
      norm: the norm of the ball.
      steps: the number of steps in all balls together.
      radii: the radii of the balls, in eps.

    Returns:
      Whether each step is the first one in its ball; the radius of the ball; and the
      number of steps since the last checkpoint, or 0 if the step is no checkpoint.
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
    """For each step, the steps since the last checkpoint at a checkpoint, otherwise 0.

    With 100 steps the checkpoints are 22, 41, 57, 70, 80, 87, 93 and 99.
    """
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
