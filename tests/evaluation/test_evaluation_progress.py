"""The progress of an evaluation: fractions that never fall, lines in a pipe."""

import io
import re

import jax
import numpy as np
import pytest
from jax.tree_util import Partial
from rich.console import Console

from symjax import attacks
from symjax.evaluation import measurement
from symjax.evaluation.progress import Progress, duration


class Clock:
    """A second goes by whenever it is looked at."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        self.now += 1
        return self.now


def shown(terminal):
    return Console(
        file=io.StringIO(), width=80, force_terminal=terminal, color_system=None
    )


def test_a_pipe_gets_a_line_for_each_item_that_is_finished():
    console, clock = shown(False), [0.0]
    with Progress(console, 3, clock=lambda: clock[0]) as bar:
        for name in ("one", "two", "three"):
            bar.begin(name)
            bar.part(1, 2)
            clock[0] += 200
    assert console.file.getvalue().splitlines() == [
        "one: 1 of 3, 7 min left",
        "two: 2 of 3, 3 min left",
        "three: 3 of 3, done in 10 min",
    ]


def test_a_terminal_has_one_line_of_80_columns():
    console = shown(True)
    with Progress(console, 21, Clock()) as bar:
        for index in range(8):
            bar.begin(f"a check whose name is long enough for a line, number {index}")
        bar.part(1, 2, "apgd-t 3, 123 of 1,000 stand, which is more than fits")
        bar._bar.refresh()
    lines = re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", console.file.getvalue())
    last = [line for line in lines if " 7 of 21 " in line][-1]
    assert last.rstrip().endswith("s left") and "…" in last
    assert max(map(len, lines)) <= 80 and console.file.getvalue().count("\n") == 1


def test_a_failure_finishes_no_item():
    console = shown(False)
    with pytest.raises(KeyError), Progress(console, 2, Clock()) as bar:
        bar.begin("one")
        raise KeyError
    assert console.file.getvalue() == ""
    times = [duration(x) for x in (0, 99, 200, 9000)]
    assert times == ["0 s", "99 s", "3 min", "2.5 h"]


@pytest.mark.slow
def test_autoattack_counts_attempts_times_images_of_all_seeds():
    """Two nets, of which the second is broken at once by the first attack."""

    def net(weight, images):
        score = (images - 0.5).sum(axis=(1, 2, 3))
        return jax.numpy.stack([0 * score, weight + score], axis=1)

    images = np.full((5, 2, 2, 1), 0.5, np.float32)
    seen = []
    result = attacks.autoattack(
        Partial(net, np.array([100.0, 0.01], np.float32)),
        images,
        np.ones(5, int),
        jax.random.split(jax.random.key(0)),
        attacks.Linf(0.1),
        ("apgd-ce", "fab-t", "square"),
        steps=2,
        n_queries=3,
        batch_size=2,
        report=seen.append,
    )
    assert result.robust.all(axis=1).tolist() == [True, False]
    assert not result.robust[1].any()
    fractions = [now.work / now.total for now in seen]
    assert (np.diff(fractions) > 0).all() and max(fractions[:-1]) < 1 == fractions[-1]
    assert (seen[0].work, seen[0].total) == (2, 2 * 4 * 5)  # clean and three attacks
    assert seen[-1].work == 4 * 5 + 2 * 5
    console = shown(False)
    with Progress(console, 1, Clock()) as bar:
        bar.begin("autoattack, eps 0.1")
        for now in seen:
            measurement._report_progress(bar, now)
    lines = console.file.getvalue().splitlines()
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [
        *["clean 0", "apgd-ce 0", "fab-t 2", "square 0", "clean 0", "apgd-ce 0"],
        "1 of 1",
    ]
