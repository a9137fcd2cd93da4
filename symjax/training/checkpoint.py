"""Checkpoints of a run: the state of all seeds, its configuration, its data's hash.

    with Checkpoints(workdir, keep=1) as store:
        store.save(epoch, state, meta)
        epoch, state, meta = store.restore(like=fresh_state)

A run that is stopped within an epoch leaves a checkpoint of another kind: state and
sums after some steps, in a folder of its own. Only training reads it.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
import tensorstore
from jax.sharding import SingleDeviceSharding

from symjax.folders import expand, reading

WHOLE, PARTIAL = "checkpoints", "interrupted"
"""Folders of what was saved after whole epochs, and within one."""

DAMAGED = (
    "bring it back from a copy, or remove it, and the training goes on from the "
    "checkpoint before it or from the beginning"
)

LEAST_ROOM = 10**6  # bytes, of what is written beside the arrays


class Checkpoints:
    """The `checkpoints/` folder of a run, one entry an epoch, written atomically.

    Args:
      workdir: the run folder.
      keep: how many of the newest checkpoints stay.
      read_only: never write, not even the folder.
      name: of the folder; in `PARTIAL` an entry is numbered by its step.
    """

    def __init__(
        self,
        workdir: Path,
        keep: int = 1,
        read_only: bool = False,
        name: str = WHOLE,
    ):
        self._manager = ocp.CheckpointManager(
            expand(workdir).absolute() / name,
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
        """The meta data of the newest checkpoint; its state is not read.

        Raises:
          OSError, ValueError: if it is damaged; it is named.
        """
        items = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return self._restored(self._newest(), items).meta

    def save(self, epoch: int, state: Any, meta: dict[str, Any]) -> None:
        """Saves after `epoch` epochs; `meta` is any JSON.

        Raises:
          OSError: if it cannot be written.
        """
        folder = Path(self._manager.directory)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
        )
        check_room(folder, state)
        try:
            self._manager.save(epoch, args=items)
            self._manager.wait_until_finished()
        except Exception as error:  # Orbax and TensorStore have many kinds
            raise _cannot_write(folder, str(error).strip().split("\n")[0]) from error

    def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]]:
        """The newest checkpoint, bit for bit.

        Args:
          like: a state, or the shapes of one, of the same structure; where its leaves
            say no place, they come to the first device, wherever they were saved from.

        Returns:
          Its epoch, state and meta.

        Raises:
          OSError, ValueError: if it is damaged; it is named.
        """
        shapes = jax.tree.map(_placed, like)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(shapes), meta=ocp.args.JsonRestore()
        )
        epoch = self._newest()
        restored = self._restored(epoch, items)
        return epoch, restored.state, restored.meta

    def _restored(self, epoch: int, items: ocp.args.Composite) -> Any:
        folder = Path(self._manager.directory) / str(epoch)
        with reading(folder, DAMAGED):
            if "state" in items.keys():
                _check_arrays(folder / "state")
            restored: Any = self._manager.restore(epoch, args=items)
            if not isinstance(restored.meta, dict):
                raise ValueError("its meta is missing")
        return restored

    def _newest(self) -> int:
        if self.latest is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}.")
        return self.latest


def check_room(folder: Path, state: Any) -> None:
    """Makes sure that a state fits on the disk twice: what is saved, and its parts.

    Orbax would leave it to threads, which print what they raise.

    Args:
      folder: of the disk; it is there.
      state: any tree of arrays.

    Raises:
      OSError: if there is no room for it.
    """
    if not hasattr(os, "posix_fallocate") or jax.process_index():
        return
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".room-") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * size + LEAST_ROOM)
    except OSError as error:
        raise _cannot_write(folder, error.strerror or str(error)) from error


def _check_arrays(folder: Path) -> None:
    """Reads each array of a checkpoint by itself, so that a damaged one is one error.

    Orbax reads them together, and its threads print what the others raise.
    """
    about = json.loads((folder / "_METADATA").read_text())
    if not about["use_ocdbt"] or about.get("use_zarr3"):  # not as Orbax has it now
        return
    store = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}}
    keys = tensorstore.KvStore.open(store).result().list().result()
    arrays = [key.decode() for key in keys if key.endswith(b"/.zarray")]
    if not arrays:
        raise ValueError("its arrays are missing")
    for array in arrays:
        place = {**store, "path": array.removesuffix(".zarray")}
        opened = tensorstore.open({"driver": "zarr", "kvstore": place}, read=True)
        opened.result().read().result()


def _cannot_write(folder: Path, reason: str) -> OSError:
    return OSError(
        f"no checkpoint can be written to {folder} ({reason}): make room there, and "
        "start the same command again."
    )


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a leaf, and a place, or Orbax takes that of the saved one."""
    place = getattr(leaf, "sharding", None) or SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
