"""The optimizer: Adam, with the learning-rate schedules the paper's nets use.

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
    """Adam, with decoupled weight decay where asked for.

    Args:
      rate: learning rate at the start.
      schedule: "constant"; "step": times `decay_factor` every `decay_steps` (as the
        published cascaded, parallel rot and weighted nets, every 50 epochs); "cosine":
        to zero at `total_steps`.
      total_steps: steps of the whole run.
      decay_steps, decay_factor: of "step".
      weight_decay: per unit of learning rate, on kernels alone; 0 is plain Adam.

    Raises:
      ValueError: for another schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r}: expected one of {SCHEDULES}.")
    rates = {
        "constant": optax.constant_schedule(rate),
        "step": optax.exponential_decay(
            rate, decay_steps, decay_factor, staircase=True
        ),
        "cosine": optax.cosine_decay_schedule(rate, total_steps),
    }[schedule]
    decay = optax.add_decayed_weights(weight_decay, mask=_kernels)
    return optax.chain(
        optax.flatten(optax.scale_by_adam()),  # one vector: few kernels to compile
        decay if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(rates),
    )


def _kernels(params):
    """Marks what has two axes or more: no biases, norms or fusion weights."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
