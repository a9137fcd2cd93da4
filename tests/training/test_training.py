"""Training: epochs, batches, seeds that diverge, and runs that are cut off and resumed.

What needs no real net uses `Linear` or `Recorder`, which compile in no time.
"""

import dataclasses
import errno
import functools
import io
import itertools
import json
import os
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import linen
from jax.tree_util import Partial
from rich.console import Console

from symjax import attacks, evaluation, folders, nn, training
from symjax.folders import FolderInUseError
from symjax.groups import C4
from symjax.seeds import keys, of_seed, over_seeds
from symjax.training import (
    Experiment,
    RunExistsError,
    adversarial,
    journal,
    loop,
    position,
)
from symjax.training import experiment as experiments
from symjax.training import state as states
from symjax.training.checkpoint import Checkpoints
from symjax.training.step import TrainSpec, evaluate_epoch, train_epoch

IMAGES, BATCH, CLASSES = 50, 16, 10  # three batches; two images sit out
CLOCK = ("seconds", "images_per_second")


class Recorder(linen.Module):
    """Notes in which step it saw which image; an image's first pixel is its number."""

    @linen.compact
    def __call__(self, images, train):
        step = self.variable("batch_stats", "step", jnp.zeros, ())
        seen = self.variable("batch_stats", "seen", jnp.zeros, (IMAGES,))
        when = self.variable("batch_stats", "when", jnp.zeros, (IMAGES,))
        number = jnp.round(images[:, 0, 0, 0] * 255).astype(jnp.int32)
        if train:
            step.value += 1
            seen.value = seen.value.at[number].add(1)
            when.value = when.value.at[number].set(step.value)
        scale = self.param("scale", linen.initializers.ones, ())
        return 4 * scale * jax.nn.one_hot(number % CLASSES, CLASSES)


