"""The published attacks: closed forms, batch norm as published, rows, switches."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import attacks, evaluation, models
from symjax.data.augment import to_unit
from symjax.evaluation import Results, corruption, published_attack
from symjax.evaluation import protocol as protocols
from symjax.evaluation import published as loop
from symjax.evaluation.protocol import PUBLISHED, PUBLISHED_CORRUPTED, SOUND, published
from symjax.evaluation.published_attack import PublishedAttack
from symjax.evaluation.rows import cell_id
from symjax.mesh import ONE_DEVICE
from symjax.report import corruption as report
from symjax.seeds import of_seed
from tests.made_rows import QUIET

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


CORRUPTED = {0.5: published("baseline", True), 1.0: published("weighted", True)}


def attacked(name, mean, std, eps_fed):
    attack = PublishedAttack(name, CORRUPTED[std])
    assert attack.normalization == ((mean,), (std,))
    threat = attacks.Linf(attack.radius(eps_fed).pixels)
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
    for mean, std in ((0.5, 0.5), (0.0, 1.0)):
        found = attacked("none", mean, std, 0.0)
        logits = ((IMAGES - mean) / std).reshape(4, -1) @ KERNEL
        np.testing.assert_array_equal(found.robust, logits.argmax(axis=1) == LABELS)
        np.testing.assert_allclose(found.images, IMAGES, atol=1e-6)


def config_of(name, mean=(0.5,), std=(0.5,)):
    model = types.SimpleNamespace(name=name, mean=mean, std=std, dtype="float32")
    return types.SimpleNamespace(model=model, to_dict=lambda: {})


def test_what_each_net_is_fed_on_corruptions():
    for name in PUBLISHED_CORRUPTED:
        attack = PublishedAttack.of(config_of(name), "pgd", corrupted=True)
        assert attack.normalization[1] == ((0.5,) if name == "baseline" else (1.0,))
    with pytest.raises(ValueError, match="'equivariant': expected one of.*sound"):
        PublishedAttack.of(config_of("equivariant"), "fgsm", corrupted=True)
    with pytest.raises(ValueError, match="'apgd': expected one of"):
        PublishedAttack.of(config_of("baseline"), "apgd")
    with pytest.raises(ValueError, match=r"\['colour'\]: expected some of"):
        PublishedAttack.of(config_of("baseline"), "pgd", switches=["colour"])
    with pytest.raises(ValueError, match="'l2': expected 'linf'"):
        attack = PublishedAttack("fgsm", published("baseline"))
        attack(linear, IMAGES, LABELS, None, attacks.L2(1.0))


def test_epsilons_are_of_the_input_as_each_net_has_it():
    cifar = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    equivariant = config_of("equivariant", *cifar)
    of_rs = PublishedAttack.of(config_of("parallel_rs"), "pgd")
    assert of_rs.radius(0.01).pixels == 0.005
    channels = PublishedAttack.of(equivariant, "pgd").radius(0.1).pixels
    assert channels == pytest.approx((0.02023, 0.01994, 0.0201))
    only_clip = PublishedAttack.of(equivariant, "pgd", False, ["clip range"])
    clip = PUBLISHED["equivariant"].clip
    assert only_clip.protocol == dataclasses.replace(SOUND, clip=clip)
    assert only_clip.radius(0.1).pixels == 0.1 and only_clip.label == "switched"
    options = {"switches": [], "n_restarts": 1}
    one_start = PublishedAttack.of(config_of("baseline"), "pgd", **options)
    assert one_start.protocol == dataclasses.replace(SOUND, n_restarts=1)


@pytest.mark.parametrize("net", PUBLISHED)
def test_switches_lead_from_the_sound_to_the_published_protocol(net):
    """Each step turns one switch; the last is the published protocol."""
    end = published(net)
    names = protocols.differing(SOUND, end, "pgd")
    steps = [
        protocols.switched(SOUND, end, names[:count]) for count in range(len(names) + 1)
    ]
    assert steps[-1] == end
    for name, before, after in zip(names, steps[:-1], steps[1:], strict=True):
        changed = {
            field.name
            for field in dataclasses.fields(before)
            if getattr(before, field.name) != getattr(after, field.name)
        }
        assert changed and changed <= set(protocols.SWITCHES[name])
    assert all(protocols.switched(SOUND, end, [name]) != SOUND for name in names)
    of_fgsm = protocols.differing(SOUND, end, "fgsm")
    assert of_fgsm == [x for x in names if x not in ("start", "step")]


@pytest.fixture(scope="module")
def net():
    """A net with batch norm, after a few made-up batches."""
    model = models.build("baseline", depth=4, classes=3, width=0.1)
    images = jax.random.uniform(jax.random.key(1), (12, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    forward = jax.jit(lambda variables, x: models.training_fn(model, variables)(x))
    for _ in range(3):
        _, stats = forward(variables, images)
        variables = variables | {"batch_stats": stats}
    labels = jnp.argmax(models.logits_fn(model, variables)(images), axis=1)
    return model, variables, images, labels.at[0].set((labels[0] + 1) % 3)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.slow
def test_with_every_switch_sound_it_is_the_sound_attack(net, name):
    """The loop is `attacks.fgsm` and `attacks.pgd`, image for image."""
    model, variables, images, labels = net
    logits_fn, threat = models.logits_fn(model, variables), attacks.Linf(0.03)
    call = logits_fn, images, labels, jax.random.key(2), threat
    found = jax.jit(PublishedAttack(name, SOUND, steps=5))(*call)
    pgd = functools.partial(attacks.pgd, steps=5, n_restarts=3)
    expected = jax.jit(attacks.fgsm if name == "fgsm" else pgd)(*call)
    np.testing.assert_array_equal(found.robust, expected.robust)
    assert threat.contains(found.images, images).all()
    differs = np.abs(found.images - expected.images) > 1e-5
    assert differs.mean() < 0.01  # a sign of rounding noise sends few pixels apart
    assert not bool(found.robust[0])  # a clean error counts


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def by_hand(model, variables, images, labels, eps, batch_norm, name="fgsm"):
    """An attack as the protocol has it, written out, PGD of two steps; the moved
    statistics as well."""
    stats = variables["batch_stats"]

    def forward(fed, stats):
        pixels = fed * 0.5 + 0.5
        return models.training_fn(model, variables | {"batch_stats": stats})(pixels)

    def loss(fed, stats):
        logits, moved = forward(fed, stats)
        return jnp.sum(attacks.cross_entropy(logits, labels)), moved

    start = fed = (images - 0.5) / 0.5
    moved = stats
    for step in [eps] if name == "fgsm" else [0.01, 0.01]:
        slope, moved = jax.grad(loss, has_aux=True)(fed, moved)
        fed = jnp.clip(fed + step * jnp.sign(slope), start - eps, start + eps)
        fed = jnp.clip(fed, -1, 1)
    if batch_norm == "batch":
        return forward(fed, stats)[0], stats
    logits_fn = models.logits_fn(model, variables | {"batch_stats": moved})
    return logits_fn(fed * 0.5 + 0.5), moved


class Store(Results):
    """Rows in memory, and the outcomes that were written, in their order."""

    def __init__(self):
        self.rows = {}

    def drop_stale(self, run):
        pass

    def add(self, cell, value, outcomes, facts, provenance):
        self.rows[cell_id(cell)] = {**cell, "value": value}
        self.written.append((cell, np.asarray(outcomes["robust"])))


@pytest.mark.parametrize("net_name", ["parallel_rs", "equivariant"])
@pytest.mark.slow
def test_batch_norm_as_published(net, trained_like, net_name):
    """Batch statistics; or averages that every pass moves, carried along: at each
    epsilon FGSM first, then PGD, whichever is asked for."""
    model, variables, images, labels = net
    run = trained_like(model, variables, images, labels, net_name)
    attack = PublishedAttack.of(run.experiment.config, "fgsm", steps=2)
    batch_norm = attack.protocol.batch_norm
    assert batch_norm == {"parallel_rs": "batch", "equivariant": "moved"}[net_name]
    store, written = Store(), []
    store.written = written
    eps = [0.05, 0.1]
    pixels = [attack.radius(x).pixels for x in eps]
    rows = loop.measure(run, store, attack, pixels, console=QUIET)
    assert [(x["attack"], x["eps"]) for x in rows] == [("fgsm", 0.025), ("fgsm", 0.05)]
    moves = batch_norm == "moved"
    order = [(x, each) for x in eps for each in ("fgsm", "pgd")[: 1 + moves]]
    now = variables
    for (cell, robust), (radius, name) in zip(written, order, strict=True):
        assert (cell["attack"], cell["eps"]) == (name, radius / 2)
        parts = []
        for first in range(0, 12, 8):  # batches of 8 and 4
            batch = slice(first, first + 8)
            x = np.rint(images[batch] * 255) / 255
            found = by_hand(model, now, x, labels[batch], radius, batch_norm, name)
            parts.append(np.asarray(attacks.is_correct(found[0], labels[batch])))
            now = now | {"batch_stats": found[1]}
        np.testing.assert_array_equal(robust, np.concatenate(parts))
        assert cell["batch_norm"] == batch_norm and cell["test_batch"] == 8
    before = [(x.get("eps_series"), x.get("attack_series")) for x, _ in written]
    both = ["fgsm", "pgd"]
    series = [([0.025], both)] * 2 + [([0.025, 0.05], both)] * 2
    assert before == (series if moves else [(None, None)] * 2)
    first = jax.tree.leaves(variables["batch_stats"])[0]
    same = np.array_equal(first, jax.tree.leaves(now["batch_stats"])[0])
    assert same != moves
    count = len(written)
    loop.measure(run, store, attack, pixels, console=QUIET)
    assert len(written) == count  # measured once
    if moves:
        pgd = PublishedAttack.of(run.experiment.config, "pgd", steps=2)
        rows = loop.measure(run, store, pgd, pixels, console=QUIET)
        assert len(written) == count and {row["attack"] for row in rows} == {"pgd"}


@pytest.mark.parametrize("net_name", ["parallel_rs", "equivariant"])
def test_clean_accuracy_is_published_in_evaluation_mode(net_name):
    for switches in (None, ["batch norm"]):
        clean = PublishedAttack.of(config_of(net_name), "none", switches=switches)
        assert clean.protocol.batch_norm == "running"
        attack = PublishedAttack.of(config_of(net_name), "fgsm", switches=switches)
        assert attack.protocol.batch_norm != "running"


@pytest.fixture
def trained_like(monkeypatch):
    """A run of one seed, made of a net and images; test batches of 8."""
    for module in (loop, published_attack):
        monkeypatch.setattr(module, "TEST_BATCH", 8)

    def make(model, variables, images, labels, name):
        test = types.SimpleNamespace(
            images=np.rint(np.asarray(images) * 255).astype(np.uint8),
            labels=np.asarray(labels, np.int32),
        )
        state = {x: jax.tree.map(lambda y: y[None], variables[x]) for x in variables}
        experiment = types.SimpleNamespace(
            config=config_of(name),
            dataset=types.SimpleNamespace(test=test, name="none", sha256="0"),
            model=model,
            layout=ONE_DEVICE,
            keys=jax.random.split(jax.random.key(0), 1),
        )
        return types.SimpleNamespace(
            experiment=experiment,
            state=types.SimpleNamespace(**state),
            seeds=[0],
            diverged=[False],
            weights=["w"],
            identity=lambda: {"run": name},
        )

    return make


@pytest.mark.slow
def test_rows_name_the_protocol_and_tables_keep_it_apart(run, tmp_path):
    store = Results(tmp_path / "net")
    images = corruption.source(run, "made")
    what = {"n": 24, "names": ["contrast"], "console": QUIET}
    attack = PublishedAttack.of(run.experiment.config, "fgsm", corrupted=True)
    call = run, store, attack, "linf", [attack.radius(0.03)], images
    rows = corruption.measure(*call, **what)
    none = PublishedAttack.of(run.experiment.config, "none")
    clean = evaluation.measure(run, store, none, "linf", [0.0], 24, console=QUIET)
    test = run.experiment.dataset.test
    assert len(rows) == 10 and len(clean) == 2
    for row in clean:
        net = of_seed(run.logits_fns, row["seed"])
        right = np.argmax(net(to_unit(test.images[:24])), axis=1) == test.labels[:24]
        assert row["value"] == pytest.approx(right.mean()) and row["in_ball"]
    for row in rows:
        assert row["protocol"] == "published" and not row["in_ball"]
        assert (row["eps"], row["input_mean"], row["input_std"]) == (0.015, 0.5, 0.5)
        assert (row["batch_norm"], row["input_clip"]) == ("running", [0.0, 1.0])
    sound = evaluation.Attack("fgsm")
    others = corruption.measure(*call[:2], sound, *call[3:], **what)
    assert {row["protocol"] for row in others} == {"sound"}
    assert not {row["cell_id"] for row in others} & {row["cell_id"] for row in rows}
    text = report.table_1(report.read([tmp_path / "net"], "published"))
    assert "net, fgsm linf 0.03 |" in text and "as published" in text
    mean = 100 * np.mean([row["value"] for row in rows])
    assert f"| contrast | {mean:.2f} |" in text
    with pytest.raises(ValueError, match="no rows of corruptions, published protocol"):
        report.frame({tmp_path: others}, "published")
