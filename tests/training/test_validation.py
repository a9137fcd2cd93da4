"""What a configuration may hold: every key, before anything is loaded."""

import json
import re
import shutil

import pytest

from configs import base
from symjax import data, evaluation
from symjax.training import experiment as experiments
from symjax.training import train, validation

BAD = {
    "seeds": (0, "seeds=0: expected an integer of 1 or more, up to "),
    "first_seed": (-1, "first_seed=-1: expected an integer of 0 or more, up to "),
    "epochs": (0, "epochs=0: expected an integer of 1 or more, up to "),
    "batch_size": (0, "batch_size=0: expected an integer of 1 or more, up to "),
    "name": ("", "name='': expected a name."),
    "model.name": ("parallel_rt", "Did you mean 'parallel_rot'?"),
    "model.depth": (5, "depth 5: expected one of"),
    "model.trunk": ("mached", "Did you mean 'matched'?"),
    "model.width": (float("nan"), "model.width=nan: expected a finite number above 0"),
    "model.group": ("E8", "group 'E8': expected C or D"),
    "model.basis": ("ful", "Did you mean 'full'?"),
    "model.readout": ("flatten", "readout='flatten' is for the equivariant net"),
    "model.order": (("scale",), "order=('scale',) is for the matched cascaded net"),
    "model.mean": (
        (float("inf"),),
        "model.mean=(inf,): expected a list of one finite number",
    ),
    "model.std": ((0.0,), "model.std=(0.0,): expected a list of one number above 0"),
    "model.dtype": ("float16", "dtype 'float16': expected one of"),
    "model.lowering": ("convs", "Did you mean 'conv'?"),
    "dataset.name": ("cifr10", "Did you mean 'cifar10'?"),
    "dataset.data_dir": ("", "dataset.data_dir='': expected a folder."),
    "dataset.size": (0, "dataset.size=0: expected an integer of 1 or more, up to "),
    "dataset.train_images": (-1, "expected an integer of 0 or more, up to "),
    "dataset.validation_images": (-1, "expected an integer of 0 or more, up to "),
    "optimizer.rate": (-0.1, "optimizer.rate=-0.1: expected a finite number above 0."),
    "optimizer.schedule": ("cosin", "Did you mean 'cosine'?"),
    "optimizer.decay_epochs": (0, "expected an integer of 1 or more, up to "),
    "optimizer.decay_factor": (0.0, "expected a finite number above 0."),
    "optimizer.weight_decay": (-1.0, "expected a finite number of 0 or more."),
    "optimizer.label_smoothing": (1.0, "a finite number from 0 to below 1."),
    "training.mode": ("pdg", "Did you mean 'pgd'?"),
    "training.eps_pixels": (8.0, "in pixels of [0, 1], as 8/255 = 0.031."),
    "training.steps": (0, "training.steps=0: expected an integer of 1 or more, up to "),
    "training.step_size_pixels": (0.0, "in pixels of [0, 1], as 2/255 = 0.008."),
    "training.bounds": ((1.0, 0.0), "expected two numbers, the smaller one first."),
    "mesh.seed": (-1, "mesh.seed=-1: expected an integer of 0 or more, up to "),
    "mesh.data": (-1, "mesh.data=-1: expected an integer of 0 or more, up to "),
    "evaluation.every_epochs": (0, "expected an integer of 1 or more, up to "),
    "evaluation.batch_size": (0, "expected an integer of 1 or more, up to "),
    "checkpoint.every_epochs": (0, "expected an integer of 1 or more, up to "),
    "checkpoint.keep": (
        0,
        "checkpoint.keep=0: expected an integer of 1 or more, up to ",
    ),
}
ANYTHING = {  # any text, or any switch
    "dataset.cache_dir",
    "dataset.augment",
    "dataset.quarter_turns",
    "training.drop_last",
}