def numbered():
    images = np.zeros((IMAGES, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(IMAGES)
    return images, np.arange(IMAGES, dtype=np.int32) % CLASSES


def record(epoch, seeds=2, smoothing=0.0, **options):
    tx = optax.sgd(0.0)
    make_batch = adversarial.batch_maker("clean", 0, 0, 0)
    call = Recorder(), tx, make_batch, BATCH, False, False, smoothing
    recipe = TrainSpec(*call, **options)
    states_ = over_seeds(lambda key: states.create(recipe.model, tx, key, (2, 2, 1)))(
        keys(0, seeds)
    )
    run = over_seeds(lambda *call: train_epoch(recipe, *call), (0, 0, None, None, None))
    state, sums = jax.jit(run)(states_, keys(0, seeds), epoch, *numbered())
    return state.batch_stats, sums


def test_an_epoch_visits_every_image_once_but_for_what_fills_no_batch():
    noted, sums = record(epoch=0)
    assert (sums.count == 48).all() and (noted["step"] == 3).all()
    assert (noted["seen"].sum(axis=1) == 48).all() and noted["seen"].max() == 1
    for seed in range(2):
        batches = np.bincount(noted["when"][seed].astype(int), minlength=4)
        np.testing.assert_array_equal(batches, [2, 16, 16, 16])
    assert (sums.correct == 48).all()  # labels went with their images


def test_the_images_that_fill_no_batch_can_be_a_smaller_one():
    noted, sums = record(epoch=0, drop_last=False)
    assert (sums.count == 50).all() and (noted["step"] == 4).all()
    assert (noted["seen"] == 1).all()
    for seed in range(2):
        batches = np.bincount(noted["when"][seed].astype(int))
        np.testing.assert_array_equal(batches, [0, 16, 16, 16, 2])
    dropped, _ = record(epoch=0)
    same = dropped["when"] > 0  # the batches before are those without it
    np.testing.assert_array_equal(noted["when"][same], dropped["when"][same])


def test_every_epoch_and_every_seed_has_a_permutation_of_its_own():
    first, again, second = (record(epoch)[0]["when"] for epoch in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    for one, other in ((first, second), (first[0], first[1])):
        assert (one != other).mean() > 0.4  # 2/3 expected
    sat_out = [set(np.flatnonzero(when == 0)) for when in (*first, *second)]
    assert len(set.union(*sat_out)) > 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_with_smoothed_labels(smoothing):
    # The label's logit is 4, nine others are 0; the label keeps 1 - 0.9 smoothing.
    expected = np.log(np.exp(4) + 9) - 4 * (1 - 0.9 * smoothing)
    _, sums = record(epoch=0, smoothing=smoothing)
    np.testing.assert_allclose(sums.loss / sums.count, expected, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [7, 25, 64])
def test_evaluation_counts_every_image_once(batch_size):
    images, labels = numbered()
    labels = np.where(np.arange(IMAGES) < 20, (labels + 1) % CLASSES, labels)
    state = states.create(Recorder(), optax.sgd(0.0), jax.random.key(0), (2, 2, 1))
    sums = evaluate_epoch(Recorder(), batch_size, state, images, labels)
    assert sums.count == 50 and sums.correct == 30
    expected = 50 * np.log(np.exp(4) + 9) - 30 * 4
    np.testing.assert_allclose(sums.loss, expected, rtol=1e-5)


def linear_problem():
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=(12, 3)), jnp.float32)
    logits_fn = Partial(lambda w, x: x.reshape(len(x), -1) @ w, weights)
    images = jnp.asarray(rng.uniform(size=(8, 2, 2, 3)), jnp.float32)
    return logits_fn, images, jnp.asarray(rng.integers(0, 3, 8))


def made(make, logits_fn, images, labels, key=None):
    """A batch of a net without a state."""
    state = types.SimpleNamespace(logits_fn=lambda model: logits_fn, batch_stats={})
    *batch, batch_stats = make(None, state, images, labels, key)
    assert batch_stats == {}
    return batch


def test_the_augmented_batch_is_the_images_and_their_fgsm_in_the_given_range():
    logits_fn, images, labels = linear_problem()
    make = adversarial.batch_maker("fgsm_augmented", 0.1, 0, 0, bounds=(0.5, 1.0))
    out, answers = made(make, logits_fn, images, labels)
    logits = np.asarray(logits_fn(images), np.float64)
    errors = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    errors -= np.eye(3)[labels]
    gradient = (errors @ np.asarray(logits_fn.args[0]).T).reshape(images.shape)
    expected = np.clip(images + 0.1 * np.sign(gradient), 0.5, 1)
    np.testing.assert_allclose(out, np.concatenate([images, expected]), atol=1e-6)
    np.testing.assert_array_equal(answers, np.concatenate([labels, labels]))


class Normed(linen.Module):
    """One 1x1 convolution, batch norm as published, the mean of the places."""

    @linen.compact
    def __call__(self, images, train):
        x = linen.Conv(4, (1, 1), use_bias=False, name="conv")(images)
        x = nn.BatchNorm(0.9, unbiased=True, name="norm")(x, train)
        return jnp.mean(jnp.square(x), axis=(1, 2))


def normed(params, images):
    """The same with the statistics of the batch, and these, in NumPy."""
    x = images @ params["conv"]["kernel"][0, 0]
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    scale, bias = params["norm"]["scale"], params["norm"]["bias"]
    x = (x - mean) / np.sqrt(variance + 1e-5) * scale + bias
    count = x.size / x.shape[-1]
    return np.mean(x**2, axis=(1, 2)), (mean, variance * count / (count - 1))


def slopes(params, images, labels, step=1e-5):
    """Of the summed cross-entropy, by central differences."""

    def loss(images):
        logits = normed(params, images)[0]
        of_label = logits[np.arange(len(labels)), labels]
        return np.sum(np.log(np.sum(np.exp(logits), axis=1)) - of_label)

    found = np.zeros_like(images)
    for place in np.ndindex(images.shape):
        moved = np.zeros_like(images)
        moved[place] = step
        found[place] = loss(images + moved) - loss(images - moved)
    return found / (2 * step)


def test_the_published_fgsm_pass_sees_the_batch_and_moves_the_averages_too():
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (6, 2, 2, 3), np.uint8)
    labels = np.array([0, 1, 2, 3, 0, 1], np.int32)
    images = pixels / 255.0
    make = adversarial.batch_maker("fgsm_published", 0.1, 0, 0, bounds=(0.2, 1.0))
    tx = optax.sgd(0.0)
    recipe = TrainSpec(Normed(), tx, make, 6, False, False, 0.0)
    key = jax.random.key(0)
    state = states.create(recipe.model, tx, key, (2, 2, 3))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), state.params)

    slope = slopes(params, images, labels)
    assert np.abs(slope).min() > 1e-3 * np.abs(slope).max()  # no sign by rounding
    attacked = np.clip(images + 0.1 * np.sign(slope), 0.2, 1)
    both = np.concatenate([images, attacked])
    averages = np.array([np.zeros(4), np.ones(4)])  # means and variances
    once = 0.9 * averages + 0.1 * np.array(normed(params, images)[1])
    logits, statistics = normed(params, both)
    twice = 0.9 * once + 0.1 * np.array(statistics)

    call = Normed(), state, jnp.asarray(images, jnp.float32), labels, None
    out, answers, stats = jax.jit(make, static_argnums=0)(*call)
    np.testing.assert_allclose(out, both, atol=1e-6)
    np.testing.assert_array_equal(answers, [*labels, *labels])
    np.testing.assert_allclose(stats["norm"]["mean"], once[0], atol=1e-6)
    np.testing.assert_allclose(stats["norm"]["var"], once[1], rtol=1e-6)

    train = jax.jit(train_epoch, static_argnums=0)
    after, sums = train(recipe, state, key, 0, pixels, labels)
    np.testing.assert_allclose(after.batch_stats["norm"]["mean"], twice[0], atol=1e-6)
    np.testing.assert_allclose(after.batch_stats["norm"]["var"], twice[1], rtol=1e-6)
    of_label = logits[np.arange(12), [*labels, *labels]]
    loss = np.sum(np.log(np.sum(np.exp(logits), axis=1)) - of_label)
    np.testing.assert_allclose(sums.loss, loss, rtol=1e-5)

    running = adversarial.batch_maker("fgsm_augmented", 0.1, 0, 0, bounds=(0.2, 1.0))
    out, _, stats = jax.jit(running, static_argnums=0)(*call)
    chex.assert_trees_all_equal(stats, state.batch_stats)
    assert np.mean(np.abs(out - both) > 0.01) > 0.05  # another net, other signs


