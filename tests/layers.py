"""Arrays for tests of layers, and the error of a layer that should commute."""

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def filled(layer, inputs, seed=7):
    """Variables of the layer's shapes with normal entries; nothing is compiled."""
    shapes = jax.eval_shape(layer.init, KEY, inputs)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes
    )


def asymmetry(layer, group, shape):
    """Largest error of commutation over the elements on the grid, in one batch."""
    act = group.act if len(shape) == 4 else group.act_on_field

    @jax.jit
    def error(x):
        outputs = layer(jnp.concatenate([act(g, x) for g in group.grid.elements]))
        expected = [act(g, outputs[:1]) for g in group.grid.elements]
        return jnp.max(jnp.abs(outputs - jnp.concatenate(expected)))

    return error(normal(0, *shape))
