"""What training carries from step to step, for one seed.

state = state.create(model, tx, key, image_shape)        # over_seeds makes it S
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
    """Parameters, statistics and optimizer of one seed.

    Attributes:
      step: int32, steps taken.
      params: the net's parameters, float32.
      batch_stats: running averages of batch norm, float32.
      opt_state: of the Optax transformation.
      diverged_step: int32, the step at which the loss or its gradient was not finite
        and the seed was frozen as it was before; `STILL_FINITE` while there is none.
    """

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    diverged_step: Array

    @property
    def variables(self) -> dict[str, Any]:
        """As `model.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def logits_fn(self, model: linen.Module) -> Partial:
        """The net in its present state, running averages in batch norm."""
        return models.logits_fn(model, self.variables)


def create(
    model: linen.Module,
    tx: optax.GradientTransformation,
    key: Array,
    image_shape: tuple[int, int, int],
) -> TrainState:
    """A fresh state, its parameters drawn from `key`, for images `(H, W, C)`."""
    images = jnp.zeros((1, *image_shape))
    variables = model.init(as_key(key), images, train=False)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=tx.init(variables["params"]),
        diverged_step=jnp.full((), STILL_FINITE, jnp.int32),
    )