@pytest.mark.parametrize("key", BAD)
def test_a_bad_value_is_refused_before_anything_is_loaded(
    key, tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(data, "load", None)
    value, text = BAD[key]
    config = tiny({key: value})
    with pytest.raises(ValueError, match=re.escape(text)):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value", "most"),
    [
        ("first_seed", 2**32, "2,147,473,647"),
        ("seeds", 10**9, "10,000"),
        ("epochs", 10**30, "1,000,000"),
        ("batch_size", 2**31, "2,147,483,647"),
        ("model.width", 1e9, "100"),
        ("dataset.size", 100_000, "256"),
        ("optimizer.decay_epochs", 10**9, "1,000,000"),
        ("evaluation.batch_size", 10**9, "100,000"),
        ("mesh.seed", 10**20, "2,147,483,647"),
    ],
)
def test_what_no_memory_or_counter_holds_is_refused(key, value, most, tiny):
    text = rf"{key}={re.escape(repr(value))}: expected .*, up to {most}\."
    with pytest.raises(ValueError, match=text):
        experiments.check(tiny({key: value}))


def test_every_key_is_checked():
    keys = dict(validation.flat(base.get_config().to_dict()))
    assert keys.keys() == BAD.keys() | ANYTHING
    assert validation.RULES.keys() == keys.keys() - {"dataset.quarter_turns"}


@pytest.mark.parametrize("value", ["3", 2.5, True, None, float("nan"), [1]])
def test_numbers_are_numbers(value):
    config = base.get_config().to_dict() | {"seeds": value}
    with pytest.raises(ValueError, match="seeds=.*: expected an integer of 1 or more"):
        validation.check(config)


def test_numbers_fit_the_channels(tiny, tmp_path):
    with pytest.raises(ValueError, match="one for each of the"):
        train(tiny({"model.mean": (0.1, 0.2)}), tmp_path)
    assert not list(tmp_path.iterdir())


def broken(text, **changes):
    whole = json.loads(text)
    return json.dumps({k: v for k, v in (whole | changes).items() if v is not ...})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda text: text[:100], "Expecting|Unterminated"),
        (lambda text: "", "Expecting value"),
        (lambda text: "[1]", ""),
        (lambda text: "3", ""),
        (lambda text: "null", ""),
        (lambda text: broken(text, seeds=0), "seeds=0: expected an integer"),
        (lambda text: broken(text, model=...), "model.name is missing"),
        (lambda text: broken(text, model=3), "model.name is missing"),
    ],
)
def test_a_bad_config_json_is_named(make, reason, tiny, tmp_path):
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    path = tmp_path / "config.json"
    path.write_text(make(experiments.to_json(tiny())))
    text = rf"{path} cannot be read \(.*({reason}).*\): restore .* from a copy, or"
    for call in (evaluation.Run.open, lambda folder: train(tiny(), folder)):
        with pytest.raises(ValueError, match=text):
            call(tmp_path)


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


DAMAGE = {  # what is done to a checkpoint's folder
    "no _METADATA": lambda entry: (entry / "state/_METADATA").unlink(),
    "cut _METADATA": lambda entry: cut(entry / "state/_METADATA"),
    "no manifest": lambda entry: (entry / "state/manifest.ocdbt").unlink(),
    "cut manifest": lambda entry: cut(entry / "state/manifest.ocdbt"),
    "no state": lambda entry: shutil.rmtree(entry / "state"),
    "cut arrays": lambda entry: [cut(x) for x in entry.rglob("d/*") if x.is_file()],
    "no arrays": lambda entry: [x.unlink() for x in entry.rglob("d/*")],
    "no meta": lambda entry: shutil.rmtree(entry / "meta"),
    "cut meta": lambda entry: cut(entry / "meta/metadata"),
    "other meta": lambda entry: (entry / "meta/metadata").write_text("[1]"),
    "nothing": lambda entry: [shutil.rmtree(entry), entry.mkdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named(damage, trained, tmp_path, capfd):
    folder = shutil.copytree(trained.folder, tmp_path / "tiny")
    DAMAGE[damage](folder / "checkpoints" / "3")
    text = rf"^{folder}/checkpoints/3 cannot be read \(.+\): restore it from a copy, "
    for call in (evaluation.Run.open, lambda folder: train(trained.config, folder)):
        with pytest.raises((OSError, ValueError), match=text + "or remove it") as error:
            call(folder)
        assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert "Traceback" not in capfd.readouterr().err
