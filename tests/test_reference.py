"""The published attacks on corrupted images: closed forms, rows, what they say."""

import io
import types

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from symjax import attacks, evaluation
from symjax.data.augment import to_unit
from symjax.evaluation import Results, corruption
from symjax.evaluation.reference import AS_THEY_ARE, NORMALISED, Reference
from symjax.report import corruption as report
from symjax.seeds import of_seed

SHAPE = 4, 2, 2, 3
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, SHAPE).astype(np.float32)
KERNEL = RNG.normal(size=(12, 2)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1])
# the loss falls with the label's logit: up the other's, down the label's
SIGN = np.sign(KERNEL[:, 1 - LABELS] - KERNEL[:, LABELS]).T.reshape(SHAPE)


def linear(images):
    """Normalises as our nets do, and is linear then."""
    return ((images - 0.5) / 0.5).reshape(len(images), -1) @ KERNEL


def attacked(name, mean, std, eps_fed):
    attack = Reference(name, mean, std)
    threat = attacks.Linf(attack.in_pixels(eps_fed))
    return attack(linear, jnp.asarray(IMAGES), jnp.asarray(LABELS), None, threat)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("mean, std", [(0.5, 0.5), (0.0, 1.0)])
def test_attacks_of_a_linear_net_in_closed_form(name, mean, std):
    fed = (IMAGES - mean) / std
    expected = np.clip(fed + 0.035 * SIGN, 0, 1)
    found = attacked(name, mean, std, 0.035)
    np.testing.assert_allclose(found.images, expected * std + mean, atol=1e-6)
    predicted = (expected.reshape(4, -1) @ KERNEL).argmax(axis=1)
    np.testing.assert_array_equal(found.robust, predicted == LABELS)


def test_steps_too_few_for_the_ball_do_not_reach_its_rim():
    found = attacked("pgd", 0.0, 1.0, 0.5)
    expected = np.clip(IMAGES + 0.4 * SIGN, 0, 1)  # 40 steps of 0.01
    np.testing.assert_allclose(found.images, expected, atol=1e-5)


def test_dark_pixels_become_grey_and_leave_the_ball_where_inputs_are_normalised():
    threat = attacks.Linf(0.005)
    dark = IMAGES < 0.49
    normalised, raw = (
        attacked("fgsm", m, s, 0.005 / s) for m, s in ((0.5, 0.5), (0, 1))
    )
    np.testing.assert_array_equal(normalised.images[dark], 0.5)
    assert not threat.contains(normalised.images, IMAGES).any()
    assert threat.contains(raw.images, IMAGES).all()


def test_without_an_attack_it_is_the_net_on_what_it_is_fed():
    normalised, raw = (attacked("none", m, s, 0.0) for m, s in ((0.5, 0.5), (0, 1)))
    for found, logits in (
        (normalised, linear(IMAGES)),
        (raw, IMAGES.reshape(4, -1) @ KERNEL),
    ):
        np.testing.assert_array_equal(found.robust, logits.argmax(axis=1) == LABELS)
        np.testing.assert_allclose(found.images, IMAGES, atol=1e-6)


def run_of(name, mean=(0.5,), std=(0.5,)):
    model = types.SimpleNamespace(name=name, mean=mean, std=std)
    config = types.SimpleNamespace(model=model)
    return types.SimpleNamespace(experiment=types.SimpleNamespace(config=config))


def test_what_each_net_is_fed():
    assert [Reference.of(run_of(name), "fgsm").std for name in NORMALISED] == [0.5]
    for name in AS_THEY_ARE:
        attack = Reference.of(run_of(name), "pgd")
        assert attack == Reference("pgd", 0.0, 1.0) and attack.in_pixels(0.01) == 0.01
    assert Reference.of(run_of("baseline"), "pgd").in_pixels(0.01) == 0.005
    with pytest.raises(ValueError, match="'equivariant': the published.*sound"):
        Reference.of(run_of("equivariant"), "fgsm")
    with pytest.raises(ValueError, match="trained with 0.5"):
        Reference.of(run_of("baseline", std=(0.2, 0.2, 0.2)), "fgsm")
    with pytest.raises(ValueError, match="'apgd': the reference protocol has"):
        Reference.of(run_of("baseline"), "apgd")
    with pytest.raises(ValueError, match="'l2': the published attacks are linf"):
        Reference("fgsm", 0.0, 1.0)(linear, IMAGES, LABELS, None, attacks.L2(1.0))


def test_rows_say_the_protocol_and_tables_keep_it_apart(trained, tmp_path):
    run = evaluation.Run.open(trained.folder)
    store = Results(tmp_path / "net")
    images = corruption.source(run, "made")
    quiet = Console(file=io.StringIO())
    what = {"n": 24, "names": ["contrast"], "console": quiet}
    attack = Reference.of(run, "fgsm")
    call = run, store, attack, "linf", [attack.in_pixels(0.03)], images
    rows = corruption.measure(*call, **what)
    clean = evaluation.measure(
        run, store, Reference.of(run, "none"), "linf", [0.0], n=24, console=quiet
    )
    test = run.experiment.dataset.test
    assert len(rows) == 10 and len(clean) == 2
    for row in clean:
        net = of_seed(run.logits_fns, row["seed"])
        right = np.argmax(net(to_unit(test.images[:24])), axis=1) == test.labels[:24]
        assert row["value"] == pytest.approx(right.mean()) and row["in_ball"]
    for row in rows:
        assert row["protocol"] == "reference" and not row["in_ball"]
        assert (row["eps"], row["input_mean"], row["input_std"]) == (0.015, 0.5, 0.5)
        assert (row["batch_norm"], row["input_clip"]) == ("running", [0.0, 1.0])
    sound = evaluation.Attack("fgsm")
    others = corruption.measure(*call[:2], sound, *call[3:], **what)
    assert {row["protocol"] for row in others} == {"sound"}
    assert not {row["cell_id"] for row in others} & {row["cell_id"] for row in rows}
    text = report.table_1(report.read([tmp_path / "net"], "reference"))
    assert "net, fgsm linf 0.03 |" in text and "as published" in text
    mean = 100 * np.mean([row["value"] for row in rows])
    assert f"| contrast | {mean:.2f} |" in text
    with pytest.raises(ValueError, match="no rows of corruptions, reference protocol"):
        report.frame({tmp_path: others}, "reference")
