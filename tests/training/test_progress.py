"""What is shown while a run trains: a bar that moves, a line an epoch, what is next."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from symjax.training.progress import Progress, closing, mean

ROW = {
    "epoch": 3,
    "train_loss": [0.5, 0.7, None],
    "train_accuracy": [0.9, 0.8, None],
    "validation_accuracy": [0.7, 0.6, 0.2],
    "test_accuracy": [0.6, 0.5, 0.4],
    "images_per_second": 1234.5,
}
LINE = "epoch 3: loss 0.600, train 85.0%, validation 50.0%, test 50.0%, 1,234 images/s"


@pytest.fixture
def shown():
    """`shown(epochs, done)`: progress on a terminal, and a function for its frames."""
    file = io.StringIO()
    options = {"force_terminal": True, "color_system": None, "legacy_windows": False}
    console = Console(file=file, width=80, **options)

    def start(epochs, done):
        progress = Progress(epochs, done, console)

        def frame():
            file.seek(0)
            file.truncate()
            progress._bar.refresh()
            text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "\n", file.getvalue())
            return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line]

        return progress, frame, file

    return start


def test_the_bar_moves_within_an_epoch_and_fits_80_columns(shown):
    progress, frame, _ = shown(200, 2)
    with progress:
        (before,) = frame()
        assert before.startswith("epoch 3/200 ") and before.endswith("left, compiling")
        progress.advance(2.25, 0.5)
        (quarter,) = frame()
        assert quarter.endswith("left, train 50.0%")
        progress.advance(150.5, 0.123)
        (later,) = frame()
        assert " 75% " in later and later.endswith("left, train 12.3%")
        assert later.count("━") > quarter.count("━")
        progress.advance(150.6, None)
        assert frame()[0].endswith("left,")
    assert max(map(len, (before, quarter, later))) <= 80


def test_an_epoch_is_a_line_on_a_terminal_as_in_a_pipe(shown):
    progress, frame, file = shown(8, 2)
    with progress:
        progress.update(ROW)
        assert LINE in file.getvalue() and len(LINE) <= 80
        below = file.getvalue().split(LINE)[1]
        assert "epoch 4/8" in below and "epoch 3/8" not in below
        assert frame()[0].startswith("epoch 4/8 ")
        progress.update(ROW | {"epoch": 8})
        assert frame()[0].startswith("epoch 8/8 ")
    pipe = io.StringIO()
    with Progress(8, 2, Console(file=pipe, width=80)) as progress:
        progress.advance(2.5, 0.5)
        progress.update(ROW)
        progress.update({"epoch": 4, "train_loss": [1.0], "images_per_second": 1.0})
    assert pipe.getvalue() == f"{LINE}\nepoch 4: loss 1.000, 1 images/s\n"


def test_a_run_that_ends_says_its_accuracy_its_folder_and_what_is_next():
    assert closing([{}, ROW], Path("runs/a b")) == (
        "trained 3 epochs of 3 seeds: test accuracy 50.0% on average\n"
        "The run is in runs/a b. Next:\n"
        "    python evaluate.py --attack pgd --run 'runs/a b'"
    )
    one = {"epoch": 1, "train_loss": [0.5]}  # its test was not written
    assert closing([one], Path("x")).startswith("trained 1 epoch of 1 seed\nThe run")


def test_the_mean_leaves_frozen_seeds_out():
    assert mean([1.0, None, 3.0]) == 2.0 and mean([None]) != mean([None])
