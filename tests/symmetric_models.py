"""Small nets whose symmetry and whose second derivatives are known.

One function, whose weights make it linear, quadratic, kinked or invariant, serves
nearly all tests, so that each measure is compiled once.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

SIZE, CHANNELS, CLASSES = 6, 2, 3
PIXELS = SIZE * SIZE * CHANNELS


def problem(count=4, seed=0):
    """Images `[count, SIZE, SIZE, CHANNELS]` and labels."""
    rng = np.random.default_rng(seed)
    shape = count, SIZE, SIZE, CHANNELS
    images = rng.uniform(0.3, 0.7, shape).astype(np.float32)
    return images, rng.integers(0, CLASSES, count).astype(np.int32)


def flat(images):
    return images.reshape(len(images), -1)


def turns():
    """The quarter turns of flattened images, `[4, PIXELS, PIXELS]`."""
    basis = np.eye(PIXELS).reshape(-1, SIZE, SIZE, CHANNELS)
    turned = [np.rot90(basis, g, (1, 2)).reshape(PIXELS, PIXELS).T for g in range(4)]
    return np.stack(turned)


def function(matrices, kernel, planes, heights, images):
    """`f_k = x^T A_k x / 2 + b_k^T x + max(w_k^T x - h_k, 0)`, A_k symmetric.

    Its gradient is `A_k x + b_k`, and w_k more beyond the plane.
    """
    x = flat(images)
    curved = jnp.einsum("bi,kij,bj->bk", x, matrices, x, precision="highest")
    kernel, planes = (jnp.matmul(x, y.T, precision="highest") for y in (kernel, planes))
    return curved / 2 + kernel + jax.nn.relu(planes - heights[None])


def net(matrices=None, kernel=None, planes=None, heights=None):
    """That function; what is not given is 0."""
    shapes = (CLASSES, PIXELS, PIXELS), (CLASSES, PIXELS), (CLASSES, PIXELS), (CLASSES,)
    weights = [
        np.zeros(shape) if given is None else given
        for given, shape in zip(
            (matrices, kernel, planes, heights), shapes, strict=True
        )
    ]
    return Partial(function, *(jnp.asarray(x, jnp.float32) for x in weights))


def random_weights(seed=0):
    """`A [CLASSES, PIXELS, PIXELS]` and `b [CLASSES, PIXELS]`."""
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(CLASSES, PIXELS, PIXELS))
    return draws + draws.swapaxes(1, 2), rng.normal(size=(CLASSES, PIXELS))


def averaged_weights(seed=0):
    """The same, averaged over the quarter turns: the net is invariant."""
    matrices, kernel = random_weights(seed)
    turned = np.einsum("gji,kjl,glm->gkim", turns(), matrices, turns())
    return turned.mean(axis=0), np.einsum("gji,kj->ki", turns(), kernel) / 4


def quadratic(factors):
    """`factor_k x^T x / 2`, invariant under every rotation that there is."""
    return net(np.multiply.outer(factors, np.eye(PIXELS)))
