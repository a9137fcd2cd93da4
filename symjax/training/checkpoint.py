"""Checkpoints of a run: the state of all seeds, its configuration, its data's hash.

with Checkpoints(workdir, keep=1) as store:
    store.save(epoch, state, meta)
    epoch, state, meta = store.restore(like=fresh_state)
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from symjax.training.state import TrainState


class Checkpoints:
    """The `checkpoints/` folder of a run, one entry an epoch, written atomically.

    Args:
      workdir: the run folder.
      keep: how many of the newest checkpoints stay.
      read_only: never write, not even the folder.
    """

    def __init__(self, workdir: Path, keep: int = 1, read_only: bool = False):
        self._manager = ocp.CheckpointManager(
            Path(workdir).absolute() / "checkpoints",
            options=ocp.CheckpointManagerOptions(
                max_to_keep=None if read_only else keep,
                create=not read_only,
                read_only=read_only,
                enable_async_checkpointing=False,  # the next epoch donates the buffers
            ),
            item_names=("state", "meta"),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The newest epoch that is whole, or None."""
        return self._manager.latest_step()

    @property
    def meta(self) -> dict[str, Any]:
        """What the newest checkpoint says of itself; its state is not read."""
        items = ocp.args.Composite(meta=ocp.args.JsonRestore())
        restored: Any = self._manager.restore(self._newest(), args=items)
        return restored.meta

    def save(self, epoch: int, state: TrainState, meta: dict[str, Any]) -> None:
        """Saves after `epoch` epochs; `meta` is any JSON."""
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
        )
        self._manager.save(epoch, args=items)
        self._manager.wait_until_finished()

    def restore(self, like: TrainState) -> tuple[int, TrainState, dict[str, Any]]:
        """The newest checkpoint, bit for bit.

        Args:
          like: a state, or the shapes of one, of the same structure; where its leaves
            say no place, they come to the first device, wherever they were saved from.

        Returns:
          Its epoch, state and meta.
        """
        shapes = jax.tree.map(_placed, like)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(shapes), meta=ocp.args.JsonRestore()
        )
        epoch = self._newest()
        restored: Any = self._manager.restore(epoch, args=items)
        return epoch, restored.state, restored.meta

    def _newest(self) -> int:
        if self.latest is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}.")
        return self.latest


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a leaf, and a place, or Orbax takes that of the saved one."""
    place = getattr(leaf, "sharding", None) or SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