def test_adversarial_training_replaces_images_by_the_last_iterate():
    logits_fn, images, labels = linear_problem()
    make = adversarial.batch_maker("pgd", 8 / 255, 7, 2 / 255)
    key = jax.random.key(0)
    out, answers = made(make, logits_fn, images, labels, key)
    chex.assert_trees_all_equal(answers, labels)
    threat = attacks.Linf(8 / 255)
    assert threat.contains(out, images).all()
    assert (attacks.cross_entropy(logits_fn(out), labels)).mean() > 0.05 + (
        attacks.cross_entropy(logits_fn(images), labels).mean()
    )
    same = attacks.pgd(
        logits_fn, images, labels, key, threat, 7, 2 / 255, keep="last"
    ).images
    chex.assert_trees_all_equal(out, same)


class Linear(linen.Module):
    """Logistic regression; with luck above `limit`, NaN from training step 5 on."""

    limit: float = 2.0
    dtype: type = jnp.float32

    @linen.compact
    def __call__(self, images, train):
        step = self.variable("batch_stats", "step", jnp.zeros, ())
        luck = self.param("luck", linen.initializers.uniform(1.0), ())
        logits = linen.Dense(CLASSES)(images.reshape(len(images), -1))
        unlucky = (luck > self.limit) & (step.value >= 5)
        if train:
            step.value += 1
            logits = jnp.where(unlucky, jnp.nan, logits)
        return logits


