"""The optimizer: Adam with the learning-rate schedules of the paper's nets.

tx = optimizer.build(1e-3, "constant", total_steps=78_000, decay_steps=19_500, ...)
"""

import jax
import optax

SCHEDULES = ("constant", "step", "cosine")


def build(
    rate: float,
    schedule: str,
    total_steps: int,
    decay_steps: int,
    decay_factor: float,
    weight_decay: float,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay.

    Args:
      rate: learning rate at the start.
      schedule: "constant"; "step": the rate is multiplied by `decay_factor` every
        `decay_steps` steps (the published cascaded, parallel rot and weighted nets do
        so every 50 epochs); "cosine": the rate falls to zero at `total_steps`.
      total_steps: the number of steps of the whole run.
      decay_steps, decay_factor: of the schedule "step".
      weight_decay: coefficient of the decay, which is multiplied by the learning rate
        and applied to kernels only; 0 is plain Adam.
    """
    rates = {
        "constant": optax.constant_schedule(rate),
        "step": optax.exponential_decay(
            rate, decay_steps, decay_factor, staircase=True
        ),
        "cosine": optax.cosine_decay_schedule(rate, total_steps),
    }[schedule]
    decay = optax.add_decayed_weights(weight_decay, mask=_kernels)
    return optax.chain(
        optax.flatten(optax.scale_by_adam()),  # one vector compiles to few operations
        decay if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(rates),
    )


def _kernels(params):
    """True for kernels, which have two axes or more; False for all other parameters."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
