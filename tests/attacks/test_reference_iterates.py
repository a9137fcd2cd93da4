"""APGD and FAB follow the public implementation, step by step.

`data/autoattack_iterates.npz` holds what `pyautoattack` evaluated after some of 50
steps from fixed starts (`python -m benchmarks.iterates`). Float32 on both sides.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from benchmarks.iterates import KEPT, NORMS, STEPS, radius
from symjax.attacks._apgd import APGD
from symjax.attacks._fab import FAB
from symjax.attacks.iterative import AttackInputs
from symjax.attacks.threat import ThreatModel
from tests.paths import DATA

STORED = dict(np.load(DATA / "autoattack_iterates.npz"))
ATTACKS = {
    "apgd-ce": APGD("cross_entropy", STEPS),
    "apgd-dlr": APGD("dlr", STEPS),
    "apgd-t": APGD("dlr", STEPS, targeted=True),
    "fab": FAB(STEPS),
    "fab-t": FAB(STEPS, targeted=True),
}


def net(first, second, dense, images):
    def convolve(x, kernel, stride):
        strides, padding = (stride, stride), [(1, 1), (1, 1)]
        order = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=order
        )
        return jax.nn.relu(x)

    x = convolve(convolve(images, first, 1), second, 2)
    return x.reshape(len(x), -1) @ dense


LOGITS_FN = Partial(net, *(STORED[name] for name in ("conv_0", "conv_1", "dense")))


def trajectory(name, norm):
    """All points that our attack evaluates, and the pixels that its best has moved."""
    images, attack = jnp.asarray(STORED["images"]), ATTACKS[name]
    labels = jnp.argmax(LOGITS_FN(images), axis=1)
    start = None if name.startswith("fab") else jnp.asarray(STORED[f"start_{norm}"])
    rank = 2 if name.endswith("-t") else 0
    threat = ThreatModel(norm, radius(name, norm))
    problem = AttackInputs(images, labels, jax.random.key(0), threat, rank, start)
    state = attack.init(LOGITS_FN, problem)

    @jax.jit
    def step(index, state):
        state, x = attack.propose(LOGITS_FN, problem, index, state)
        after = attack.update(LOGITS_FN, problem, index, state, x)
        return after, after.x if isinstance(attack, FAB) else x

    points = [state.x]
    for index in range(STEPS):
        state, x = step(index, state)
        points.append(x)
    return np.stack(points), np.asarray(labels)


def to_be_followed(name, points, labels):
    """Points `[steps + 1, B]` before the DLR loss was constant.

    Where the label's logit is the third it is 1 all around, its gradient is nothing but
    rounding, and so is what follows.
    """
    logits = np.stack([LOGITS_FN(x) for x in points])
    own = np.take_along_axis(logits, labels[None, :, None], axis=2)
    third = (logits > own).sum(axis=2) == 2
    return np.cumsum(third & (name == "apgd-dlr"), axis=0) == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.slow
def test_iterates_are_those_of_the_public_implementation(name, norm):
    points, labels = trajectory(name, norm)
    theirs = STORED[f"{name}_{norm}"]
    kept = np.array(KEPT[: len(theirs)])
    apart = np.abs(points[kept] - theirs).max(axis=(2, 3, 4))
    compared = to_be_followed(name, points, labels)[kept - 1]
    assert compared[-1].sum() >= 2  # of four images, to the end
    assert apart[compared].max() < 1e-4
    moved = np.abs(np.diff(points[kept], axis=0)).max(axis=(2, 3, 4))
    assert np.median(moved) > 5e-4  # that they lie still would not be enough
