"""Checkpoints of a run: state of all seeds, configuration, hash of the data.

    with Checkpoints(workdir, keep=1) as store:
        store.save(epoch, state, meta)
        epoch, state, meta = store.restore(like=fresh_state)

A run that is stopped within an epoch leaves a second kind of checkpoint in another
folder: the state after some steps of the epoch and the sums over these steps. Only
training reads it.
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
"""Folders of the checkpoints after whole epochs and within an epoch."""

DAMAGED = (
    "restore it from a copy, or remove it, and training continues from the checkpoint "
    "before it or from the beginning"
)

EXTRA_BYTES = 10**6  # upper bound of what is written beside the arrays


class Checkpoints:
    """The `checkpoints/` folder of a run, with one entry per epoch, written atomically.

    Args:
      workdir: the run folder.
      keep: the number of checkpoints that are kept, the newest ones.
      read_only: write nothing, and do not make the folder.
      name: name of the folder, `WHOLE` or `PARTIAL`; the entries of `PARTIAL` are
        numbered by steps.
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
        """The number of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def meta(self) -> dict[str, Any]:
        """The metadata of the newest checkpoint; its state is not read.

        Raises:
          OSError, ValueError: if the checkpoint is damaged; the error names it.
        """
        items = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return self._restored(self._newest(), items).meta

    def save(self, epoch: int, state: Any, meta: dict[str, Any]) -> None:
        """Saves a checkpoint.

        Args:
          epoch: the number of epochs that were trained, or of steps in `PARTIAL`.
          state: a tree of arrays.
          meta: JSON values.

        Raises:
          OSError: if the checkpoint cannot be written.
        """
        folder = Path(self._manager.directory)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
        )
        check_disk_space(folder, state)
        try:
            self._manager.save(epoch, args=items)
            self._manager.wait_until_finished()
        except Exception as error:  # Orbax and TensorStore have many kinds
            raise _cannot_write(folder, str(error).strip().split("\n")[0]) from error

    def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]]:
        """Reads the newest checkpoint; the values are restored bit for bit.

        Args:
          like: a state of the same structure, or its shapes. A leaf without a sharding
            is placed on the first device.

        Returns:
          Epoch, state and metadata.

        Raises:
          OSError, ValueError: if the checkpoint is damaged; the error names it.
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
                raise ValueError("its metadata is missing")
        return restored

    def _newest(self) -> int:
        if self.latest is None:
            raise FileNotFoundError(f"no checkpoint in {self._manager.directory}.")
        return self.latest


def check_disk_space(folder: Path, state: Any) -> None:
    """Checks that the disk has space for two copies of a state.

    Orbax writes the parts of a checkpoint before the checkpoint itself. It writes in
    threads, which would print their errors.

    Args:
      folder: an existing folder on the disk.
      state: a tree of arrays.

    Raises:
      OSError: if there is not enough space.
    """
    if not hasattr(os, "posix_fallocate") or jax.process_index():
        return
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".room-") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * size + EXTRA_BYTES)
    except OSError as error:
        raise _cannot_write(folder, error.strerror or str(error)) from error


def _check_arrays(folder: Path) -> None:
    """Reads the arrays of a checkpoint one by one, so that damage raises one error.

    Orbax reads all arrays at once in threads, which print their errors.
    """
    about = json.loads((folder / "_METADATA").read_text())
    if not about["use_ocdbt"] or about.get("use_zarr3"):  # another format of Orbax
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
        f"no checkpoint can be written to {folder} ({reason}): free some disk space "
        "and start the same command again."
    )


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and sharding of a leaf; Orbax would use the saved sharding."""
    place = getattr(leaf, "sharding", None) or SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
