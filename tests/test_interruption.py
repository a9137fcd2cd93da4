"""Ctrl-C and SIGTERM: what is printed, what is kept, the exit code."""

import os
import signal
import subprocess
import sys

import pytest

from study import __main__ as study
from symjax.interruption import interruptible
from tests.paths import ROOT

COMMON = """
import ctypes, os, signal, sys
from symjax import interruption
interruption.PATIENCE = float(sys.argv[1])
sys.orig_argv = ["python", "train.py", "--a b"]
with interruption.interruptible() as signals:
    signals.keeps("it is in x", ["--workdir", "x"])
    print("ready", flush=True)
"""
WAITS = """
    try:
        print("ready", flush=True)
        while True:
            signal.pause()
    finally:
        print("closed", flush=True)
"""
STOPS = """
    with signals.stopping() as stop:
        stop()
        print("ready", flush=True)
        while not stop():
            pass
        print("saved", flush=True)
    signals.leave_if_stopped()
    print("not reached")
"""
NEVER_STOPS = """
    with signals.stopping() as stop:
        stop()
        print("ready", flush=True)
        while True:
            pass
"""
DEAF = """
    lock, lib = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    lib.pthread_mutex_lock(lock)
    lib.pthread_mutex_lock(lock)  # waits for itself, whatever signal comes
"""
IN_A_CALLBACK = """
    class Callback:
        def __del__(self):
            print("ready", flush=True)
            while True:
                signal.pause()
    Callback()
    print("not reached")
"""
ENDS = """
from symjax import interruption
interruption.install()
with interruption.interruptible() as signals:
    signals.keeps("it is in x", ["--workdir", "x"])
print("ready", flush=True)
while True:
    interruption.signal.pause()
"""
FINALIZED = """
import os, signal
from symjax import interruption
class Last:
    def __del__(self, kill=os.kill, call=(os.getpid(), signal.SIGTERM)):
        kill(*call)
last = Last()
interruption.install()
print("ended")
"""
HEARS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
LINE = "interrupted by {}: it is in x. To go on: python train.py '--a b' --workdir x"
NOTICE = "stopping after this step; a second signal exits at once."