@pytest.fixture
def use(monkeypatch):
    """`use(net)`: the net that configurations build from now on."""

    def use(net):
        monkeypatch.setattr(experiments, "model", lambda config, classes: net)

    use(Linear())
    return use


SHORT = {"dataset.train_images": 100, "checkpoint.every_epochs": 1}  # 3 steps an epoch


class Killed(Exception):
    """In place of a signal."""


def kill_in_epoch(monkeypatch, epoch):
    """The run dies between an epoch's line in the journal and its checkpoint."""
    save = Checkpoints.save

    def save_or_die(store, now, *args):
        if now == epoch:
            raise Killed
        save(store, now, *args)

    monkeypatch.setattr(Checkpoints, "save", save_or_die)


def rows(folder):
    return [
        {name: value for name, value in row.items() if name not in CLOCK}
        for row in journal.read(folder / "metrics.jsonl")
    ]


def assert_resumes(whole, config, folder, train_run):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_in_epoch(patch, 2)
        train_run(config, folder)
    assert [row["epoch"] for row in rows(folder)] == [1, 2]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "cut o')
    resumed = train_run(config, folder)
    assert "resuming after epoch 1 of 3" in resumed.log
    chex.assert_trees_all_equal(resumed.state, whole.state)
    assert rows(folder) == rows(whole.folder)
    assert [row["epoch"] for row in rows(folder)] == [1, 2, 3]


@pytest.mark.parametrize("net", ["real", "linear"])
@pytest.mark.slow
def test_a_cut_off_run_resumes_bit_for_bit(request, tiny, train_run, tmp_path, net):
    """A linear net also has augmentation, attacks and a smaller last batch."""
    changes = {
        "dataset.augment": True,
        "dataset.quarter_turns": True,
        "training.mode": "pgd",
        "training.steps": 1,
        "training.drop_last": False,
    }
    if net == "real":
        config = tiny({"checkpoint.every_epochs": 1})
        whole = request.getfixturevalue("trained")
    else:
        request.getfixturevalue("use")
        config = tiny(SHORT | changes)
        whole = train_run(config, tmp_path / "whole")
        # 100 images, 32 a batch: four steps in each of three epochs.
        assert (np.asarray(whole.state.step) == 12).all()
    assert_resumes(whole, config, tmp_path / "cut", train_run)


def test_a_checkpoint_of_an_older_trunk_is_refused(use, tiny, train_run, tmp_path):
    config = tiny(SHORT | {"model.trunk": "published", "epochs": 1})
    train_run(config, tmp_path)
    assert evaluation.Run.open(tmp_path).epoch == 1
    (path,) = tmp_path.glob("checkpoints/1/meta/metadata")
    meta = json.loads(path.read_text())
    assert meta.pop("trunk_version") == 2
    path.write_text(json.dumps(meta))  # as it was before there were versions
    reason = "version 1 of the published trunk.*has version 2.*another --workdir"
    with pytest.raises(ValueError, match=reason):
        evaluation.Run.open(tmp_path)
    with pytest.raises(ValueError, match=reason):
        train_run(tiny(SHORT | {"model.trunk": "published", "epochs": 2}), tmp_path)
    experiments.check_trunk(tiny(), {})  # the matched trunk has not changed


class Invariant(linen.Module):
    """Does not see by which element of C4 an image was turned."""

    @linen.compact
    def __call__(self, images, train):
        turns = jnp.stack([C4.act(g, images) for g in range(C4.order)])
        return Linear()(jnp.sort(turns, axis=0).mean(axis=0), train)


