"""The journal of a run: metrics.jsonl and TensorBoard events."""

import json
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from symjax.training.journal import MetricLogger, read

ROWS = [
    {"epoch": epoch, "step": 3 * epoch, "train_loss": [1.0 / epoch, None]}
    for epoch in (1, 2, 3)
]


def write(folder, rows, done=0):
    with MetricLogger(folder, done) as journal:
        for row in rows:
            journal.write(row)
    return folder / "metrics.jsonl"


def events(folder):
    """What TensorBoard reads: length, checksum, message, checksum."""
    for path in sorted((folder / "tensorboard").glob("events.out.tfevents.*")):
        rest = path.read_bytes()
        while rest:
            (length,) = struct.unpack("<Q", rest[:8])
            yield Event.FromString(rest[12 : 12 + length])
            rest = rest[12 + length + 4 :]


def test_rows_come_back_and_go_to_tensorboard(tmp_path):
    assert read(write(tmp_path, ROWS)) == ROWS
    points = [
        (value.tag, event.step, value.simple_value)
        for event in events(tmp_path)
        for value in event.summary.value
    ]
    assert points == [
        ("train_loss/seed_0", epoch, pytest.approx(1 / epoch)) for epoch in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("garbage", "Expecting value"),
        ("[1]", "expected a JSON object with an integer"),
        ('{"step": 3}', "expected a JSON object with an integer"),
        ('{"epoch": "2"}', "expected a JSON object with an integer"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, reason):
    path = write(tmp_path, ROWS)
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{x}\n" for x in [lines[0], line, *lines[1:]]))
    text = rf"^{path}, line 2 cannot be read \({reason}.*\): correct or remove"
    for call in (lambda: read(path), lambda: MetricLogger(tmp_path, 3)):
        with pytest.raises(ValueError, match=text):
            call()


def test_a_journal_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(
        ValueError, match=f"^{path} cannot be read .*correct or remove it"
    ):
        read(path)


def test_lines_after_the_last_checkpoint_are_dropped(tmp_path):
    path = write(tmp_path, ROWS)
    path.write_text(path.read_text() + '{"epoch": 4, "st')
    other = [{"epoch": 2, "train_loss": [0.1, 0.2]}]
    assert read(write(tmp_path, other, done=1)) == ROWS[:1] + other
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_resumed_run_tells_tensorboard_what_to_drop(tmp_path):
    write(tmp_path, ROWS)
    write(tmp_path, ROWS[2:], done=2)
    starts = [e.step for e in events(tmp_path) if e.HasField("session_log")]
    assert sorted(starts) == [1, 3]


def test_a_full_disk_is_one_error_that_names_the_folder(tmp_path):
    with MetricLogger(tmp_path, 0) as journal:
        journal._path.unlink()
        journal._path.symlink_to("/dev/full")
        text = f"{tmp_path} cannot be written to .No space left on device.: choose"
        with pytest.raises(OSError, match=text):
            journal.write(ROWS[0])