def start(*command, **environment):
    """A process that SIGINT reaches, also where the tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-c", HEARS, *command],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_work(work, patience):
    """A process that does this work; it prints "ready" before and in it."""
    process = start("-c", COMMON + work, str(patience))
    for _ in range(work.count("ready") + 1):
        wait_for(process, "ready")
    return process


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"{text!r} was not printed, but {process.stderr.read()}")


def end(process):
    """Exit code, lines of stdout and of stderr."""
    try:
        out, err = process.communicate(timeout=200)
    finally:
        process.kill()
    return process.returncode, out.splitlines(), err.splitlines()


@pytest.mark.parametrize(
    ("work", "number", "printed"),
    [
        (WAITS, signal.SIGINT, ["closed"]),
        (STOPS, signal.SIGTERM, ["saved"]),
        (IN_A_CALLBACK, signal.SIGINT, []),
    ],
)
def test_a_signal_is_one_line_and_an_exit_code(work, number, printed):
    process = start_work(work, patience=100)
    process.send_signal(number)
    assert end(process) == (128 + number, printed, [LINE.format(number.name)])


def test_a_signal_that_is_not_heard_is_answered_all_the_same():
    process = start_work(DEAF, patience=0.01)
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, [], [LINE.format("SIGTERM")])


def test_what_python_cannot_raise_is_printed_as_ever(capsys):
    class Broken:
        def __del__(self):
            raise KeyError("broken")

    before, seen = sys.unraisablehook, []
    sys.unraisablehook = seen.append
    try:
        with interruptible():
            Broken()
        assert sys.unraisablehook == seen.append
    finally:
        sys.unraisablehook = before
    assert [unraisable.exc_type for unraisable in seen] == [KeyError]


@pytest.mark.parametrize(
    "command",
    [
        *(["train.py"], ["evaluate.py"], ["-m", "study"]),
        *(["-m", "symjax.nn.audit"], ["-m", "symjax.report"]),
    ],
    ids=lambda command: command[-1],
)
def test_a_signal_while_libraries_are_imported_is_one_line(command, tmp_path):
    for library in ("numpy", "absl"):  # one of them is the first that is imported
        (tmp_path / f"{library}.py").write_text(
            "import signal\nprint('ready', flush=True)\nwhile True: signal.pause()"
        )
    process = start(*command, "--nope", PYTHONPATH=str(tmp_path))
    wait_for(process, "ready")
    process.send_signal(signal.SIGINT)
    line = "interrupted by SIGINT: no result was written. To go on: "
    given = " ".join([sys.executable, *command, "--nope"])
    assert end(process) == (130, [], [line + given])


def test_a_signal_after_the_end_of_a_command_is_one_line():
    process = start("-c", ENDS)
    wait_for(process, "ready")
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, [], ["interrupted by SIGTERM: the command had ended"])


def test_a_signal_when_python_is_finalized_changes_nothing():
    process = start("-c", FINALIZED)
    assert end(process) == (0, ["ended"], [])


def test_to_import_the_library_leaves_signals_alone():
    code = "import signal, symjax; print(signal.getsignal(signal.SIGINT).__name__)"
    process = start("-c", code, "-m", "study")
    assert end(process) == (0, ["default_int_handler"], [])


@pytest.mark.parametrize("patience", [100, 0.01])
def test_a_second_signal_exits_at_once_with_and_without_a_notice(patience):
    process = start_work(NEVER_STOPS, patience)
    process.send_signal(signal.SIGTERM)
    if patience < 1:
        assert process.stderr.readline() == f"{NOTICE}\n"
    process.send_signal(signal.SIGINT)
    code, out, err = end(process)
    assert code in (130, 143) and out == []
    assert err == [LINE.format(signal.Signals(code - 128).name)]


def test_handlers_are_what_they_were_before_and_work_goes_on():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with interruptible() as signals:
            assert signal.getsignal(signal.SIGTERM) == signals._handle
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # it stays ignored
            signals.leave_if_stopped()
        assert signal.getsignal(signal.SIGTERM) == handler
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGINT, before)


TINY = [
    "train.py",
    "--config=configs/quickstart.py",
    "--config.model.name=baseline",
    "--config.model.width=0.1",
    "--config.batch_size=32",
    "--config.dataset.train_images=430",
    "--config.optimizer.rate=0.01",
]


@pytest.mark.slow
def test_training_that_is_interrupted_goes_on(tmp_path):
    folder = f"--workdir={tmp_path}"
    process = start(*TINY, folder, "--noresume", "--config.epochs=100000")
    wait_for(process, "epoch 1:")
    process.send_signal(signal.SIGTERM)
    code, _, err = end(process)
    assert code == 143 and len(err) == 1
    assert f"a checkpoint of what was trained is in {tmp_path}. To go on: " in err[0]
    assert f"train.py {TINY[1]}" in err[0] and folder in err[0]
    assert err[0].endswith("--config.epochs=100000 --resume")
    assert not (tmp_path / ".lock").exists()


EVALUATE = """
import os, signal, sys
sys.path.insert(0, os.getcwd())
from symjax import cli, evaluation
def measure(*call, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
evaluation.measure = measure
cli.evaluate()
"""


@pytest.mark.slow
def test_evaluation_that_is_interrupted_says_where_its_rows_are(trained, tmp_path):
    script = tmp_path / "evaluate.py"
    script.write_text(EVALUATE)
    process = start(str(script), "--attack=pgd", f"--run={trained.folder}")
    code, _, err = end(process)
    assert code == 143 and len(err) == 1
    assert f"rows measured so far are in {trained.folder}/results.jsonl. To" in err[0]
    assert err[0].endswith(f"--attack=pgd --run={trained.folder}")


def test_the_study_that_is_interrupted_says_where_its_pieces_are(
    tmp_path, monkeypatch, capfd
):
    def work(*call, stop):
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()

    monkeypatch.setattr(study, "run_missing", work)
    monkeypatch.setattr(study.compilation, "keep_programs", lambda folder: None)
    monkeypatch.setattr(os, "_exit", sys.exit)
    folders = "--results", str(tmp_path / "rows"), "run", "--runs", str(tmp_path / "x")
    with pytest.raises(SystemExit) as exit:
        study.main(folders)
    assert exit.value.code == 143
    err = capfd.readouterr().err
    assert f"what was done is in {tmp_path}/rows/full and {tmp_path}/x/full" in err