@pytest.mark.parametrize("net", [Linear(), Invariant()])
@pytest.mark.slow
def test_quarter_turns_change_what_a_net_learns_unless_it_is_invariant(
    use, tiny, train_run, tmp_path, net
):
    use(net)
    for turns in (False, True):
        changes = {"dataset.quarter_turns": turns, "epochs": 1}
        train_run(tiny(SHORT | changes), tmp_path / str(turns))
    (without,), (turned,) = (rows(tmp_path / name) for name in ("False", "True"))
    for name in ("train_loss", "test_loss"):
        apart = np.abs(np.array(turned[name]) / without[name] - 1)
        assert (apart < 1e-5).all() if net == Invariant() else (apart > 1e-3).all()


def test_configurations_of_older_run_folders_are_read(tiny):
    old = json.loads(experiments.to_json(tiny({"model.trunk": "published"})))
    old["model"]["trunk"] = "reference"
    assert experiments.from_json(json.dumps(old)).model.trunk == "published"
    old = json.loads(experiments.to_json(tiny()))
    del old["dataset"]["quarter_turns"]
    experiment = Experiment.build(experiments.from_json(json.dumps(old)))
    assert experiment.recipe.quarter_turns is False


class OfSteps:
    """A pace that no clock has a say in: calls of so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def took(self, steps, seconds):
        assert seconds > 0 and 1 <= steps <= self.steps


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_goes_on_bit_for_bit(
    use, tiny, train_run, tmp_path, monkeypatch
):
    changes = {"checkpoint.every_epochs": 2, "evaluation.every_epochs": 2}
    config = tiny(SHORT | changes | {"dataset.augment": True})
    whole = train_run(config, tmp_path / "whole")
    saved, save = [], Checkpoints.save

    def save_and_note(store, epoch, *args):
        saved.append(epoch)
        save(store, epoch, *args)

    monkeypatch.setattr(Checkpoints, "save", save_and_note)
    monkeypatch.setattr(loop, "Pace", lambda: OfSteps(3))
    folder, answers = tmp_path / "run", iter([True, False, True])
    stopped = train_run(config, folder, stop=lambda: next(answers))
    assert (stopped.state.step == 3).all() and saved == [1]
    assert [row["epoch"] for row in rows(folder)] == [1]
    resumed = train_run(config, folder, stop=lambda: next(answers))
    assert "resuming after epoch 1 of 3" in resumed.log and next(answers, None) is None
    assert saved == [1, 2, 3]
    chex.assert_trees_all_equal(resumed.state, whole.state)
    assert rows(folder) == rows(whole.folder)
    kept = {path.name for path in (folder / "checkpoints").glob("[0-9]*")}
    assert kept == {"3"}


@pytest.mark.slow
def test_so_does_one_that_is_stopped_within_epochs_or_killed(
    use, tiny, train_run, tmp_path, monkeypatch
):
    """After steps 1, 5, 7 and 8 of nine; then it is killed and starts at step 8."""
    config = tiny(SHORT | {"dataset.augment": True, "checkpoint.every_epochs": 2})
    whole = train_run(config, tmp_path / "whole")
    monkeypatch.setattr(loop, "Pace", lambda: OfSteps(1))
    folder, log = tmp_path / "run", []
    for calls in (1, 4, 3, 2):
        left = iter([False] * (calls - 1) + [True])
        if len(log) == 3:
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
                kill_in_epoch(patch, 3)
                train_run(config, folder)
        run = train_run(config, folder, stop=lambda left=left: next(left))
        log.append(run.log)
        assert (run.state.step == [1, 5, 8, 9][len(log) - 1]).all()
    assert "resuming" not in log[0]
    assert "resuming after epoch 0 of 3 and 1 of 3 steps" in log[1]
    assert "resuming after epoch 1 of 3 and 2 of 3 steps" in log[2]
    assert "resuming after epoch 2 of 3 and 2 of 3 steps" in log[3]
    chex.assert_trees_all_equal(run.state, whole.state)
    assert rows(folder) == rows(whole.folder)
    assert not (folder / "interrupted").exists()


def test_parts_of_an_epoch_are_the_epoch_bit_for_bit(use, tiny):
    experiment = Experiment.build(tiny(SHORT))
    train_fn, _ = loop._programs(experiment)
    split, keys = experiment.dataset.train, experiment.keys

    def run(*bounds):
        state, sums = experiment.fresh_state(), position.sums_of(experiment)
        for first, last in itertools.pairwise(bounds):
            state, sums = train_fn(state, sums, keys, 4, first, last, *split)
        return state, sums

    whole = run(0, 3)
    chex.assert_trees_all_equal(run(0, 1, 2, 3), whole)
    chex.assert_trees_all_equal(run(0, 2, 3), whole)
    epoch = over_seeds(
        functools.partial(train_epoch, experiment.recipe), (0, 0, None, None, None)
    )
    one_call = jax.jit(epoch)(experiment.fresh_state(), keys, 4, *split)
    chex.assert_trees_all_close(one_call[1], whole[1], rtol=1e-5)


@pytest.mark.slow
def test_fewer_epochs_than_are_begun_are_refused(
    use, tiny, train_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "Pace", lambda: OfSteps(1))
    train_run(tiny(SHORT | {"epochs": 2}), tmp_path)
    before = (tmp_path / "config.json").read_text()
    for epochs, begun in ((1, 2), (2, 3)):
        text = f"epochs={epochs}: the run is already in epoch {begun}"
        with pytest.raises(RunExistsError, match=text):
            train_run(tiny(SHORT | {"epochs": epochs}), tmp_path)
        assert (tmp_path / "config.json").read_text() == before
        if epochs == 1:
            train_run(tiny(SHORT), tmp_path, stop=lambda: True)
            before = (tmp_path / "config.json").read_text()
    again = train_run(tiny(SHORT), tmp_path)
    assert (again.state.step == 9).all()


def test_a_folder_that_is_in_use_is_refused(use, tiny, train_run, tmp_path):
    config = tiny(SHORT)
    with folders.hold(tmp_path):
        with pytest.raises(FolderInUseError, match=f"by process {os.getpid()} on"):
            train_run(config, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    train_run(config, tmp_path)
    assert not (tmp_path / ".lock").exists()


def test_a_full_disk_is_one_error_before_training_and_while_saving(
    use, tiny, train_run, tmp_path, monkeypatch
):
    def allocate(file, start, size):
        assert size > 2 * 4 * 5120  # twice the parameters, of two seeds
        raise OSError(errno.ENOSPC, "No space left on device")

    def save(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: disk quota\nat many places")

    text = "no checkpoint can be written to .* .{}.: free some disk space"
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", allocate)
        with pytest.raises(OSError, match=text.format("No space left on device")):
            train_run(tiny(SHORT), tmp_path)
    assert not rows(tmp_path) and not (tmp_path / "config.json").exists()
    monkeypatch.setattr(ocp.CheckpointManager, "save", save)
    with pytest.raises(OSError, match=text.format("RESOURCE_EXHAUSTED: disk quota")):
        train_run(tiny(SHORT), tmp_path)


def test_the_home_folder_is_where_it_says(use, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    console = Console(file=io.StringIO())
    training.train(tiny(SHORT | {"epochs": 1}), "~/run", console=console)
    assert rows(tmp_path / "run") and evaluation.Run.open("~/run").epoch == 1
    assert evaluation.newest("~") == tmp_path / "run"


def test_a_net_learns(trained):
    history = rows(trained.folder)
    losses = np.array([row["train_loss"] for row in history])
    assert losses.shape == (3, 2) and (losses[-1] < 0.7 * losses[0]).all()
    assert min(history[-1]["train_accuracy"]) > 0.6  # chance is 0.1
    assert min(history[-1]["test_accuracy"]) > 0.4
    assert [row["step"] for row in history] == [13, 26, 39]
    assert history[-1]["test_loss"][0] != history[-1]["test_loss"][1]
    assert "2 seeds on digits, 430 training images" in " ".join(trained.log.split())
    assert (trained.state.diverged_step == states.STILL_FINITE).all()


@pytest.mark.slow
def test_a_seed_alone_equals_that_seed_among_others(trained, tiny, train_run, tmp_path):
    alone = train_run(tiny({"first_seed": 1, "seeds": 1, "epochs": 1}), tmp_path)
    assert "1 seed on digits" in alone.log
    # Where seeds are batched, sums are taken in another order, and Adam makes a step of
    # the rate out of any gradient, also of one that is all rounding: 1e-5 after 13.
    among, only = rows(trained.folder)[0], rows(tmp_path)[0]
    for name in ("train_loss", "train_accuracy", "test_loss"):
        np.testing.assert_allclose(only[name][0], among[name][1], rtol=1e-3)
    assert abs(only["train_loss"][0] / among["train_loss"][0] - 1) > 1e-2


@pytest.mark.slow
def test_seeds_together_equal_seeds_in_turn(tiny):
    """As an accelerator runs them (one batched program) and as a CPU does."""
    changes = {"model.lowering": "patches", "dataset.train_images": 96}
    experiment = Experiment.build(tiny(changes))
    split = experiment.dataset.train
    epoch = functools.partial(train_epoch, experiment.recipe)

    def run(together):
        program = jax.jit(over_seeds(epoch, (0, 0, None, None, None), together))
        state = experiment.fresh_state()
        return program(state, experiment.keys, 0, split.images, split.labels)

    (state, sums), (state_in_turn, sums_in_turn) = run(True), run(False)
    chex.assert_trees_all_close(sums, sums_in_turn, rtol=1e-4)
    chex.assert_trees_all_close(
        state.batch_stats, state_in_turn.batch_stats, rtol=1e-3, atol=1e-4
    )
    assert (state.step == 3).all()
    assert sums.loss[0] != sums.loss[1]


def test_a_seed_that_diverges_is_frozen_and_the_other_goes_on(
    use, tiny, train_run, tmp_path
):
    config = tiny(SHORT)
    fresh = Experiment.build(config).fresh_state()
    luck = np.asarray(fresh.params["luck"])
    lost, well = int(luck.argmax()), int(luck.argmin())
    healthy = train_run(config, tmp_path / "healthy")
    use(Linear(limit=float(luck.mean())))
    run = train_run(config, tmp_path / "run")
    assert f"seed {lost} diverged" in run.log and run.log.count("diverged") == 1
    assert "at step 5, in epoch 2" in run.log and "all seeds diverged" not in run.log
    assert list(run.state.diverged_step) == [5 if i == lost else -1 for i in range(2)]
    chex.assert_tree_all_finite(run.state.params)
    assert run.state.step[lost] == 5
    chex.assert_trees_all_close(
        of_seed(run.state, well), of_seed(healthy.state, well), atol=1e-6
    )
    history, expected = rows(tmp_path / "run"), rows(tmp_path / "healthy")
    assert len(history) == 3
    assert history[2]["train_loss"][lost] is None
    np.testing.assert_allclose(
        history[2]["train_loss"][well], expected[2]["train_loss"][well], rtol=1e-5
    )
    # The last finite step is what is kept: two of the second epoch's three counted.
    assert history[1]["train_loss"][lost] is not None


def test_a_run_ends_when_no_seed_is_left(use, tiny, train_run, tmp_path):
    use(Linear(limit=-1.0))
    run = train_run(tiny(SHORT), tmp_path)
    assert "seed 0 diverged" in run.log and "seed 1 diverged" in run.log
    assert "all seeds diverged" in run.log
    assert [row["epoch"] for row in rows(tmp_path)] == [1, 2]
    again = train_run(tiny(SHORT), tmp_path)
    assert "resuming after epoch 2" in again.log
    chex.assert_trees_all_equal(again.state, run.state)


def test_calls_take_about_a_second():
    """Eight times as many steps at most: compilation is part of the first call."""
    pace = loop.Pace()
    assert pace.steps == 1
    for steps, seconds, expected in (
        (1, 60.0, 1),
        (1, 0.01, 8),
        (8, 0.08, 64),
        (64, 0.64, 100),
        (30, 0.6, 50),
    ):
        pace.took(steps, seconds)
        assert pace.steps == expected


def test_a_run_folder_has_its_configuration_checkpoints_and_held_out_accuracies(
    use, tiny, train_run, tmp_path
):
    changes = {"dataset.validation_images": 40, "evaluation.every_epochs": 2}
    config = tiny(SHORT | changes | {"checkpoint.keep": 2})
    train_run(config, tmp_path)
    text = (tmp_path / "config.json").read_text()
    kept = experiments.from_json(text)
    assert kept.is_locked and experiments.digest(kept) == experiments.digest(config)
    assert json.loads(text)["model"]["width"] == 0.1
    assert experiments.digest(tiny()) != experiments.digest(config)
    whole = {path.name for path in (tmp_path / "checkpoints").glob("[0-9]*")}
    assert whole == {"2", "3"}
    for row in rows(tmp_path):
        measured = row["epoch"] in (2, 3)  # every second epoch, and the last
        assert ("validation_accuracy" in row) == ("test_accuracy" in row) == measured
    accuracy = 40 * np.array(rows(tmp_path)[-1]["validation_accuracy"])
    np.testing.assert_allclose(accuracy, accuracy.round(), atol=1e-6)


@pytest.mark.slow
def test_a_run_from_another_kind_of_device_goes_on(use, tiny, train_run, tmp_path):
    whole = train_run(tiny(SHORT), tmp_path / "whole")
    train_run(tiny(SHORT | {"epochs": 1}), tmp_path / "moved")
    (place,) = (tmp_path / "moved" / "checkpoints").rglob("_sharding")
    assert "cpu:0" in place.read_text()
    place.write_text(place.read_text().replace("cpu:0", "cuda:0"))
    moved = train_run(tiny(SHORT), tmp_path / "moved")
    assert "resuming after epoch 1" in moved.log
    chex.assert_trees_all_equal(moved.state, whole.state)


def test_a_folder_has_one_configuration_and_one_data_set(
    use, tiny, train_run, tmp_path, monkeypatch
):
    cosine = SHORT | {"optimizer.schedule": "cosine"}
    train_run(tiny(cosine | {"epochs": 1}), tmp_path)
    before = (tmp_path / "config.json").read_text()
    for changes, text in (
        ({"batch_size": 20}, r"batch_size \(was 32, is 20\)"),
        ({"optimizer.rate": 0.02}, r"optimizer.rate \(was 0.01, is 0.02\)"),
        ({"model.order": ("scale",)}, "model.order"),
        ({"epochs": 3}, r"epochs .was 1, is 3., on which the cosine"),
    ):
        with pytest.raises(RunExistsError, match=text):
            train_run(tiny(cosine | {"epochs": 1} | changes), tmp_path)
    again = tiny(cosine | {"epochs": 1})
    with pytest.raises(RunExistsError, match="holds a run already"):
        train_run(again, tmp_path, resume=False)
    load = experiments._dataset
    monkeypatch.setattr(
        experiments, "_dataset", lambda c: dataclasses.replace(load(c), sha256="abc")
    )
    with pytest.raises(RunExistsError, match="digits now has abc"):
        train_run(again, tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_a_batch_larger_than_the_data_is_an_error(tiny, tmp_path):
    with pytest.raises(ValueError, match="batch_size=500 is more than the 430"):
        training.train(tiny({"batch_size": 500}), tmp_path)
    assert not list(tmp_path.iterdir())
