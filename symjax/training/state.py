"""The training state of one seed.

state = create(model, tx, key, image_shape)        # for S seeds: over_seeds(create)
"""

from typing import Any

import jax.numpy as jnp
import optax
from flax import linen, struct
from jax import Array
from jax.tree_util import Partial

from symjax import models
from symjax.seeds import as_key

STILL_FINITE = -1


@struct.dataclass
class TrainState:
    """Parameters, batch statistics and optimizer state of one seed.

    Attributes:
      step: int32, the number of steps that were taken.
      params: parameters of the net, float32.
      batch_stats: running averages of batch norm, float32.
      opt_state: state of the Optax transformation.
      diverged_step: int32, the step at which the loss or its gradient was not finite;
        from then on the state of the seed does not change. `STILL_FINITE` if that has
        not happened.
    """

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    diverged_step: Array

    @property
    def variables(self) -> dict[str, Any]:
        """The variables, as `model.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def logits_fn(self, model: linen.Module) -> Partial:
        """The net with these variables; batch norm uses the running averages."""
        return models.logits_fn(model, self.variables)


def create(
    model: linen.Module,
    tx: optax.GradientTransformation,
    key: Array,
    image_shape: tuple[int, int, int],
) -> TrainState:
    """The state before the first step.

    Args:
      model: the net.
      tx: the optimizer.
      key: the key from which the parameters are drawn.
      image_shape: `(H, W, C)`.
    """
    images = jnp.zeros((1, *image_shape))
    variables = model.init(as_key(key), images, train=False)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=tx.init(variables["params"]),
        diverged_step=jnp.full((), STILL_FINITE, jnp.int32),
    )
